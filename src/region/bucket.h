// The compute bucket of a grant on one device: how much device time its processes may use, as one shared word.
//
// tat_ns is the theoretical arrival time of a generic cell-rate meter: work of c ns at rate r moves it on by c/r from
// max(tat, now); work may start while tat <= now + depth/r, so an idle grant has `depth` of device time as credit and
// no more. A crash leaves nothing to repair: a dead process's debt expires by itself. All functions are lock-free and
// callable from any process. The words are the tenant's to spoil: whatever they hold, arithmetic saturates and loops
// are bounded. Times are CLOCK_MONOTONIC ns; a rate of 0 counts as the smallest, one above 10000 as 10000.
#pragma once

#include "region/layout.h"

namespace kiboko::region {

struct Rate {
  std::uint32_t permyriad;  // 1..10000 parts of the device
};

// When work may start at the earliest (ns, CLOCK_MONOTONIC); <= now means now.
std::int64_t ready_at(const DeviceWords& words, Rate rate, std::int64_t now, std::int64_t depth_ns);
// Charges `cost_ns` of device time in advance. Both this and correct_time keep charged_ns.
void charge_time(DeviceWords& words, Rate rate, std::int64_t now, std::int64_t cost_ns, std::int64_t depth_ns);
// The same, but only if work may start now, so that of many who wait for the same moment one goes ahead.
bool try_charge_time(DeviceWords& words, Rate rate, std::int64_t now, std::int64_t cost_ns, std::int64_t depth_ns);
// Corrects an earlier charge by `delta_ns` (measured minus charged), clamped so that neither credit beyond the depth
// nor debt beyond max(2 s, one longest unit / rate) is kept.
void correct_time(DeviceWords& words, Rate rate, std::int64_t now, std::int64_t delta_ns, std::int64_t depth_ns);

// Marks [start, end) of device time as covered, returns how much of it was not covered before (the union over the
// grant's processes) and adds that to covered_ns. Ends are rounded to whole bits of 20 µs by their absolute position,
// so intervals shorter than a bit come out right on average. What is older than the ring counts in full.
std::uint64_t cover(DeviceWords& words, std::uint64_t start_ns, std::uint64_t end_ns);
// The 48 bits of the word that holds `time_ns`, 0 if stale. For readers of a copy (the agent) and tests.
std::uint64_t covered_bits(const DeviceWords& words, std::uint64_t time_ns);

}  // namespace kiboko::region
