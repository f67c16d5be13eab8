# The management library, and the tool that shows what the simulated devices do.
add_library(kiboko_sim_nvml_objects STATIC nvml_pids.cc nvml_state.cc)
target_link_libraries(kiboko_sim_nvml_objects PUBLIC kiboko_sim_device)
set_target_properties(kiboko_sim_nvml_objects PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

sim_driver(kiboko_sim_nvml libnvidia-ml.so.1 nvml.map
  nvml_core.cc nvml_events.cc nvml_hardware.cc nvml_identity.cc nvml_processes.cc nvml_topology.cc nvml_unsupported.cc
  nvml_usage.cc)
target_link_libraries(kiboko_sim_nvml PRIVATE kiboko_sim_nvml_objects)

add_library(kiboko_sim_figures STATIC tool_figures.cc)
target_link_libraries(kiboko_sim_figures PUBLIC kiboko_sim_nvml_objects)
add_executable(kiboko-sim tool.cc)
target_link_libraries(kiboko-sim PRIVATE kiboko_sim_figures fmt::fmt)

install(TARGETS kiboko_sim_nvml LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/sim)
install(TARGETS kiboko-sim RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

if(BUILD_TESTING)
  find_package(GTest REQUIRED)
  add_executable(sim_nvml_test nvml_test.cc)
  target_link_libraries(sim_nvml_test PRIVATE kiboko_sim_nvml kiboko_sim_nvml_objects GTest::gmock GTest::gtest_main)
  target_compile_definitions(sim_nvml_test PRIVATE NVML_LIBRARY="$<TARGET_FILE:kiboko_sim_nvml>")
  add_executable(sim_tool_test tool_test.cc)
  target_link_libraries(sim_tool_test PRIVATE kiboko_sim_figures GTest::gmock GTest::gtest_main)
  target_compile_definitions(sim_tool_test PRIVATE KIBOKO_SIM_TOOL="$<TARGET_FILE:kiboko-sim>")
  add_dependencies(sim_tool_test kiboko-sim)
  gtest_discover_tests(sim_nvml_test TEST_PREFIX "sim." PROPERTIES LABELS "sim" TIMEOUT 300)
  gtest_discover_tests(sim_tool_test TEST_PREFIX "sim." PROPERTIES LABELS "sim" TIMEOUT 300)
endif()
