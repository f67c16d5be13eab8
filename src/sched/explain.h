// The whole answer to "why is this pod not placed": per node and device the first rule that refused, what was asked,
// what is free, and the nearest change that would fit.
//
// Reads the engine and changes nothing in it; on the thread that owns it. For people: it looks at every candidate in
// full, some twenty times where amounts are searched for.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "sched/engine.h"

namespace kiboko {

struct NodeExplanation {
  std::string node;
  RefusalCode code = RefusalCode::NoDevices;
  std::string container;  // whose ask did not fit; empty where the whole pod or the node is meant
  std::string sentence;
  std::vector<DeviceRefusal> devices;  // those of the family that refused, in the order of the node
  bool operator==(const NodeExplanation&) const = default;
};

struct Explanation {
  bool fits = false;
  std::string on;  // it fits: a node that it could go to, or has reserved; empty for a pod without devices
  RefusalCode code = RefusalCode::NoDevices;
  std::string sentence;
  std::vector<std::pair<RefusalCode, std::size_t>> counts;  // nodes by reason, most first
  std::vector<NodeExplanation> nodes;                       // those that refused, by index
  std::string nearest;                                      // a sentence; empty: no single change would do
};

Explanation explain(const Engine& engine, const Pod& pod, const NodeSet* candidates = nullptr);

// Nodes by the code for which they refused.
using RefusalCounts = std::array<std::size_t, kRefusalCodes>;
// "none of 5 nodes fits: 3 memory (…), 2 type (…)", most first. What events and conditions of the pod say, too.
std::string refusal_sentence(const RefusalCounts& counts);

// The nearest change that would fit, as a sentence; empty when there is none.
std::string nearest_change(const Engine& engine, const Pod& pod, const PodRequest& request, RefusalCode code,
                           const NodeSet* candidates);

}  // namespace kiboko
