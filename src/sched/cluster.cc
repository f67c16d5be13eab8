#include "sched/cluster.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace kiboko {
namespace {

// One step of a hash: the finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
std::uint64_t mixed(std::uint64_t key, std::uint64_t more) {
  key = (key ^ more) + 0x9e3779b97f4a7c15;
  key = (key ^ key >> 30U) * 0xbf58476d1ce4e5b9;
  key = (key ^ key >> 27U) * 0x94d049bb133111eb;
  return key ^ key >> 31U;
}

}  // namespace

std::string_view name(NodeRefusal refusal) {
  constexpr std::string_view kNames[] = {"too_few_devices", "model", "unhealthy",   "occupied", "compute",
                                         "memory",          "cpu",   "host_memory", "none"};
  return kNames[static_cast<std::size_t>(refusal)];
}

std::optional<unsigned> Cluster::find_model(std::string_view name) const {
  const auto found = std::ranges::find(models_, name);
  if (found == models_.end()) return {};
  return static_cast<unsigned>(found - models_.begin());
}

Result<unsigned> Cluster::model_named(std::string_view name) {
  if (const auto known = find_model(name)) return *known;
  if (models_.size() == kMaxModels)
    return fail(Errc::Invalid, "model '{}' is one more than the {} that a cluster may have", name, kMaxModels);
  models_.emplace_back(name);
  return static_cast<unsigned>(models_.size() - 1);
}

Result<NodeIndex> Cluster::add_node(const ClusterNode& node) {
  if (node.devices.size() > kMaxNodeDevices)
    return fail(Errc::Invalid, "node {} has {} devices; at most {} are handled", node.name, node.devices.size(),
                kMaxNodeDevices);
  for (const ClusterDevice& device : node.devices)
    if (device.model >= models_.size())
      return fail(Errc::Invalid, "node {}: device model {} is not known", node.name, device.model);

  for (const ClusterDevice& device : node.devices) {
    free_share_.push_back(kWholeDevice);
    free_memory_.push_back(device.memory.count);
    memory_capacity_.push_back(device.memory.count);
    memory_capacity_bytes_ += device.memory.count;
    grants_.push_back(0);
    slots_.push_back(static_cast<std::uint16_t>(std::min<unsigned>(device.slots, UINT16_MAX)));
    model_.push_back(static_cast<std::uint8_t>(device.model));
    healthy_.push_back(device.healthy ? 1 : 0);
  }
  const auto compute = static_cast<std::int64_t>(node.devices.size()) * kWholeDevice;
  compute_capacity_ += compute;
  names_.push_back(node.name);
  cpu_free_.push_back(node.cpu_milli);
  cpu_capacity_.push_back(node.cpu_milli);
  host_memory_free_.push_back(node.host_memory.count);
  host_memory_capacity_.push_back(node.host_memory.count);
  compute_free_.push_back(compute);
  largest_share_.push_back(0);
  state_key_.push_back(0);
  first_device_.push_back(static_cast<std::uint32_t>(free_share_.size()));
  const auto index = static_cast<NodeIndex>(names_.size() - 1);
  refresh(index);
  return index;
}

void Cluster::set_healthy(NodeIndex node, std::size_t device, bool healthy) {
  healthy_[first_device_[node] + device] = healthy ? 1 : 0;
  refresh(node);
}

void Cluster::refresh(NodeIndex node) {
  Share largest = -1;
  for (std::size_t device = first_device_[node]; device < first_device_[node + 1]; ++device)
    if (healthy_[device] != 0) largest = std::max(largest, free_share_[device]);
  largest_share_[node] = largest;
  std::uint64_t key = mixed(mixed(0, static_cast<std::uint64_t>(cpu_free_[node])), host_memory_free_[node]);
  for (std::size_t device = first_device_[node]; device < first_device_[node + 1]; ++device) {
    key = mixed(mixed(key, static_cast<std::uint64_t>(free_share_[device])), free_memory_[device]);
    key = mixed(key, std::uint64_t{grants_[device]} << 32U | std::uint64_t{slots_[device]} << 16U |
                         std::uint64_t{model_[device]} << 8U | std::uint64_t{healthy_[device]});
  }
  state_key_[node] = key;
}

bool Cluster::device_fits(std::size_t device, const PodAsk& ask) const {
  return healthy_[device] != 0 && (ask.models >> model_[device] & 1U) != 0 && grants_[device] < slots_[device] &&
         (!ask.exclusive || grants_[device] == 0) && free_share_[device] >= ask.share &&
         free_memory_[device] >= ask.memory.count;
}

Devices Cluster::fitting_devices(NodeIndex node, const PodAsk& ask) const {
  Devices fitting = 0;
  for (std::size_t device = first_device_[node]; device < first_device_[node + 1]; ++device)
    if (device_fits(device, ask)) fitting |= Devices{1} << (device - first_device_[node]);
  return fitting;
}

bool Cluster::fits(NodeIndex node, const PodAsk& ask) const {
  if (cpu_free_[node] < ask.cpu_milli || host_memory_free_[node] < ask.host_memory.count) return false;
  if (ask.count == 0) return true;
  if (largest_share_[node] < ask.share) return false;
  return static_cast<unsigned>(std::popcount(fitting_devices(node, ask))) >= ask.count;
}

// Cold: only what is refused asks why.
NodeRefusal Cluster::refusal(NodeIndex node, const PodAsk& ask) const {
  using Test = bool (*)(const Cluster&, std::size_t, const PodAsk&);
  struct Stage {
    NodeRefusal refusal;
    Test passes;
  };
  static constexpr Stage kStages[] = {
      {NodeRefusal::TooFewDevices, [](const Cluster&, std::size_t, const PodAsk&) { return true; }},
      {NodeRefusal::Model,
       [](const Cluster& c, std::size_t d, const PodAsk& a) { return (a.models >> c.model_[d] & 1U) != 0; }},
      {NodeRefusal::Unhealthy, [](const Cluster& c, std::size_t d, const PodAsk&) { return c.healthy_[d] != 0; }},
      {NodeRefusal::Occupied,
       [](const Cluster& c, std::size_t d, const PodAsk& a) {
         return c.grants_[d] < c.slots_[d] && (!a.exclusive || c.grants_[d] == 0);
       }},
      {NodeRefusal::Compute,
       [](const Cluster& c, std::size_t d, const PodAsk& a) { return c.free_share_[d] >= a.share; }},
      {NodeRefusal::Memory,
       [](const Cluster& c, std::size_t d, const PodAsk& a) { return c.free_memory_[d] >= a.memory.count; }},
  };
  Devices left = device_count(node) == kMaxNodeDevices ? ~Devices{0} : (Devices{1} << device_count(node)) - 1;
  for (const Stage& stage : kStages) {
    Devices passing = 0;
    for_each_device(left, [&](std::size_t device) {
      if (stage.passes(*this, first_device_[node] + device, ask)) passing |= Devices{1} << device;
    });
    left = passing;
    if (static_cast<unsigned>(std::popcount(left)) < ask.count) return stage.refusal;
  }
  if (cpu_free_[node] < ask.cpu_milli) return NodeRefusal::Cpu;
  if (host_memory_free_[node] < ask.host_memory.count) return NodeRefusal::HostMemory;
  return NodeRefusal::None;
}

bool Cluster::valid(const PodAsk& ask, const Spot& spot) const {
  if (spot.node >= nodes() || !fits(spot.node, ask)) return false;
  return static_cast<unsigned>(std::popcount(spot.devices)) == ask.count &&
         (spot.devices & ~fitting_devices(spot.node, ask)) == 0;
}

void Cluster::move(const PodAsk& ask, const Spot& spot, bool taking) {
  const std::size_t first = first_device_[spot.node];
  cpu_free_[spot.node] += taking ? -ask.cpu_milli : ask.cpu_milli;
  host_memory_free_[spot.node] += taking ? -ask.host_memory.count : ask.host_memory.count;
  for_each_device(spot.devices, [&](std::size_t bit) {
    const std::size_t device = first + bit;
    const Share share = ask.exclusive ? kWholeDevice : ask.share;
    const std::uint64_t memory = ask.exclusive ? memory_capacity_[device] : ask.memory.count;
    free_share_[device] += taking ? -share : share;
    free_memory_[device] += taking ? -memory : memory;
    // An exclusive grant has all the slots: nobody joins it, not even who asks for nothing.
    const int slots = ask.exclusive ? slots_[device] : 1;
    grants_[device] = static_cast<std::uint16_t>(grants_[device] + (taking ? slots : -slots));
  });
  const std::int64_t compute = ask.compute();
  compute_free_[spot.node] -= taking ? compute : -compute;
  compute_granted_ += taking ? compute : -compute;
  refresh(spot.node);
}

void Cluster::take(const PodAsk& ask, const Spot& spot) {
  assert(valid(ask, spot));
  move(ask, spot, true);
}

void Cluster::give_back(const PodAsk& ask, const Spot& spot) { move(ask, spot, false); }

}  // namespace kiboko
