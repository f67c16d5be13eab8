// What device.cc, channel.cc and device_file.cc share among themselves. Not for users of device.h.
#pragma once

#include <string>

#include "device.h"

namespace sim {

class MemoryGuard {
 public:
  MemoryGuard(Shared& shared, int device);
  ~MemoryGuard();
  MemoryGuard(const MemoryGuard&) = delete;
  MemoryGuard& operator=(const MemoryGuard&) = delete;

 private:
  Device& device_;
};

class TableGuard {
 public:
  explicit TableGuard(Shared& shared);
  ~TableGuard();
  TableGuard(const TableGuard&) = delete;
  TableGuard& operator=(const TableGuard&) = delete;

 private:
  Shared& shared_;
};

// With time_lock held: the channel's owner is gone; its memory and its turns go back.
void bury(Shared& shared, int channel);
// With memory_lock held: the sums from the channels.
void recount_memory(Shared& shared, int device);
// A mutex between processes that survives its owner.
void init_robust(pthread_mutex_t& mutex);

// Start time and state letter of a process of this pid namespace; false when there is none.
bool read_process(int pid, std::uint64_t& start_time, char& state);

}  // namespace sim
