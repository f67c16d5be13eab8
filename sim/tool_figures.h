// The device log's own figures: what share of a device each process had, and how far from a target it strayed.
//
// Pure reading of the shared memory; one thread. This is the measure that tests and benchmarks judge by: it counts time
// during which a kernel of the process ran while the process held the device, whatever anybody else claims.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "device.h"

namespace sim::tool {

inline constexpr std::uint64_t kSecond = 1'000'000'000;
inline constexpr std::uint64_t kLogNs = 32 * kSecond;  // how far back the log reaches

struct Interval {
  std::uint64_t from, to;  // CLOCK_MONOTONIC, ns
};

// The longest interval of whole milliseconds within `interval`: the log counts by these, and knows them exactly.
Interval whole_milliseconds(Interval interval);

struct Figure {
  int device;
  int channel;
  std::int32_t pid;            // as the caller's pid namespace counts, if it can see the process
  std::int32_t namespace_pid;  // as the process's own does
  bool alive;
  std::string command;
  std::uint64_t memory_bytes;
  std::uint64_t busy_ns_total;  // ever
  std::uint64_t busy_ns;        // in the interval
  double share_percent;         // of the interval
  // Against a target: the mean's error, and the worst of all stretches of one second in the interval (every 50 ms
  // one begins) during which the process was there. In percentage points.
  std::optional<double> error_points;
  std::optional<double> worst_1s_error_points;
};

struct Request {
  Interval interval;
  std::optional<double> target_percent;
  std::uint64_t settle_ns = 0;  // the worst second is looked for only this long after a process came to the device
  std::optional<std::int32_t> pid;
};

std::vector<Figure> figures(Shared& shared, int device, const Request& request);

// "10s", "100ms", "250us", "5ns", "2m"; a bare number is seconds. The whole text must match.
std::optional<std::uint64_t> parse_duration(std::string_view text);

}  // namespace sim::tool
