// A process that works no more calls nothing that would tell us, so that its last figure would stand for ever. Whoever
// still works clears what is older than a few seconds: spare[0] beside the figure has the time when it was written. The
// last process to stop leaves its figure until it ends.
#include "shim/busy_share.h"

#include "shim/state.h"

namespace kiboko::shim {

namespace {

constexpr std::uint64_t kStaleNs = 3'000'000'000;

std::atomic<std::uint64_t> busy_before[region::kMaxDevices];
std::atomic<std::uint64_t> written_at{0};

void clear_stale(region::HamiSlot& slot, std::uint64_t now) {
  for (unsigned device = 0; device < state.device_count; ++device) {
    region::HamiUtil& util = slot.util[device];
    const std::uint64_t at = util.spare[0].load(std::memory_order_relaxed);
    if (util.sm.load(std::memory_order_relaxed) != 0 && now > at && now - at > kStaleNs)
      util.sm.store(0, std::memory_order_relaxed);
  }
}

}  // namespace

void publish_busy_share(std::int64_t now_ns) {
  const auto now = static_cast<std::uint64_t>(now_ns);
  const std::uint64_t before = written_at.exchange(now, std::memory_order_relaxed);
  region::Extension& ext = state.region.ext();
  for (unsigned device = 0; device < state.device_count; ++device) {
    const std::uint64_t busy = ext.counters[state.slot.index].device[device].busy_ns.load(std::memory_order_relaxed);
    const std::uint64_t last = busy_before[device].exchange(busy, std::memory_order_relaxed);
    if (before == 0 || now <= before || busy < last) continue;
    const std::uint64_t percent = (busy - last) * 100 / (now - before);
    region::HamiUtil& util = state.region.hami().slots[state.slot.index].util[device];
    util.spare[0].store(now, std::memory_order_relaxed);
    util.sm.store(percent < 100 ? percent : 100, std::memory_order_relaxed);
  }
  for (unsigned block = 0; block < region::kMaxSlots / 64; ++block)
    for (std::uint64_t live = ext.header.live[block].load(std::memory_order_acquire); live != 0; live &= live - 1) {
      const unsigned index = block * 64 + static_cast<unsigned>(__builtin_ctzll(live));
      if (index != state.slot.index) clear_stale(state.region.hami().slots[index], now);
    }
}

}  // namespace kiboko::shim
