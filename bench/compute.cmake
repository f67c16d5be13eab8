add_executable(bench_compute compute.cc compute_load.cc compute_pairs.cc compute_priority.cc compute_run.cc compute_sweep.cc
               compute_tenants.cc)
target_link_libraries(bench_compute PRIVATE kiboko_host kiboko_region kiboko_sim_device fmt::fmt ${CMAKE_DL_LIBS})
