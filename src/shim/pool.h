// Stream-ordered pools: charged is what a pool has reserved from the device, not what the program asked of it.
#pragma once

#include <atomic>
#include <cstdint>

#include "shim/pointers.h"

namespace kiboko::shim {

extern std::atomic<bool> pools_used;
void settle_all_pools();

// After a real synchronisation: pools may have given memory back, and makers of imported memory may have gone. One
// load where no pool was ever used and nothing imported.
inline void pool_settle() {
  if (__builtin_expect(pools_used.load(std::memory_order_relaxed), 0)) settle_all_pools();
}

// Gives back to the device what pools and graphs of `device` reserve but do not use. True if that was anything.
bool trim_pools(unsigned device);
inline bool pool_reclaim(unsigned device) { return pools_used.load(std::memory_order_relaxed) && trim_pools(device); }

// A pointer of kind Pool was freed, on whichever way.
void pool_pointer_freed(const PointerEntry& entry);

}  // namespace kiboko::shim
