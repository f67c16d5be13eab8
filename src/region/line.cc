#include "region/line.h"

namespace kiboko::region {

std::uint64_t place_in_line(std::int64_t since_ns, unsigned slot) {
  const std::uint64_t us = since_ns < 1000 ? 1 : static_cast<std::uint64_t>(since_ns) / 1000;
  return us << kSlotBits | (slot & (kMaxSlots - 1));
}

std::uint64_t stand_in_line(Shared<std::uint64_t>& first, std::uint64_t place) {
  std::uint64_t seen = first.load(std::memory_order_relaxed);
  while (seen == 0 || place < seen)
    if (first.compare_exchange_weak(seen, place, std::memory_order_relaxed)) return place;
  return seen;
}

std::int64_t waits_since_ns(std::uint64_t place) { return static_cast<std::int64_t>(place >> kSlotBits) * 1000; }

void leave_line(Shared<std::uint64_t>& first, std::uint64_t place) {
  if (first.load(std::memory_order_relaxed) == place)
    first.compare_exchange_strong(place, 0, std::memory_order_relaxed);
}

}  // namespace kiboko::region
