// The program of a grant: forked, held before exec until it is part of the grant, then let go.
//
// Main thread only, while no other thread runs (fork). A StoppedChild that is neither let go nor gone ends by itself
// when this object or this process does: it waits on a pipe whose end of file means "do not start".
#pragma once

#include <string>

#include "base/file.h"
#include "cli/environment.h"
#include "cli/exit_status.h"
#include "cli/signals.h"
#include "cli/terminal.h"

namespace kiboko::cli {

struct Program {
  std::string path;  // what execve takes
  std::vector<std::string> arguments;
  Variables environment;
};

// A failure before the program ran, with the status to leave with.
struct StartError {
  int status = kOwnFailure;
  std::string message;
};

// Where `name` would be found along PATH, as execvp searches. Looked up before anything is asked for: nobody wants to
// wait in a queue for a misspelt program.
tl::expected<std::string, StartError> find_program(const std::string& name);

class StoppedChild {
 public:
  static Result<StoppedChild> start(const Program& program, const Signals& signals, const Terminal& terminal);
  StoppedChild(StoppedChild&&) noexcept = default;
  StoppedChild& operator=(StoppedChild&&) noexcept = default;

  pid_t pid() const { return pid_; }
  // Gives it the terminal and lets it exec; returns when it has, or why it could not.
  tl::expected<void, StartError> go(const Terminal& terminal);

 private:
  StoppedChild(pid_t pid, std::string path, UniqueFd go, UniqueFd failure)
      : pid_(pid), path_(std::move(path)), go_(std::move(go)), failure_(std::move(failure)) {}
  pid_t pid_;
  std::string path_;
  UniqueFd go_;       // a byte: go; end of file: do not
  UniqueFd failure_;  // errno of a failed exec; end of file: it worked
};

}  // namespace kiboko::cli
