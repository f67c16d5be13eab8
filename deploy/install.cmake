# Run by `cmake --install`: what names the prefix, which may be chosen as late as now. KIBOKO_DEPLOY and
# KIBOKO_DEPLOY_BUILD are this folder and its build folder.
set(CMAKE_INSTALL_FULL_BINDIR ${CMAKE_INSTALL_PREFIX}/bin)
set(CMAKE_INSTALL_FULL_SYSCONFDIR ${CMAKE_INSTALL_PREFIX}/etc)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(CMAKE_INSTALL_FULL_SYSCONFDIR /etc)
endif()

configure_file(${KIBOKO_DEPLOY}/kiboko-agent.service ${KIBOKO_DEPLOY_BUILD}/kiboko-agent.service @ONLY)
file(INSTALL ${KIBOKO_DEPLOY_BUILD}/kiboko-agent.service DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/systemd/system)

# Settings that somebody has changed stay.
set(settings ${CMAKE_INSTALL_FULL_SYSCONFDIR}/kiboko/agent.yaml)
if(EXISTS $ENV{DESTDIR}${settings})
  message(STATUS "Kept: $ENV{DESTDIR}${settings}")
  list(APPEND CMAKE_INSTALL_MANIFEST_FILES ${settings})
else()
  file(INSTALL ${KIBOKO_DEPLOY}/agent.yaml DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/kiboko)
endif()
