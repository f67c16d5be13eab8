# cmake -DNM=… -DLIBRARY=libkiboko_region.a -P check_symbols.cmake
#
# The preloaded library may need nothing of the C++ runtime and no libc symbol newer than glibc 2.17. So whatever this
# archive leaves undefined must be its own or on this list of old C symbols (and what the compiler itself emits).
cmake_minimum_required(VERSION 3.25)
set(allowed
  __errno_location clock_gettime flock geteuid getpid kill madvise memchr memcmp memcpy memmove memset mmap mremap munmap pread
  readlink sched_yield strchr strcmp strlen strrchr syscall
  _GLOBAL_OFFSET_TABLE_ __popcountdi2 __stack_chk_fail __udivti3)

execute_process(COMMAND ${NM} -u ${LIBRARY} OUTPUT_VARIABLE output RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${NM} cannot read ${LIBRARY}")
endif()
string(REGEX MATCHALL " [UwvW] [^\n]+" lines "${output}")
set(foreign "")
foreach(line IN LISTS lines)
  string(SUBSTRING "${line}" 3 -1 symbol)
  if(symbol MATCHES "^_ZNK?6kiboko6region|^__aarch64_" OR symbol IN_LIST allowed)
    continue()
  endif()
  list(APPEND foreign ${symbol})
endforeach()
list(REMOVE_DUPLICATES foreign)
if(foreign)
  message(FATAL_ERROR "kiboko_region needs symbols that a preloaded library must not need: ${foreign}")
endif()
list(LENGTH lines count)
message(STATUS "${count} undefined symbols looked at, none foreign")
