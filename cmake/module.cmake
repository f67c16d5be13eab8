# module(NAME [SOURCES a.cc …] [TESTS a_test.cc …] [USES target …] [TEST_USES target …])
#
# Makes the static library kiboko_NAME of a folder and, from TESTS, one test program NAME_test whose cases ctest
# knows one by one. Sources are listed by name: a file that nobody lists is not built.
function(module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;TESTS;USES;TEST_USES" ${ARGN})
  if(ARG_SOURCES)
    add_library(kiboko_${name} STATIC ${ARG_SOURCES})
    target_link_libraries(kiboko_${name} PUBLIC kiboko_warnings ${ARG_USES})
  else()
    add_library(kiboko_${name} INTERFACE)
    target_link_libraries(kiboko_${name} INTERFACE kiboko_warnings ${ARG_USES})
  endif()
  if(ARG_TESTS AND BUILD_TESTING)
    add_executable(${name}_test ${ARG_TESTS})
    target_link_libraries(${name}_test PRIVATE kiboko_${name} ${ARG_TEST_USES} GTest::gmock GTest::gtest_main)
    gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST PROPERTIES LABELS "${name}" TIMEOUT 300)
  endif()
endfunction()
