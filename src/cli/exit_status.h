// The statuses that `kiboko` ends with; docs/cli.md explains them to people.
#pragma once

namespace kiboko::cli {

inline constexpr int kDone = 0;
inline constexpr int kNegative = 1;    // the agent said no, or a check failed
inline constexpr int kWrongUsage = 2;  // the command line makes no sense; `run` says 125 instead
// As `docker run` and `env` have them, so that scripts can tell ours from the program's.
inline constexpr int kOwnFailure = 125;
inline constexpr int kNotExecutable = 126;
inline constexpr int kNotFound = 127;

}  // namespace kiboko::cli
