# Every hooked function, called with and without the interposer.
add_executable(shim_calls EXCLUDE_FROM_ALL calls.cc ${PROJECT_SOURCE_DIR}/src/shim/elf.cc)
target_include_directories(shim_calls PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(shim_calls PRIVATE -Wall -Wextra -Werror)
set_target_properties(shim_calls PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/shim)
target_link_libraries(shim_calls PRIVATE kiboko_region ${CMAKE_DL_LIBS})

if(BUILD_TESTING)
  add_executable(shim_calls_test process.cc tenant.cc calls_test.cc)
  target_link_libraries(shim_calls_test PRIVATE kiboko_region kiboko_warnings GTest::gmock GTest::gtest_main)
  target_compile_definitions(shim_calls_test PRIVATE $<TARGET_PROPERTY:shim_test,COMPILE_DEFINITIONS>
    KIBOKO_REGION_TESTDATA="")
  add_dependencies(shim_calls_test kiboko standin_cuda standin_nvml kiboko_sim_cuda kiboko_sim_nvml shim_probe shim_calls)
  gtest_discover_tests(shim_calls_test TEST_PREFIX "shim." PROPERTIES LABELS "shim" TIMEOUT 300)
endif()
