// Allocations that several processes hold. Who pays is one word in the entry, so that a payer's death needs no
// transaction: whoever counts next hands the bill to another holder, or frees the entry when there is none.
#include <unistd.h>

#include <algorithm>

#include "device_internal.h"

namespace sim {

int share_allocation(Shared& shared, int channel, std::uint64_t bytes, std::uint64_t id) {
  Channel& mine = shared.channels[channel];
  Device& device = shared.devices[mine.device];
  MemoryGuard guard(shared, mine.device);
  for (int i = 0; i < kMaxShared; ++i) {
    SharedAllocation& entry = device.shared[i];
    if (entry.state != 0) continue;
    std::fill(std::begin(entry.holders), std::end(entry.holders), std::uint16_t{0});
    entry.charged = static_cast<std::uint32_t>(channel) + 1;
    entry.holders[0] = static_cast<std::uint16_t>(channel + 1);
    entry.id = id;
    entry.bytes = bytes;
    if (static_cast<std::uint64_t>(i) >= device.shared_limit) device.shared_limit = static_cast<std::uint64_t>(i) + 1;
    entry.state = 1;
    mine.memory_used = mine.memory_used - bytes;
    return i;
  }
  return -1;
}

bool join_allocation(Shared& shared, int channel, int index, std::uint64_t id) {
  const int device = shared.channels[channel].device;
  MemoryGuard guard(shared, device);
  SharedAllocation& entry = shared.devices[device].shared[index];
  if (entry.state == 0 || entry.id != id) return false;
  for (std::uint16_t& holder : entry.holders) {
    if (holder != 0 && holder != channel + 1) continue;
    holder = static_cast<std::uint16_t>(channel + 1);
    return true;
  }
  return false;
}

void leave_allocation(Shared& shared, int channel, int index) {
  const int device = shared.channels[channel].device;
  MemoryGuard guard(shared, device);
  SharedAllocation& entry = shared.devices[device].shared[index];
  for (std::uint16_t& holder : entry.holders) {
    if (holder == channel + 1) holder = 0;
  }
  if (static_cast<int>(entry.charged) == channel + 1) entry.charged = 0;
  recount_memory(shared, device);
}

}  // namespace sim
