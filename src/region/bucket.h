// The compute bucket of a grant on one device: how much device time its processes may use, as one shared word.
//
// tat_ns is the theoretical arrival time of a generic cell-rate meter: work of c ns at rate r moves it on by c/r; work
// may start while tat <= now + depth/r … i.e. credit is bounded by `depth` of device time. A crash leaves nothing to
// repair: a dead process's debt expires by itself. All functions are lock-free and callable from any process.
#pragma once

#include "region/layout.h"

namespace kiboko::region {

struct Rate {
  std::uint32_t permyriad;  // 1..10000 parts of the device
};

// When work may start at the earliest (ns, CLOCK_MONOTONIC); <= now means now.
std::int64_t ready_at(const DeviceWords& words, Rate rate, std::int64_t now, std::int64_t depth_ns);
// Charges `cost_ns` of device time in advance.
void charge_time(DeviceWords& words, Rate rate, std::int64_t now, std::int64_t cost_ns, std::int64_t depth_ns);
// Corrects an earlier charge by `delta_ns` (measured minus charged), clamped so that neither credit beyond the depth
// nor debt beyond max(2 s, one longest unit / rate) is kept.
void correct_time(DeviceWords& words, Rate rate, std::int64_t now, std::int64_t delta_ns, std::int64_t depth_ns);

// Marks [start, end) of device time (CLOCK_MONOTONIC ns) as covered and returns how much of it was not covered before:
// the union over the grant's processes. Intervals older than the ring return their full length.
std::uint64_t cover(DeviceWords& words, std::uint64_t start_ns, std::uint64_t end_ns);
// The 48 bits of the word that holds `time_ns`, 0 if stale. For readers of a copy (the agent) and tests.
std::uint64_t covered_bits(const DeviceWords& words, std::uint64_t time_ns);

}  // namespace kiboko::region
