# A hard guest's life: forks, exits and limits of the system at the worst of moments, and what we cost a process.
add_library(shim_deep SHARED EXCLUDE_FROM_ALL deep_library.cc)
target_include_directories(shim_deep PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(shim_deep PRIVATE standin_cuda)
set_target_properties(shim_deep PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/shim
  BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH $ORIGIN)
add_library(shim_lingering SHARED EXCLUDE_FROM_ALL lingering_library.cc)
set_target_properties(shim_lingering PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/shim)
add_executable(shim_guest_program EXCLUDE_FROM_ALL guest_program.cc guest_fork.cc guest_exit.cc guest_memory.cc
  guest_limits.cc guest_loader.cc guest_storm.cc)
target_compile_options(shim_guest_program PRIVATE -Wall -Wextra -Werror)
target_compile_definitions(shim_guest_program PRIVATE DEEP_LIBRARY="$<TARGET_FILE:shim_deep>")
target_include_directories(shim_guest_program PRIVATE ${PROJECT_SOURCE_DIR}/src)
set_target_properties(shim_guest_program PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/shim
  BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH $ORIGIN)
target_link_libraries(shim_guest_program PRIVATE shim_lingering Threads::Threads ${CMAKE_DL_LIBS})
add_dependencies(shim_guest_program shim_deep)

if(BUILD_TESTING)
  add_executable(shim_guest_test process.cc tenant.cc guest_test.cc sandbox_test.cc storm_test.cc)
  target_link_libraries(shim_guest_test PRIVATE kiboko_region kiboko_warnings GTest::gmock GTest::gtest_main)
  target_compile_definitions(shim_guest_test PRIVATE $<TARGET_PROPERTY:shim_test,COMPILE_DEFINITIONS>)
  add_dependencies(shim_guest_test kiboko standin_cuda standin_nvml kiboko_sim_cuda kiboko_sim_nvml shim_probe
    shim_guest_program)
  gtest_discover_tests(shim_guest_test TEST_PREFIX "shim." PROPERTIES LABELS "shim" TIMEOUT 300)
  if(NOT KIBOKO_SANITIZE AND CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
    add_test(NAME shim.aarch64
      COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/aarch64_test.sh ${PROJECT_SOURCE_DIR} ${CMAKE_BINARY_DIR})
    set_tests_properties(shim.aarch64 PROPERTIES LABELS "shim;nightly" SKIP_RETURN_CODE 77 TIMEOUT 900)
  endif()
endif()
