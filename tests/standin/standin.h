// What the two stand-in libraries agree on. They are the smallest driver that the interposer can be tested on: written
// apart from the simulated device, so that nothing in the interposer comes to rest on how that one behaves, and fast
// (a launch is an empty call), so that costs of nanoseconds can be measured.
//
// Constants for all processes: no memory is shared, each process has devices of its own. STANDIN_DEVICES (default 3),
// STANDIN_MEMORY (bytes, default 16 GiB) and STANDIN_GRANULE (of physical memory by handle, default 2 MiB) may be set
// in the environment.
#pragma once

#include <stdlib.h>

namespace standin {

inline constexpr int kMaxDevices = 8;
inline constexpr unsigned long long kGiB = 1ULL << 30;

inline unsigned long long number(const char* name, unsigned long long otherwise) {
  const char* text = getenv(name);
  return text != nullptr && *text != 0 ? strtoull(text, nullptr, 10) : otherwise;
}
inline int device_count() {
  const auto count = number("STANDIN_DEVICES", 3);
  return count < kMaxDevices ? static_cast<int>(count) : kMaxDevices;
}
inline unsigned long long device_bytes() { return number("STANDIN_MEMORY", 16 * kGiB); }

// "GPU-5a5a5a5a-0000-0000-0000-0000000000nn", nn the device.
inline void uuid(int device, unsigned char out[16]) {
  for (int i = 0; i < 16; ++i) out[i] = i < 4 ? 0x5a : 0;
  out[15] = static_cast<unsigned char>(device);
}

}  // namespace standin

#define STANDIN_EXPORT extern "C" __attribute__((visibility("default")))
