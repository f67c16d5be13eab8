// What a fork may catch half way, and how its child gets it back.
//
// The child has the forking thread alone. If another thread was learning the driver, reading the limits or starting
// CUDA, nobody in the child will finish that: so it begins there anew. A child of a process that has started CUDA is
// refused by the driver; we stay out of it (state.h: Forked).
#pragma once

namespace kiboko::shim {

// Call it before any such state moves, from any thread. One load once it has been called.
void watch_forks();

// Each in the file whose state it is; called in the child.
void route_after_fork();
void state_after_fork();
void nvml_after_fork();

}  // namespace kiboko::shim
