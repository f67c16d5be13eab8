// "hami.io/vgpu-mig-allocations": which MIG instance each container of a pod is to have, exactly where. The scheduler
// writes the reservation, the agent adds the identities of what it made.
//
// Pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "model/cluster_device.h"

namespace kiboko {

// All three of an instance that exists.
struct MigInstance {
  DeviceUuid uuid;
  std::uint32_t gpu_instance = 0, compute_instance = 0;
  bool operator==(const MigInstance&) const = default;
};

struct MigAllocation {
  unsigned container = 0;  // init containers first
  unsigned device = 0;     // position in that container's list
  DeviceUuid gpu;          // the physical one
  std::string profile;
  MigPlacement placement;
  std::optional<MigInstance> instance;
  bool operator==(const MigAllocation&) const = default;
};

// An empty text is no allocation. Invalid: a missing GPU or profile, a placement without size, one identity without the
// others, two entries for one device of one container.
Result<std::vector<MigAllocation>> decode_mig_allocations(std::string_view text);
std::string encode_mig_allocations(std::span<const MigAllocation> allocations);

}  // namespace kiboko
