// Stays beside a running program: forwards signals, follows it when it stops, takes in its orphans, and says how it
// ended.
//
// Main thread only; the program's parent. What the agent does meanwhile is of no concern here: if it dies, the program
// runs on.
#pragma once

#include <functional>
#include <vector>

#include "cli/signals.h"
#include "cli/terminal.h"

namespace kiboko::cli {

struct Ending {
  bool signalled = false;
  int value = 0;  // exit status, or the signal
  bool operator==(const Ending&) const = default;
};

// Makes this process the parent of whatever the program leaves behind.
void become_subreaper();

// Returns when the program, which has the terminal if there is one to give, has ended.
// `look`, if any, is called a few times a second until it returns true.
Ending supervise(pid_t program, Signals& signals, const Terminal& terminal, std::function<bool()> look = {});

// All that run below `pid` now, itself left out.
std::vector<pid_t> descendants_of(pid_t pid);
// What the program left running: our children now, and theirs.
std::vector<pid_t> remaining_descendants();

}  // namespace kiboko::cli
