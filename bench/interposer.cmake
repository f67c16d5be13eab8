add_executable(bench_interposer interposer.cc interposer_arms.cc interposer_worker.cc)
target_link_libraries(bench_interposer PRIVATE kiboko_region kiboko_warnings ${CMAKE_DL_LIBS})
add_dependencies(bench_interposer kiboko standin_cuda standin_nvml kiboko_sim_cuda)

add_executable(bench_instructions instructions.cc interposer_arms.cc interposer_worker.cc)
target_link_libraries(bench_instructions PRIVATE kiboko_region kiboko_warnings ${CMAKE_DL_LIBS})
add_dependencies(bench_instructions kiboko standin_cuda standin_nvml)
# Only what is shipped has a cost worth a gate.
if(BUILD_TESTING AND NOT KIBOKO_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_test(NAME bench.instructions COMMAND bench_instructions)
  set_tests_properties(bench.instructions PROPERTIES LABELS bench TIMEOUT 600 SKIP_RETURN_CODE 77)
endif()
