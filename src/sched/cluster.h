// A cluster as the placement policies see it: what is free on every node and device, in flat arrays.
//
// Owned by the scheduler's loop and touched by no other thread. Vendor-neutral: whoever fills it has turned a vendor's
// words into shares, bytes and a model. Reading allocates nothing; `take` and `give_back` are each other's undo and
// change one node. Nothing here decides: fit is a fact, preference is policy.h.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/quantities.h"

namespace kiboko {

// Thousandths of one device's compute.
using Share = std::int32_t;
inline constexpr Share kWholeDevice = 1000;

// A set of device models: bit i is the i-th model that the cluster knows.
using Models = std::uint64_t;
inline constexpr Models kAnyModel = ~Models{0};
inline constexpr std::size_t kMaxModels = 64;

// A set of devices of one node: bit i is the i-th device.
using Devices = std::uint64_t;
inline constexpr std::size_t kMaxNodeDevices = 64;

using NodeIndex = std::uint32_t;
inline constexpr NodeIndex kNoNode = std::numeric_limits<NodeIndex>::max();

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

// What a pod wants of one node. share and memory are for each of `count` devices; a pod without devices has count 0.
struct PodAsk {
  unsigned count = 0;
  Share share = 0;
  Bytes memory = {};
  bool exclusive = false;  // the devices empty, and all of them
  Models models = kAnyModel;
  std::int64_t cpu_milli = 0;
  Bytes host_memory = {};

  // Compute that a placement of it takes, in thousandths of a device.
  std::int64_t compute() const { return std::int64_t{count} * (exclusive ? kWholeDevice : share); }
  bool operator==(const PodAsk&) const = default;
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

  // Fails on more than kMaxNodeDevices devices and on a model that model_named did not give.
  Result<NodeIndex> add_node(const ClusterNode& node);

  std::size_t nodes() const { return names_.size(); }
  std::size_t devices() const { return free_share_.size(); }
  const std::string& node_name(NodeIndex node) const { return names_[node]; }
  std::int64_t compute_capacity() const { return compute_capacity_; }      // thousandths, all devices
  std::int64_t compute_granted() const { return compute_granted_; }        // of those
  Bytes memory_capacity() const { return Bytes{memory_capacity_bytes_}; }  // of all devices

  std::int64_t cpu_free(NodeIndex node) const { return cpu_free_[node]; }
  std::uint64_t host_memory_free(NodeIndex node) const { return host_memory_free_[node]; }
  std::int64_t cpu_capacity(NodeIndex node) const { return cpu_capacity_[node]; }
  std::uint64_t host_memory_capacity(NodeIndex node) const { return host_memory_capacity_[node]; }
  std::int64_t compute_free(NodeIndex node) const { return compute_free_[node]; }  // sum over its devices
  std::size_t device_count(NodeIndex node) const { return first_device_[node + 1] - first_device_[node]; }

  // Nodes in the same state, device by device, have the same key; others have not, but for one case in 2^64 or so.
  std::uint64_t state_key(NodeIndex node) const { return state_key_[node]; }

  // Of the node's devices, by index within the node.
  std::span<const Share> free_shares(NodeIndex node) const { return of(node, free_share_); }
  std::span<const std::uint64_t> free_memory(NodeIndex node) const { return of(node, free_memory_); }
  std::span<const std::uint64_t> memory_capacity(NodeIndex node) const { return of(node, memory_capacity_); }
  std::span<const std::uint16_t> grants(NodeIndex node) const { return of(node, grants_); }  // slots in use
  std::span<const std::uint16_t> slots(NodeIndex node) const { return of(node, slots_); }
  std::span<const std::uint8_t> device_models(NodeIndex node) const { return of(node, model_); }
  std::span<const std::uint8_t> healthy(NodeIndex node) const { return of(node, healthy_); }
  void set_healthy(NodeIndex node, std::size_t device, bool healthy);

  // The devices that one part of the ask could be put on. Says nothing of CPU, host memory or the count.
  Devices fitting_devices(NodeIndex node, const PodAsk& ask) const;
  // Does all of it fit on the node now?
  bool fits(NodeIndex node, const PodAsk& ask) const;
  NodeRefusal refusal(NodeIndex node, const PodAsk& ask) const;

  // Is the spot one that `take` may be called with: the right number of devices, each of them fitting?
  bool valid(const PodAsk& ask, const Spot& spot) const;
  void take(const PodAsk& ask, const Spot& spot);       // the spot must be valid
  void give_back(const PodAsk& ask, const Spot& spot);  // exactly what an earlier take took

 private:
  template <class T>
  std::span<const T> of(NodeIndex node, const std::vector<T>& all) const {
    return std::span{all}.subspan(first_device_[node], device_count(node));
  }
  bool device_fits(std::size_t device, const PodAsk& ask) const;
  void move(const PodAsk& ask, const Spot& spot, bool taking);

  std::vector<std::string> models_;
  // By node.
  std::vector<std::string> names_;
  std::vector<std::int64_t> cpu_free_, cpu_capacity_;
  std::vector<std::uint64_t> host_memory_free_, host_memory_capacity_;
  std::vector<std::int64_t> compute_free_;
  std::vector<Share> largest_share_;  // free on its emptiest healthy device: most nodes are passed over by this alone
  std::vector<std::uint64_t> state_key_;
  std::vector<std::uint32_t> first_device_ = {0};
  // By device, in the order of the nodes.
  std::vector<Share> free_share_;
  std::vector<std::uint64_t> free_memory_, memory_capacity_;
  std::vector<std::uint16_t> grants_, slots_;
  std::vector<std::uint8_t> model_, healthy_;
  std::int64_t compute_capacity_ = 0;
  std::int64_t compute_granted_ = 0;
  std::uint64_t memory_capacity_bytes_ = 0;

  void refresh(NodeIndex node);  // what follows from the rest
};

// Lowest first.
template <class Visit>
void for_each_device(Devices devices, Visit visit) {
  for (; devices != 0; devices &= devices - 1) visit(static_cast<std::size_t>(__builtin_ctzll(devices)));
}

}  // namespace kiboko
