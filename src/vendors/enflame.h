// Enflame's hardware slices: what a node's capacity annotation says, and which slice an ask gets.
//
// Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/cluster_device.h"
#include "model/device_ask.h"

namespace kiboko::vendors {

// "3g.20gb": three of a device's slices, 20 GiB.
struct Slice {
  std::string name, id;
  std::int64_t size = 0, gib = 0;
  CoreUnits cores;  // hundredths of the device, rounded down so that all slices together never exceed it
  MiB memory() const { return MiB{gib * 1024}; }
  bool operator==(const Slice&) const = default;
};

// {"devices":[{"index":"0","minor":"0","capacity":6}],"profiles":{"1g.6gb":"0",…}}
Result<std::vector<RegisteredDevice>> decode_enflame_capacity(std::string_view text, std::string_view node);

// The slices that a device of such a node can have, sorted by size and then memory.
std::vector<Slice> slices_of(const RegisteredDevice& device);

// The slice of exactly the size asked for, or the first that has the memory and compute asked for; nothing when there
// is none. Memory is in GiB, unless it is more than twice the largest slice: then it is in MiB.
std::optional<Slice> slice_for(const std::vector<Slice>& slices, const DeviceAsk& ask);

}  // namespace kiboko::vendors
