// What cuGetProcAddress and cuDriverGetVersion answer. lookup.cc declares every export as a function without
// parameters, so the two entry points themselves stand elsewhere (misc.cc).
#pragma once

#include "driver.h"

namespace sim {

// Takes the version from the environment, again at every cuInit.
void read_driver_version();
CUresult get_driver_version(int* version);
CUresult get_proc_address(const char* name, void** out, int version, std::uint64_t flags, int* status);

}  // namespace sim
