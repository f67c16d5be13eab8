add_executable(bench_filter filter.cc)
target_link_libraries(bench_filter PRIVATE kiboko_sched fmt::fmt)
