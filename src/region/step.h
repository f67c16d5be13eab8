// A point where the kill tests stop a process and the interleaving tests hand over to another actor. Compiled to
// nothing but in the tests' own build of these sources.
#pragma once

#include <cstdint>

namespace kiboko::region {

#ifdef KIBOKO_STEP_POINTS
extern void (*step_point)(const char* name);
extern void (*step_wait)();            // comes in the place of every pause and sleep, if set
extern std::uint64_t (*step_clock)();  // likewise of the clock
#define KIBOKO_STEP(name) (::kiboko::region::step_point ? ::kiboko::region::step_point(name) : (void)0)
inline bool waits_otherwise() { return step_wait != nullptr && (step_wait(), true); }
#else
#define KIBOKO_STEP(name) ((void)0)
inline bool waits_otherwise() { return false; }
#endif

}  // namespace kiboko::region
