// Which processes have the library in their address space. One that was executed without it keeps the slot of the
// program before it, and only its memory map tells.
//
// Used on the Host's loop. Reading the map of a program with 3,000 mappings takes some milliseconds, and holds the
// program's own mmap calls up meanwhile. So few are read at a time: four of newcomers and suspects, one if all is well.
#pragma once

#include <map>
#include <string>

#include "base/process.h"

namespace kiboko {

// Does a text as of /proc/PID/maps name the library? By file name, as containers have it at other places: ours, or the
// name that HAMi's containers load it by.
bool maps_the_library(std::string_view maps);

class LibraryCheck {
 public:
  static constexpr unsigned kReadsPerRound = 4;
  void begin_round();
  // As far as it was looked at: a process whose map cannot be read is not accused. Those not asked for in a round are
  // forgotten.
  bool lacks_library(const ProcessId& process);

 private:
  struct Seen {
    ProcessId process;
    unsigned round = 0, read = 0;
    bool lacks = false;
  };
  std::map<pid_t, Seen> seen_;
  unsigned round_ = 0;
};

}  // namespace kiboko
