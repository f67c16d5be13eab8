// How busy a device or a process was, from the device's own log: what utilisation, power and heat are made of.
//
// Pure reading, any thread. Like a driver, the library shows not the present but the last complete sampling window;
// windows are aligned to the clock, so that all readers see the same figure until the window is over.
#pragma once

#include <cstdint>

#include "nvml_core.h"

namespace nvml {

struct Window {
  std::uint64_t from, to;  // CLOCK_MONOTONIC, ns
  std::uint64_t length() const { return to - from; }
};

// Sampling period of a device, whole milliseconds: a sixth of a second, 1 s for Volta and Turing, or
// KIBOKO_SIM_NVML_WINDOW_MS.
std::uint64_t window_ns(const Gpu& gpu);
// The last complete window, or the one `back` windows before it.
Window window_of(const Gpu& gpu, unsigned back = 0);

unsigned percent(std::uint64_t busy, std::uint64_t of);  // rounded, at most 100
unsigned device_percent(const Gpu& gpu, const Window& window);
// Nobody counts memory traffic here; two fifths of the SM figure stands in for it.
constexpr unsigned memory_percent(unsigned sm_percent) { return sm_percent * 2 / 5; }

// Share of time that the device was busy in the last `ns`: 0 … 1.
double load_over(const Gpu& gpu, std::uint64_t ns);

// The library's timestamps: microseconds since 1970.
Ull wall_us(std::uint64_t monotonic_ns);

}  // namespace nvml
