// Which nodes could hold an ask: sets of nodes by what is free on them, so that a question looks at those alone.
//
// Part of a Cluster, which tells it of each change of a node. It knows of a node only the most that any one device has
// free, in steps, and how many devices there are to choose from: a node that it names need not fit, a node that fits
// is always named. Reading allocates nothing.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "sched/node_set.h"
#include "sched/pod_ask.h"

namespace kiboko {

// Of the devices that are healthy and have a slot left ("open").
struct NodeFree {
  unsigned open = 0;
  unsigned whole = 0;  // with all their compute free
  Share largest_share = 0;
  std::uint64_t largest_memory = 0;
  Models models = 0;
  std::int64_t cpu_milli = 0;
  std::uint64_t host_memory = 0;
};

class FreeIndex {
 public:
  void set(NodeIndex node, const NodeFree& free);
  void remove(NodeIndex node);

  const NodeSet& present() const { return present_; }

  // Visits nodes that could hold the ask, lowest first: of those `among` (null: of all), none of `except`.
  template <class Visit>
  void for_each(const PodAsk& ask, const NodeSet* among, const NodeSet* except, Visit visit) const {
    const Query query = query_for(ask);
    const std::size_t words = among != nullptr ? std::min(among->words(), query.words) : query.words;
    for (std::size_t index = 0; index < words; ++index) {
      std::uint64_t bits = word(query, index);
      if (among != nullptr) bits &= among->word(index);
      if (except != nullptr) bits &= ~except->word(index);
      NodeSet::for_each_of_word(index, bits, visit);
    }
  }

 private:
  // What a node is measured by. A step of each, and what an ask needs of it, are in free_index.cc.
  enum Measure : std::size_t { kOpen, kWhole, kShare, kMemory, kCpu, kHostMemory, kMeasures };
  using Steps = std::array<std::uint8_t, kMeasures>;
  struct Query {
    std::array<const NodeSet*, kMeasures + 1> all_of{};
    std::size_t sets = 0;
    Models any_of = 0;  // zero: it does not matter
    std::size_t words = 0;
  };

  static Steps steps_of(const NodeFree& free);
  static Steps steps_needed(const PodAsk& ask);
  Query query_for(const PodAsk& ask) const;
  std::uint64_t word(const Query& query, std::size_t index) const;
  void move(NodeIndex node, const Steps& steps, Models models);

  NodeSet present_;
  std::array<std::vector<NodeSet>, kMeasures> at_least_;  // [measure][step - 1]; every node has step 0
  std::vector<NodeSet> with_model_;
  // By node.
  std::vector<Steps> steps_;
  std::vector<Models> models_;
};

}  // namespace kiboko
