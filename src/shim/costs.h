// What each kernel or graph is expected to take, learnt from measured segments.
//
// A fixed table, open addressing, never shrinks; entries are single words, so readers and writers need no lock. Where
// it is full, one shared entry serves everything else. Process-local.
#pragma once

#include <atomic>
#include <cstdint>

namespace kiboko::shim {

struct Unit;

inline constexpr std::uint32_t kUnknownCostNs = 10'000;

struct Cost {
  std::atomic<std::uint64_t> key;         // 0 = free
  std::atomic<std::uint32_t> ns;          // expected device time of one unit; never 0 once known
  std::atomic<std::uint32_t> unsettled;   // launched and not yet measured, while the cost is unknown
  std::atomic<std::uint32_t> steady;      // samples in a row that were close to what was expected
  std::atomic<std::uint32_t> unmeasured;  // times that a measurement was thought unnecessary
};

Cost& cost_of(const Unit& unit);
inline bool is_known(const Cost& cost) { return cost.ns.load(std::memory_order_relaxed) != 0; }
inline std::uint32_t expected_ns(const Cost& cost) {
  const std::uint32_t ns = cost.ns.load(std::memory_order_relaxed);
  return ns == 0 ? kUnknownCostNs : ns;
}
// One measured unit took `ns`. Beside others' turns (`alone` false) it only seems so: the least of what was seen counts
// then, and the expectation grows slowly.
void learn(Cost& cost, std::uint64_t ns, bool alone);

}  // namespace kiboko::shim
