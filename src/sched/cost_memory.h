// What each node cost for an ask when it was last judged, for the asks that came last.
//
// Part of a Placer. Prices move on by a hair with each placement, so what is remembered is only good to tell the few
// nodes that are worth judging now. An ask that was there before is found without an allocation; one that comes when
// memory is full takes the place of the one not asked for the longest.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "sched/ask_mix.h"

namespace kiboko {

class CostMemory {
 public:
  static constexpr float kDoesNotFit = std::numeric_limits<float>::infinity();

  // By node. A cost is that of the node at the version of Cluster::version; 0: never judged.
  struct Costs {
    std::vector<std::uint32_t> versions;
    std::vector<float> costs;
    NodeIndex look_again_at = 0;
    std::uint64_t last_use = 0;

    void note(NodeIndex node, std::uint32_t version, float cost) {
      versions[node] = version;
      costs[node] = cost;
    }
  };

  // Of the ask, with room for so many nodes.
  Costs& of(const PodAsk& ask, std::size_t nodes);
  // What a placement costs has changed altogether.
  void forget_costs();

 private:
  std::map<PodAsk, Costs, AskLess> asks_;
  std::uint64_t uses_ = 0;
};

}  // namespace kiboko
