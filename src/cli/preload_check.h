// Does a library load by LD_PRELOAD? Tried out, in a program of the system, because the loader only warns when it does
// not: a program would then run without its limits.
//
// Starts a short-lived process and waits for it. Main thread.
#pragma once

#include <string>

#include "base/result.h"

namespace kiboko::cli {

// The error says what the loader said.
Result<void> can_be_preloaded(const std::string& library);

}  // namespace kiboko::cli
