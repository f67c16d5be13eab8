# Device memory: the program that allocates in every way there is, and the tests that watch it.
add_executable(shim_memory_program EXCLUDE_FROM_ALL memory_program.cc memory_walk.cc memory_cases.cc
  memory_graphs.cc memory_faults.cc memory_shared.cc memory_code.cc memory_crowd.cc
  ${PROJECT_SOURCE_DIR}/src/shim/elf.cc)
target_compile_options(shim_memory_program PRIVATE -Wall -Wextra -Werror)
set_target_properties(shim_memory_program PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/shim
  BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH $ORIGIN)
target_link_libraries(shim_memory_program PRIVATE kiboko_region standin_cuda Threads::Threads)

if(BUILD_TESTING)
  add_executable(shim_memory_test process.cc tenant.cc memory_test.cc memory_crowd_test.cc memory_pointers_test.cc
    ${PROJECT_SOURCE_DIR}/src/shim/pointers.cc)
  target_link_libraries(shim_memory_test PRIVATE kiboko_region kiboko_warnings GTest::gmock GTest::gtest_main)
  target_compile_definitions(shim_memory_test PRIVATE
    $<TARGET_PROPERTY:shim_test,COMPILE_DEFINITIONS>)
  add_dependencies(shim_memory_test kiboko standin_cuda shim_probe shim_memory_program kiboko_sim_cuda)
  gtest_discover_tests(shim_memory_test TEST_PREFIX "shim." PROPERTIES LABELS "shim" TIMEOUT 300)
endif()
