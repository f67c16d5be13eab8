// A cluster as the placement policies see it: what is free on every node and device, in flat arrays.
//
// Owned by the scheduler's loop and touched by no other thread. Vendor-neutral: whoever fills it has turned a vendor's
// words into shares, bytes and a model. Reading allocates nothing; a change of a node costs what that node has, and the
// spans it was read by are good until then. Nothing here decides: fit is a fact, preference is policy.h.
//
// Two ways to keep it: `take` and `give_back` of asks, each other's undo, or `set_free` from an exact book that
// somebody else keeps. What was taken before a node was set is not to be given back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/result.h"
#include "sched/free_index.h"
#include "sched/node_set.h"
#include "sched/pod_ask.h"

namespace kiboko {

// A set of devices of one node: bit i is the i-th device.
using Devices = std::uint64_t;
inline constexpr std::size_t kMaxNodeDevices = 64;

struct ClusterDevice {
  Bytes memory = {};  // grantable; zero where nobody counts memory
  unsigned slots = 64;
  unsigned model = 0;  // of Cluster::model_named
  bool healthy = true;
};

struct ClusterNode {
  std::string name = {};
  std::int64_t cpu_milli = 0;
  Bytes host_memory = {};
  std::vector<ClusterDevice> devices = {};
};

// What is free on a device by somebody else's exact book.
struct FreeOfDevice {
  Share share = kWholeDevice;
  Bytes memory = {};
  unsigned grants = 0;  // of its slots
  bool healthy = true;
};

struct Spot {
  NodeIndex node = kNoNode;
  Devices devices = 0;
  bool operator==(const Spot&) const = default;
};

// The first thing in this order that speaks against a node. A pod's reason is that of the node that got furthest.
enum class NodeRefusal : std::uint8_t {
  TooFewDevices,  // fewer devices than asked, whatever is free
  Model,          // too few of the models allowed
  Unhealthy,
  Occupied,  // too few devices with a slot left, or empty ones for an exclusive ask
  Compute,
  Memory,
  Cpu,
  HostMemory,
  None,
};
std::string_view name(NodeRefusal refusal);  // "too_few_devices", …

class Cluster {
 public:
  // The index of a model, made known if it is new. Fails on the 65th.
  Result<unsigned> model_named(std::string_view name);
  std::optional<unsigned> find_model(std::string_view name) const;
  std::span<const std::string> models() const { return models_; }

  // Takes the index of a removed node, if there is one. Fails on more than kMaxNodeDevices devices and on a model that
  // model_named did not give.
  Result<NodeIndex> add_node(const ClusterNode& node);
  // The node with other devices, everything on it free. Fails as add_node does, and then leaves the node as it was.
  Result<void> set_node(NodeIndex index, const ClusterNode& node);
  // From here on the index fits nothing and has no devices.
  void remove_node(NodeIndex node);

  // Says what is free. No more than there is: what is above counts as all, CPU below nothing as none. An empty device
  // is one with all its share and memory and no grant; an exclusive ask fits on no other.
  void set_free(NodeIndex node, std::size_t device, const FreeOfDevice& free);
  void set_host_free(NodeIndex node, std::int64_t cpu_milli, Bytes memory);
  void set_healthy(NodeIndex node, std::size_t device, bool healthy);

  // One more than the highest index ever given; `present` has those that are nodes now.
  std::size_t nodes() const { return names_.size(); }
  const NodeSet& present() const { return index_.present(); }
  std::size_t devices() const { return devices_; }
  const std::string& node_name(NodeIndex node) const { return names_[node]; }
  std::int64_t compute_capacity() const { return std::int64_t{kWholeDevice} * static_cast<std::int64_t>(devices_); }
  std::int64_t compute_granted() const { return compute_capacity() - compute_free_of_all_; }
  Bytes memory_capacity() const { return Bytes{memory_capacity_bytes_}; }  // of all devices

  std::int64_t cpu_free(NodeIndex node) const { return cpu_free_[node]; }
  std::uint64_t host_memory_free(NodeIndex node) const { return host_memory_free_[node]; }
  std::int64_t cpu_capacity(NodeIndex node) const { return cpu_capacity_[node]; }
  std::uint64_t host_memory_capacity(NodeIndex node) const { return host_memory_capacity_[node]; }
  std::int64_t compute_free(NodeIndex node) const { return compute_free_[node]; }  // sum over its devices
  std::size_t device_count(NodeIndex node) const { return device_count_[node]; }
  // The parts of the node's compute, memory and slots in use, added up: 0 to 3.
  double use(NodeIndex node) const { return use_[node]; }

  // Nodes in the same state, device by device, have the same key; others have not, but for one case in 2^64 or so.
  std::uint64_t state_key(NodeIndex node) const { return state_key_[node]; }
  // Another number after each change of what is at the index; never 0.
  std::uint32_t version(NodeIndex node) const { return version_[node]; }

  // Of the node's devices, by index within the node.
  std::span<const Share> free_shares(NodeIndex node) const { return of(node, free_share_); }
  std::span<const std::uint64_t> free_memory(NodeIndex node) const { return of(node, free_memory_); }
  std::span<const std::uint64_t> memory_capacity(NodeIndex node) const { return of(node, memory_capacity_); }
  std::span<const std::uint16_t> grants(NodeIndex node) const { return of(node, grants_); }  // slots in use
  std::span<const std::uint16_t> slots(NodeIndex node) const { return of(node, slots_); }
  std::span<const std::uint8_t> device_models(NodeIndex node) const { return of(node, model_); }
  std::span<const std::uint8_t> healthy(NodeIndex node) const { return of(node, healthy_); }

  // The devices that one part of the ask could be put on. Says nothing of CPU, host memory or the count.
  Devices fitting_devices(NodeIndex node, const PodAsk& ask) const;
  // Does all of it fit on the node now?
  bool fits(NodeIndex node, const PodAsk& ask) const;
  NodeRefusal refusal(NodeIndex node, const PodAsk& ask) const;
  // Visits, lowest first, every node that fits and few that do not: of those `among` (null: of all), none of `except`.
  template <class Visit>
  void for_each_that_may_fit(const PodAsk& ask, const NodeSet* among, const NodeSet* except, Visit visit) const {
    index_.for_each(ask, among, except, visit);
  }

  // Is the spot one that `take` may be called with: the right number of devices, each of them fitting?
  bool valid(const PodAsk& ask, const Spot& spot) const;
  void take(const PodAsk& ask, const Spot& spot);       // the spot must be valid
  void give_back(const PodAsk& ask, const Spot& spot);  // exactly what an earlier take took

 private:
  template <class T>
  std::span<const T> of(NodeIndex node, const std::vector<T>& all) const {
    return std::span{all}.subspan(first_device_[node], device_count(node));
  }
  bool empty(std::size_t device) const;
  bool device_fits(std::size_t device, const PodAsk& ask) const;
  void move(const PodAsk& ask, const Spot& spot, bool taking);
  Result<void> check(const ClusterNode& node) const;
  void put(NodeIndex index, const ClusterNode& node);
  void drop(NodeIndex index);
  void close_holes();
  void refresh(NodeIndex node);  // what follows from the rest

  std::vector<std::string> models_;
  // By node.
  std::vector<std::string> names_;
  std::vector<std::int64_t> cpu_free_, cpu_capacity_;
  std::vector<std::uint64_t> host_memory_free_, host_memory_capacity_;
  std::vector<std::int64_t> compute_free_;
  std::vector<Share> largest_share_;  // free on its emptiest healthy device: most nodes are passed over by this alone
  std::vector<double> use_;
  std::vector<std::uint64_t> state_key_;
  std::vector<std::uint32_t> version_;
  std::vector<std::uint32_t> first_device_;
  std::vector<std::uint8_t> device_count_, device_room_;  // room: places from first_device_ on that are the node's
  std::vector<NodeIndex> removed_;
  // By device: a node's one after the other, the nodes in any order, with holes.
  std::vector<Share> free_share_;
  std::vector<std::uint64_t> free_memory_, memory_capacity_;
  std::vector<std::uint16_t> grants_, slots_;
  std::vector<std::uint8_t> model_, healthy_;
  auto columns() { return std::tie(free_share_, free_memory_, memory_capacity_, grants_, slots_, model_, healthy_); }
  std::size_t devices_ = 0;
  std::int64_t compute_free_of_all_ = 0;
  std::uint64_t memory_capacity_bytes_ = 0;
  FreeIndex index_;
};

// Lowest first.
template <class Visit>
void for_each_device(Devices devices, Visit visit) {
  for (; devices != 0; devices &= devices - 1) visit(static_cast<std::size_t>(__builtin_ctzll(devices)));
}

}  // namespace kiboko
