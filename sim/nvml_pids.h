// A process on a device, by the pid that the caller's own pid namespace has for it.
//
// The device only knows what a process calls itself. A process in a namespace below the caller's is found in /proc by
// that pid and its start time, for which no rights are needed. Pure reading, any thread.
#pragma once

#include <cstdint>

#include "device.h"

namespace sim {

// 0 when the caller cannot see the process, or it has ended in another namespace.
std::int32_t pid_for_caller(const ProcessUse& use);

}  // namespace sim
