// memory_lock.h. The low half of the word is what waiters sleep on; it changes with every hold, so a wake-up between
// a waiter's last look and its sleep is not lost, and a lost one (its receiver died) costs the others 1 ms.
#include "region/memory_lock.h"

#include "region/os.h"

namespace kiboko::region {
namespace {

constexpr std::uint64_t kWaiters = 1ull << 31;
constexpr std::uint64_t kSleepNs = 1'000'000;
constexpr std::uint64_t kPatienceNs = 10'000'000;  // with one hold
constexpr std::uint64_t kGiveUpNs = 100'000'000;   // with all of them: go on without the lock
constexpr int kSpins = 40;

std::uint64_t new_hold(const Slot& slot) {
  static std::atomic<std::uint32_t> tickets{0};
  const std::uint64_t ticket = tickets.fetch_add(1, std::memory_order_relaxed) & 0x7fffffff;
  return static_cast<std::uint64_t>(slot.index & 0xffff) << 48 |
         static_cast<std::uint64_t>(slot.generation & 0xffff) << 32 | (ticket != 0 ? ticket : 0x7fffffff);
}

std::uint64_t hold_of(std::uint64_t word) { return word & ~kWaiters; }

bool holder_gone(const Mapping& region, std::uint64_t word) {
  return holder_is_dead(region, static_cast<unsigned>(word >> 48), static_cast<std::uint16_t>(word >> 32));
}

const std::atomic<std::uint32_t>* futex_of(const Shared<std::uint64_t>& word) {
  return reinterpret_cast<const std::atomic<std::uint32_t>*>(&word);
}

}  // namespace

MemoryLock::MemoryLock(Mapping& region, unsigned device, const Slot& slot)
    : region_(region), word_(region.ext().devices[device].memory_lock), mine_(new_hold(slot)) {
  std::uint64_t seen = 0;
  if (word_.compare_exchange_strong(seen, mine_)) return;
  for (int i = 0; i < kSpins; ++i) {
    os::pause_cpu();
    seen = 0;
    if (word_.load(std::memory_order_relaxed) == 0 && word_.compare_exchange_strong(seen, mine_)) return;
  }
  wait();
}

// Leaves with the lock, its waiters bit set since others may be asleep; or, after 100 ms, without it.
void MemoryLock::wait() {
  const os::KeepErrno keep;
  const std::uint64_t begun = os::now_ns();
  std::uint64_t watched = 0, watched_since = begun;
  for (std::uint64_t now = begun; now - begun < kGiveUpNs; now = os::now_ns()) {
    std::uint64_t seen = word_.load();
    if (hold_of(seen) != watched) watched = hold_of(seen), watched_since = now;
    const bool take_over =
        seen != 0 && now != begun && (now - watched_since >= kPatienceNs || holder_gone(region_, seen));
    if (seen == 0 || take_over) {
      if (word_.compare_exchange_strong(seen, mine_ | kWaiters)) return;
      continue;
    }
    if ((seen & kWaiters) == 0 && !word_.compare_exchange_strong(seen, seen | kWaiters)) continue;
    os::futex_wait(futex_of(word_), static_cast<std::uint32_t>(seen | kWaiters), kSleepNs);
  }
}

MemoryLock::~MemoryLock() {
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  while (hold_of(seen) == mine_) {
    if (!word_.compare_exchange_weak(seen, 0)) continue;
    KIBOKO_STEP("memory lock freed");
    if ((seen & kWaiters) != 0) {
      const os::KeepErrno keep;
      os::futex_wake(futex_of(word_), 1);
    }
    return;
  }
}

}  // namespace kiboko::region
