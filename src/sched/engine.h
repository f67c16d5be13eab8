// The scheduler's whole knowledge: nodes, what pods hold of them, quotas; and where the next pod goes.
//
// Owned by the scheduler's loop and touched by no other thread. No I/O and no clock: whoever watches the API tells what
// changed (set_…, remove_…), and the time where it matters. What it knows follows from what it was told in any order: a
// pod may be told before its node. Deciding reserves at once, so two pods in a row never get the same share; a
// reservation is undone by remove_pod, becomes permanent when the pod is told as bound, and can be let expire.
//
// A device's use is the sum over the pods on it, counted anew with each change of its node: there is nothing that could
// drift. What is not understood is held against the node, never ignored.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "sched/ask_window.h"
#include "sched/cluster.h"
#include "sched/node_fit.h"
#include "sched/node_set.h"
#include "sched/policy.h"
#include "sched/quota_book.h"
#include "vendors/emit.h"

namespace kiboko {

struct EngineSettings {
  // Nodes are chosen by this; none: by the supply of what is asked for as soon as that is known, before it by packing.
  std::optional<Policy> node_policy;
  // Devices of a node, where the pod says nothing.
  PodPolicy preset{.node = std::nullopt, .order = {DeviceKey::Cheapest}, .weights = {}};
  // Count the CPU and memory of nodes, too. With Kubernetes that is kube-scheduler's business.
  bool count_host = false;
};

// Where a pod goes and what its containers get there.
struct PodPlacement {
  NodeIndex node = kNoNode;  // kNoNode: the pod wants no device, any node will do
  std::vector<Taken> taken;
};

// Why a pod goes nowhere.
struct PodRefusal {
  RefusalCode code = RefusalCode::NoDevices;  // of the node that was nearest to fitting
  std::string sentence;
  std::vector<std::pair<NodeIndex, RefusalCode>> nodes;  // each candidate
};

struct ReadPod;

class Engine {
 public:
  Engine(vendors::Catalog catalog, EngineSettings settings);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // ---- what there is ----

  // A node that is new or has changed. Pods keep what they hold on it, also of devices that are gone. An error says
  // what could not be read (node, annotation, place): pods that want devices of that family are kept from the node
  // until it is told again. A family whose count the node's capacity gives as 0 has no devices there: its plugin is
  // gone.
  Result<void> set_node(const Node& node);
  void remove_node(std::string_view name);
  void set_quota(const ResourceQuota& quota);
  void remove_quota(const std::string& quota_namespace, const std::string& name);

  // ---- what pods hold ----

  // A pod that is bound, as the API has it now: what its annotations say is what it holds. One that has ended holds
  // nothing; one that is not bound holds what is reserved for it. An error says what could not be read: nothing more is
  // placed on the node until the pod is gone or told again.
  Result<void> set_pod(const Pod& pod);
  void remove_pod(std::string_view uid);

  // ---- deciding ----

  // A pod that has arrived, to be called once for each: what is asked for counts for a day.
  void expect(const Pod& pod, WallTime now);

  // Decides and reserves. `candidates`: null for all nodes. A reservation that the pod has already is given up first.
  tl::expected<PodPlacement, PodRefusal> place(const Pod& pod, const NodeSet* candidates, WallTime now);

  // What is reserved for a pod that is not known to be bound; null when nothing is. Use this when the pod is bound, not
  // what `place` returned: the node may have changed in between.
  const PodPlacement* reservation(std::string_view uid) const;
  // Gives up reservations made before then; returns their pods.
  std::vector<std::string> expire(WallTime before);

  // What is to be written on the pod for the placement: the allocation of each family and what plugins want besides.
  // Conflict: a device of it is not there any more, or not healthy; place the pod again.
  Result<Texts> annotations_for(const Pod& pod, const PodPlacement& placement, WallTime now) const;

  // ---- looking ----

  const vendors::Catalog& catalog() const { return catalog_; }
  const EngineSettings& settings() const { return settings_; }
  const std::vector<DeviceType>& types() const { return types_; }
  std::optional<NodeIndex> find_node(std::string_view name) const;
  // By NodeIndex. Nodes that are not `known` are gaps, or are only named by pods.
  const std::vector<BookedNode>& nodes() const { return nodes_; }
  // The candidates, or every node that is known where none are named. Candidates may be unknown, even beyond nodes().
  template <class Visit>
  void for_each_candidate(const NodeSet* candidates, Visit visit) const {
    if (candidates != nullptr) return candidates->for_each(visit);
    for (NodeIndex index = 0; index < nodes_.size(); ++index)
      if (nodes_[index].known) visit(index);
  }
  const Cluster& cluster() const { return cluster_; }
  const QuotaBook& quotas() const { return quotas_; }
  const AskMix& mix() const { return window_.mix(); }  // what pods asked for in the last day
  std::size_t pods() const { return pods_.size(); }
  // Does the node lack the CPU or memory that the pod requests? Only where they are counted.
  std::optional<RefusalCode> host_refusal(NodeIndex index, const Pod& pod) const;
  // The policy that a pod without a wish is placed by now.
  Policy policy_now() const;

 private:
  struct PodRecord;
  struct Transparent : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using PodMap = std::unordered_map<std::string, PodRecord, Transparent, std::equal_to<>>;
  // The range of amounts that a family's devices have had: bounds for asks in parts of a device.
  struct FamilyRange {
    std::int64_t least_memory = 0, least_cores = 0, most_cores = 0;
    bool any = false, mig = false;
  };
  struct Reservation {
    PodPlacement placement;
    WallTime since;
  };

  // ---- nodes (engine_nodes.cc) ----
  NodeIndex node_named(const std::string& name);
  void tidy(NodeIndex index);
  void read_devices(const Node& node, std::vector<BookedDevice>& devices, BookedNode& into,
                    std::vector<std::string>& troubles);
  BookedDevice booked(RegisteredDevice device, FamilyIndex family, const Node& node,
                      const std::shared_ptr<const DeviceExtras>& neighbour);
  void replace_devices(NodeIndex index, std::vector<BookedDevice> devices);
  std::uint16_t type_of(FamilyIndex family, const std::string& name, const std::string& mode);
  std::optional<unsigned> device_on(NodeIndex index, FamilyIndex family, const std::string& uuid);
  void write_cluster_node(NodeIndex index);
  void recount(NodeIndex index);
  void add_use(BookedNode& node, const PodRecord& pod) const;

  // ---- pods (engine_pods.cc) ----
  const std::shared_ptr<const QuotaSubject>& subject_of(const Pod& pod);
  void hold(const Pod& pod, NodeIndex node, PodHolding holding, bool unreadable);
  void let_go(PodMap::iterator found);
  PodHolding holding_of(const Pod& pod, NodeIndex node, const ReadPod& read);

  // ---- deciding (engine.cc) ----
  Placer& placer_for(Policy policy);
  std::size_t set_plain_asks(const PodRequest& request, const Pod& pod);
  PodAsk plain_ask(const FamilyAsk& one) const;
  Models models_for(const FamilyAsk& one) const;
  NodeIndex search(const PodRequest& request, const Pod& pod, const NodeSet* candidates);
  void find_fitting(const PodRequest& request, const Pod& pod, const NodeSet* candidates, const Placer& placer);
  bool fits_on(NodeIndex index, const PodRequest& request, const Pod& pod, const Placer& placer);
  double family_score(const PodRequest& request, NodeIndex index, const NodePlan& plan) const;
  vendors::PlacedDevice placed(const BookedNode& node, const Taken& taken) const;
  PodRefusal refusal_of(const PodRequest& request, const Pod& pod, const NodeSet* candidates);

  vendors::Catalog catalog_;
  EngineSettings settings_;
  std::vector<DeviceType> types_;
  std::vector<FamilyRange> ranges_;  // by family
  std::vector<std::string> marks_;   // node annotations that are kept
  Cluster cluster_;
  std::map<Policy, Placer> placers_;
  AskWindow window_;
  std::vector<BookedNode> nodes_;
  std::vector<std::vector<PodRecord*>> pods_on_;  // by node
  std::unordered_map<std::string, NodeIndex, Transparent, std::equal_to<>> index_of_;
  PodMap pods_;
  std::unordered_map<std::string, Reservation, Transparent, std::equal_to<>> reservations_;
  // What quotas look at in pods, by namespace.
  std::map<std::string, std::vector<std::shared_ptr<const QuotaSubject>>, std::less<>> subjects_;
  QuotaBook quotas_{catalog_};
  NodeFitter fitter_{types_};
  NodePlan plan_, best_plan_;
  std::vector<PodAsk> asks_;  // of the pod at hand, one for each of its asks
  NodeSet tried_, fitting_;
};

}  // namespace kiboko
