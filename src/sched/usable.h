// How much of a node's free compute each class of asks could use: the measure behind the policies `fgd` and `supply`.
//
// What is free and cannot be used by a class is a fragment to that class. Two readings of "could use":
//
//  - Compute, the published one: if one ask of the class fits, everything free on the devices that it fits on.
//  - Places: one ask of the class on each device that it fits on (and a tenth of what is likely to fit beside it), and
//    no more of them than the node's CPU and host memory last for, in fractions of at least one. So CPU and memory are
//    worth something before they are gone, a device that is begun is worth as much to a small ask as an empty one, and
//    an empty one is worth more to all.
//
// Owned by the scheduler's loop with the Cluster it looks at. The sums over the cluster are kept up to date node by
// node (`refresh` after each change of it) in whole numbers, so they equal a count from nothing exactly. Amounts are
// thousandths of a device.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "sched/ask_mix.h"
#include "sched/cluster.h"

namespace kiboko {

// More classes than this do not make decisions better, only slower.
inline constexpr std::size_t kMaxAskClasses = 128;

class Usable {
 public:
  enum class Reading { Compute, Places };

  // `cluster` must outlive it; nodes may be added to it later (`refresh` takes them in).
  Usable(const Cluster& cluster, std::vector<AskClass> classes, Reading reading);

  std::span<const AskClass> classes() const { return classes_; }
  // What each class could use of the whole cluster, were it alone.
  std::span<const std::int64_t> supply() const { return supply_; }
  void refresh(NodeIndex node);

  // What a unit of supply of each class is worth from now on. `lost` below is in these units.
  void set_weights(std::span<const double> weights);

  // What a placement of the ask on these devices of the node would take from the weighted supply.
  double lost(NodeIndex node, const PodAsk& ask, Devices devices) const;
  // What the classes could use of one node, counted from nothing.
  std::vector<std::int64_t> count_node(NodeIndex node) const;

 private:
  using Lanes = float __attribute__((vector_size(16)));
  static constexpr std::size_t kLane = sizeof(Lanes) / sizeof(float);
  static constexpr std::size_t kMaxLanes = kMaxAskClasses / kLane;
  using Row = std::array<Lanes, kMaxLanes>;  // one number a class
  using Counted = std::array<std::int32_t, kMaxAskClasses>;
  struct DeviceState {
    Share share;
    std::uint64_t memory;
    unsigned grants;
    unsigned slots;
    unsigned model;
    bool healthy;
  };
  struct HostState {
    float cpu;
    float memory_mib;
  };

  void make_tables();
  std::vector<double> next_part() const;
  DeviceState device_state(NodeIndex node, std::size_t device) const;
  HostState host_state(NodeIndex node, const PodAsk* taken) const;
  // What the device counts for each class, in asks: 0 where none fits, else 1 or more.
  void part_of_device(const DeviceState& state, Row& part) const;
  void limit_by_more_than_share(const DeviceState& state, Row& part) const;
  void sum_devices(NodeIndex node, Row& sum) const;
  void count(NodeIndex node, const Row& sum, Counted& counted) const;
  Lanes usable(Lanes sum, std::size_t lane, const HostState& host) const;

  const Cluster& cluster_;
  std::vector<AskClass> classes_;
  Reading reading_;
  std::size_t lanes_ = 0;
  float most_device_memory_ = 0;  // MiB that any class asks for
  bool some_exclusive_ = false;
  std::vector<Lanes> part_of_share_;  // [share 0..1000][lane]
  std::vector<Lanes> allowed_;        // [model][lane]: 1 or 0
  Row inverse_count_{}, inverse_cpu_{}, inverse_memory_{}, size_{}, weight_{};
  Row device_memory_{}, beside_others_{};  // MiB on each device; 0 for a class that wants them for itself, else 1
  std::vector<std::int64_t> supply_;
  // By node.
  std::vector<Lanes> node_sum_;            // [node][lane]: sum of its devices' parts
  std::vector<std::int32_t> node_usable_;  // [node][class]
};

}  // namespace kiboko
