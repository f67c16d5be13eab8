// The lock that makes charges near a limit go one at a time: one word per device, in the region.
//
// The word names its holder {slot:16, generation:16, waiters:1, ticket:31}, 0 = free; the low half is a futex word. A
// waiter that finds the holder dead, or has waited 10 ms for the same hold, takes the lock over, and after 100 ms in
// all it goes on without. So the lock delays and never stops anybody; it is fairness, not safety: the limit rests on
// I1 (account.h).
#pragma once

#include "region/slots.h"

namespace kiboko::region {

class MemoryLock {
 public:
  // `device` < kMaxDevices.
  MemoryLock(Mapping& region, unsigned device, const Slot& slot);
  ~MemoryLock();
  MemoryLock(const MemoryLock&) = delete;
  MemoryLock& operator=(const MemoryLock&) = delete;

 private:
  void wait();

  Mapping& region_;
  Shared<std::uint64_t>& word_;
  std::uint64_t mine_;
};

}  // namespace kiboko::region
