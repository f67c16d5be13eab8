# In HAMi's containers: its variables, its region and the names under which its node side finds the library.
if(BUILD_TESTING)
  add_executable(shim_hami_test process.cc tenant.cc hami_reader.cc hami_test.cc)
  target_link_libraries(shim_hami_test PRIVATE kiboko_region kiboko_warnings GTest::gmock GTest::gtest_main)
  target_compile_definitions(shim_hami_test PRIVATE
    $<TARGET_PROPERTY:shim_test,COMPILE_DEFINITIONS>)
  if(NOT KIBOKO_SANITIZE)  # whose runtime would have to be loaded before the library
    target_sources(shim_hami_test PRIVATE hami_tree_test.cc)
    set_property(SOURCE hami_tree_test.cc APPEND PROPERTY COMPILE_DEFINITIONS
      KIBOKO_CMAKE="${CMAKE_COMMAND}" KIBOKO_BUILD="${CMAKE_BINARY_DIR}")
  endif()
  add_dependencies(shim_hami_test kiboko standin_cuda standin_nvml kiboko_sim_cuda kiboko_sim_nvml shim_probe)
  gtest_discover_tests(shim_hami_test TEST_PREFIX "shim." PROPERTIES LABELS "shim" TIMEOUT 300)
endif()
