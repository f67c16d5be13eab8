// The measured side of bench_interposer: one subject in one process, started by the bench itself under one arm's
// preload. Prints one number (nanoseconds) or "skip <reason>". With KIBOKO_BENCH_COUNT in the environment it does just
// so many operations, for whoever counts instructions.
#pragma once

#include <string>

namespace kiboko::bench {

// Subjects: "uuid" (prints the first device's), "launch", "alloc <live>", "info", "lookup <name>", "dlsym <name>",
// "init", "start" (waits until standard input ends; prints cuInit's time less what the process waited for a CPU).
int run_worker(const std::string& subject, const std::string& argument);

}  // namespace kiboko::bench
