// Short-lived helper programs: what they print, and whether a library can be preloaded into one.
//
// Each call starts a process and waits for it. Main thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace kiboko::cli {

// Standard output of `arguments` (the first is a path), run with this process's environment, error output dropped.
Result<std::string> output_of(const std::vector<std::string>& arguments);

// Does `library` load by LD_PRELOAD? Tried out in a program of the system, because the loader only warns when it does
// not: a program would then run without its limits. The error says what the loader said.
Result<void> can_be_preloaded(const std::string& library);

}  // namespace kiboko::cli
