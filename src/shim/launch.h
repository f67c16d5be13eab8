// The launch gate: holds the program's work to its compute share, and keeps account of it.
//
// One word says what a launch must do, so that nothing limited costs one load and one compare. The rest of the
// machinery (leases, segments, waits) is in launch.cc and segments.cc.
#pragma once

#include <atomic>

#include "shim/state.h"

namespace kiboko::shim {

// Called once by activate() with the phase it found, and in the child of a fork.
void launch_configure(Phase phase);
void launch_after_fork();

}  // namespace kiboko::shim
