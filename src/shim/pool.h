// Stream-ordered pools: charged is what a pool has reserved from the device, not what the program asked of it.
#pragma once

#include <atomic>
#include <cstdint>

#include "shim/pointers.h"

namespace kiboko::shim {

extern std::atomic<bool> pools_used;
void settle_all_pools();

// After a real synchronisation: pools may have given memory back. One load where no pool was ever used.
inline void pool_settle() {
  if (__builtin_expect(pools_used.load(std::memory_order_relaxed), 0)) settle_all_pools();
}

// Graphs may hold memory from now on: looked at after each synchronisation, on the device where it happens.
extern std::atomic<bool> graphs_hold_memory;
inline void pool_watch_graphs() {
  if (graphs_hold_memory.load(std::memory_order_relaxed)) return;
  graphs_hold_memory.store(true, std::memory_order_relaxed);
  pools_used.store(true, std::memory_order_release);
}

// Gives back to the device what the pools of `device` reserve but do not use. True if that was anything.
bool trim_pools(unsigned device);
inline bool pool_reclaim(unsigned device) { return pools_used.load(std::memory_order_relaxed) && trim_pools(device); }

// A pointer of kind Pool was freed, on whichever way.
void pool_pointer_freed(const PointerEntry& entry);

}  // namespace kiboko::shim
