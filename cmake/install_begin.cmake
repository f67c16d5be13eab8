# Run first by `cmake --install`: which of the folders that we may need are there already. install_record.cmake goes on.
cmake_policy(VERSION 3.25)
set(KIBOKO_OLD_FOLDERS "")
foreach(folder "" bin bin/examples lib lib/sim lib/systemd lib/systemd/system lib/sysusers.d etc etc/kiboko share)
  if(IS_DIRECTORY $ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/${folder})
    string(REGEX REPLACE "/$" "" path ${CMAKE_INSTALL_PREFIX}/${folder})
    list(APPEND KIBOKO_OLD_FOLDERS ${path})
  endif()
endforeach()
