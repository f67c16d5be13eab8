// A point where the kill tests stop a process. Compiled to nothing but in the tests' own build of these sources.
#pragma once

namespace kiboko::region {

#ifdef KIBOKO_STEP_POINTS
extern void (*step_point)(const char* name);
#define KIBOKO_STEP(name) (::kiboko::region::step_point ? ::kiboko::region::step_point(name) : (void)0)
#else
#define KIBOKO_STEP(name) ((void)0)
#endif

}  // namespace kiboko::region
