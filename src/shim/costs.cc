#include "shim/costs.h"

#include "shim/launch.h"

namespace kiboko::shim {
namespace {

constexpr unsigned kCosts = 4096;
Cost costs[kCosts];
Cost everything_else;

// Grids of like size share an entry: log2 of the volume.
std::uint64_t key_of(const Unit& unit) {
  const auto magnitude = unit.volume == 0 ? 0U : 64U - static_cast<unsigned>(__builtin_clzll(unit.volume));
  const std::uint64_t mixed =
      (reinterpret_cast<std::uintptr_t>(unit.handle) ^ (std::uint64_t{magnitude} << 57)) * 0x9e3779b97f4a7c15ULL;
  return mixed | 1U;
}

}  // namespace

Cost& cost_of(const Unit& unit) {
  const std::uint64_t key = key_of(unit);
  for (unsigned probe = 0, at = static_cast<unsigned>(key >> 52); probe < 16; ++probe, at = (at + 1) % kCosts) {
    std::uint64_t there = costs[at].key.load(std::memory_order_acquire);
    if (there == key) return costs[at];
    if (there == 0 && costs[at].key.compare_exchange_strong(there, key, std::memory_order_acq_rel)) return costs[at];
    if (there == key) return costs[at];
  }
  return everything_else;
}

// A quarter of the way to each new sample; straight there when it is far off, because then the work has changed.
void learn(Cost& cost, std::uint64_t ns, bool alone) {
  const std::uint64_t sample = ns < 1 ? 1 : (ns > 4'000'000'000ULL ? 4'000'000'000ULL : ns);
  const std::uint64_t old = cost.ns.load(std::memory_order_relaxed);
  std::uint64_t next = sample;
  if (old != 0 && !alone)
    next = sample < old ? (old + sample) / 2 : (sample < old + old / 8 ? sample : old + old / 8);
  else if (old != 0 && sample < 4 * old && old < 4 * sample)
    next = (3 * old + sample) / 4;
  const bool close = old != 0 && sample * 8 < old * 9 && old * 8 < sample * 9;
  cost.steady.store(close ? cost.steady.load(std::memory_order_relaxed) + 1 : 0, std::memory_order_relaxed);
  cost.ns.store(static_cast<std::uint32_t>(next), std::memory_order_relaxed);
  cost.unsettled.store(0, std::memory_order_relaxed);
}

}  // namespace kiboko::shim
