// Makes simulated devices: loads the simulated driver and has it create them.
//
// Called once by main() before there are threads: it sets KIBOKO_SIM, which the simulated libraries read.
#pragma once

#include <string>

#include "base/result.h"

namespace kiboko {

struct Simulation {
  std::string library_dir;  // <prefix>/lib/sim
  std::string name;         // of the shared memory; programs find it by KIBOKO_SIM
  std::string spec;         // "H100-80GB" or "2xA100-40GB", as the simulated driver takes it
};

// Devices of that name that exist already are kept if they are the same, for programs may be using them; others are
// replaced, or an error if a program is on them.
Result<void> create_simulation(const Simulation& simulation);

}  // namespace kiboko
