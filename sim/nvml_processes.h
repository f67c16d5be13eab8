// The processes on a device as the caller may see them. Pure reading, any thread.
#pragma once

#include <vector>

#include "nvml_core.h"

namespace nvml {

struct VisibleProcess {
  unsigned pid;  // in the caller's pid namespace
  sim::ProcessUse use;
};

// 0: not to be shown.
unsigned visible_pid(const sim::ProcessUse& use);
std::vector<VisibleProcess> visible_processes(const Gpu& gpu, bool with_dead = false);

}  // namespace nvml
