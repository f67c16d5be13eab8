// How a pod wants to be placed: its annotations turned into a node policy, an order of devices and what both insist on.
//
// Plain values and pure functions. Annotations: hami.io/node-scheduler-policy, hami.io/gpu-scheduler-policy and
// hami.io/device-scoring-weights, with HAMi's words and ours.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "model/objects.h"
#include "sched/policy.h"

namespace kiboko {

inline constexpr std::string_view kNodePolicyKey = "hami.io/node-scheduler-policy";
inline constexpr std::string_view kDevicePolicyKey = "hami.io/gpu-scheduler-policy";
inline constexpr std::string_view kWeightsKey = "hami.io/device-scoring-weights";

// What devices of one node are ordered by, the first key first.
enum class DeviceKey {
  Fullest,
  Emptiest,
  Numa,      // all of one NUMA node if they fit there, else lower NUMA nodes first
  Cheapest,  // what the node policy says a device costs, where it says that of devices; else Fullest
};

// How much each part in use counts for Fullest and Emptiest.
struct DeviceWeights {
  double slots = 1, cores = 1, memory = 1;
};

struct PodPolicy {
  std::optional<Policy> node;  // none: the scheduler's own
  std::vector<DeviceKey> order;
  DeviceWeights weights;
  bool mutex = false;     // only devices that nobody uses
  bool topology = false;  // best linked devices first
};

// `preset` is the order of devices of pods that do not say. A word that nobody knows counts as HAMi has it: `binpack`
// for nodes, `spread` for devices. Weights that cannot be read are Invalid.
Result<PodPolicy> policy_of(const Texts& annotations, const PodPolicy& preset);

}  // namespace kiboko
