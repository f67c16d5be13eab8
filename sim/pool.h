// Memory pools: reserved from the device in steps, used by allocations, given back when synchronising.
#pragma once

#include "memory.h"

namespace sim {

struct Pool : Object<Tag::kPool> {
  static constexpr Tag kTag = Tag::kPool;
  int ordinal = 0;
  bool is_default = false;
  bool host = false;    // a pool of host memory: nothing is charged
  bool doomed = false;  // destroyed while allocations live: goes with the last one
  CUmemPoolProps properties{};
  std::uint64_t threshold = 0;  // keep this much when synchronising
  std::uint64_t reserved = 0, reserved_high = 0, used = 0, used_high = 0;
  std::uint64_t live = 0;
  int reuse[3] = {1, 1, 1};
};

// Returns what pools of the device hold beyond their thresholds. Called where the program synchronises.
void trim_pools(int ordinal);
// The allocation goes back to its pool; `allocation` is invalid afterwards.
void return_to_pool(Allocation* allocation);

}  // namespace sim
