# The management library, and the tool that shows what the simulated devices do.
add_library(kiboko_sim_nvml_objects STATIC nvml_state.cc)
target_link_libraries(kiboko_sim_nvml_objects PUBLIC kiboko_sim_device)
set_target_properties(kiboko_sim_nvml_objects PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

add_library(kiboko_sim_nvml SHARED nvml_core.cc nvml_events.cc nvml_hardware.cc nvml_identity.cc nvml_processes.cc
  nvml_topology.cc nvml_unsupported.cc nvml_usage.cc)
set_target_properties(kiboko_sim_nvml PROPERTIES
  OUTPUT_NAME nvidia-ml SOVERSION 1 LIBRARY_OUTPUT_DIRECTORY ${KIBOKO_SIM_DIR}
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
target_link_libraries(kiboko_sim_nvml PRIVATE kiboko_sim_nvml_objects)
# Loaded into anything: no C++ runtime of its own needed, calls among its own functions not to be diverted by others.
target_link_options(kiboko_sim_nvml PRIVATE -static-libstdc++ -static-libgcc -Wl,--as-needed -Wl,--exclude-libs,ALL
  -Wl,-Bsymbolic -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/nvml.map)
set_target_properties(kiboko_sim_nvml PROPERTIES LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/nvml.map)

add_library(kiboko_sim_figures STATIC tool_figures.cc)
target_link_libraries(kiboko_sim_figures PUBLIC kiboko_sim_nvml_objects)
add_executable(kiboko-sim tool.cc)
target_link_libraries(kiboko-sim PRIVATE kiboko_sim_figures fmt::fmt)

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
