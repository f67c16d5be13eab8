// Tries a pod on one node: which devices each container gets, or the first rule that speaks against the node.
//
// Owned by the scheduler's loop; keeps its working space from call to call, so trying a node allocates nothing once it
// is warm (families that choose devices by groups or links, and MIG, aside). Takes nothing: what a plan says is booked
// by Engine.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "sched/device_tests.h"
#include "sched/pod_tally.h"
#include "sched/policy.h"

namespace kiboko {

// A model of device as a family registers it.
struct DeviceType {
  FamilyIndex family = 0;
  std::string name;  // of the model
  std::string mode;
  unsigned model = 0;  // of Cluster::model_named
  bool operator==(const DeviceType&) const = default;
};

struct NodePlan {
  std::vector<Taken> taken;  // by container
  PodHolding holding;
};

// More tests than any family has: every device passed, and choosing among them failed.
inline constexpr unsigned kMostPassed = 1000;

// Why a node does not do.
struct NodeMiss {
  RefusalCode code = RefusalCode::NoDevices;
  unsigned container = 0;
  std::size_t ask = 0;      // of the container
  unsigned passed = 0;      // tests that the nearest device passed
  std::size_t fitting = 0;  // devices that would do
};

class NodeFitter {
 public:
  // What the node policy says a device costs, for the order of devices.
  struct Costs {
    const Placer* placer = nullptr;  // null: it says nothing
    NodeIndex node = kNoNode;
    std::span<const PodAsk> asks;  // of each ask of the pod, in order
  };

  explicit NodeFitter(const std::vector<DeviceType>& types) : types_(types) {}

  // `why`, if given, receives what each device of the family says to the ask that failed.
  std::optional<NodeMiss> fit(const BookedNode& node, const PodRequest& request, const Costs& costs, NodePlan& plan,
                              std::vector<DeviceRefusal>* why = nullptr);

 private:
  struct Option {
    unsigned device = 0;
    DeviceNeed need;
    double fullness = 0, cost = 0;
  };
  std::optional<NodeMiss> fit_container(unsigned container);
  std::optional<NodeMiss> fit_ask(unsigned container, std::size_t ask);
  std::optional<NodeMiss> gather(const FamilyAsk& one, std::size_t wanted);
  bool keep_one_numa_node(const FamilyAsk& one, std::size_t wanted);
  void order(const FamilyAsk& one);
  bool take_picked(const FamilyAsk& one, std::size_t wanted, unsigned container);
  std::size_t take_mig(const FamilyAsk& one, std::size_t wanted, unsigned container);
  void take(const FamilyAsk& one, const Option& option, unsigned container, const std::optional<MigPlacement>& mig,
            const MigProfile* profile);
  std::size_t wanted_of(const FamilyAsk& one) const;
  DeviceUse use_now(unsigned device) const;
  std::span<const MigPlacement> mig_now(unsigned device);
  bool group_idle(const FamilyAsk& one, unsigned device) const;
  template <class Visit>
  auto with_look(const FamilyAsk& one, unsigned device, const DeviceNeed& need, Visit visit);

  const std::vector<DeviceType>& types_;
  // Of the call.
  const BookedNode* node_ = nullptr;
  const PodRequest* request_ = nullptr;
  const Costs* costs_ = nullptr;
  NodePlan* plan_ = nullptr;
  std::vector<DeviceRefusal>* why_ = nullptr;
  std::size_t ask_number_ = 0;  // over all containers
  PodTally tally_;
  std::vector<MigPlacement> mig_;
  std::vector<Option> options_;
};

}  // namespace kiboko
