// What a pod wants of a node, in the neutral words that placement judges by: thousandths of a device, bytes, models.
//
// Plain values. Whoever makes them has turned a vendor's words into these.
#pragma once

#include <cstdint>

#include "model/quantities.h"

namespace kiboko {

// Thousandths of one device's compute.
using Share = std::int32_t;
inline constexpr Share kWholeDevice = 1000;

// A set of device models: bit i is the i-th model that the cluster knows.
using Models = std::uint64_t;
inline constexpr Models kAnyModel = ~Models{0};
inline constexpr std::size_t kMaxModels = 64;

// share and memory are for each of `count` devices; a pod without devices has count 0.
struct PodAsk {
  unsigned count = 0;
  Share share = 0;
  Bytes memory = {};
  bool exclusive = false;  // the devices empty, and all of them
  Models models = kAnyModel;
  std::int64_t cpu_milli = 0;
  Bytes host_memory = {};

  // Compute that a placement of it takes, in thousandths of a device.
  std::int64_t compute() const { return std::int64_t{count} * (exclusive ? kWholeDevice : share); }
  bool operator==(const PodAsk&) const = default;
};

}  // namespace kiboko
