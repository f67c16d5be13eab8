#include "sched/cost_memory.h"

#include <algorithm>

namespace kiboko {
namespace {

constexpr std::size_t kMostBytes = 5U << 20U;
constexpr std::size_t kFewestAsks = 16;
constexpr std::size_t kMostAsks = 512;

std::size_t most_asks(std::size_t nodes) {
  const std::size_t bytes = std::max<std::size_t>(nodes, 1) * (sizeof(std::uint32_t) + sizeof(float));
  return std::clamp(kMostBytes / bytes, kFewestAsks, kMostAsks);
}

}  // namespace

CostMemory::Costs& CostMemory::of(const PodAsk& ask, std::size_t nodes) {
  auto found = asks_.find(ask);
  if (found == asks_.end() && asks_.size() >= most_asks(nodes)) {
    auto oldest = asks_.extract(
        std::ranges::min_element(asks_, std::ranges::less{}, [](const auto& one) { return one.second.last_use; }));
    oldest.key() = ask;
    std::ranges::fill(oldest.mapped().versions, 0U);
    found = asks_.insert(std::move(oldest)).position;
  } else if (found == asks_.end()) {
    found = asks_.try_emplace(ask).first;
  }
  Costs& costs = found->second;
  costs.last_use = ++uses_;
  if (costs.versions.size() < nodes) {
    costs.versions.resize(nodes, 0);
    costs.costs.resize(nodes, 0);
  }
  return costs;
}

void CostMemory::forget_costs() {
  for (auto& [ask, costs] : asks_) std::ranges::fill(costs.versions, 0U);
}

}  // namespace kiboko
