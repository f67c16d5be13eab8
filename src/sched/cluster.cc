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

Result<void> Cluster::check(const ClusterNode& node) const {
  if (node.devices.size() > kMaxNodeDevices)
    return fail(Errc::Invalid, "node {} has {} devices; at most {} are handled", node.name, node.devices.size(),
                kMaxNodeDevices);
  for (const ClusterDevice& device : node.devices)
    if (device.model >= models_.size())
      return fail(Errc::Invalid, "node {}: device model {} is not known", node.name, device.model);
  return {};
}

Result<NodeIndex> Cluster::add_node(const ClusterNode& node) {
  TRY(check(node));
  if (removed_.empty()) {
    removed_.push_back(static_cast<NodeIndex>(nodes()));
    const std::size_t size = nodes() + 1;
    const auto grow = [&](auto&... columns) { (columns.resize(size), ...); };
    grow(names_, cpu_free_, cpu_capacity_, host_memory_free_, host_memory_capacity_, compute_free_, largest_share_);
    grow(use_, state_key_, version_, first_device_, device_count_, device_room_);
  }
  const NodeIndex index = removed_.back();
  removed_.pop_back();
  put(index, node);
  return index;
}

Result<void> Cluster::set_node(NodeIndex index, const ClusterNode& node) {
  if (!present().contains(index))
    return fail(Errc::NotFound, "node {} is to be changed at index {}, where there is none", node.name, index);
  TRY(check(node));
  drop(index);
  put(index, node);
  return {};
}

void Cluster::remove_node(NodeIndex node) {
  if (!present().contains(node)) return;
  drop(node);
  names_[node].clear();
  cpu_free_[node] = -1;  // less than any ask
  cpu_capacity_[node] = 0;
  host_memory_free_[node] = host_memory_capacity_[node] = 0;
  largest_share_[node] = -1;
  use_[node] = 0;
  ++version_[node];
  index_.remove(node);
  removed_.push_back(node);
  close_holes();
}

void Cluster::put(NodeIndex index, const ClusterNode& node) {
  const std::size_t count = node.devices.size();
  if (count > device_room_[index]) {
    first_device_[index] = static_cast<std::uint32_t>(free_share_.size());
    device_room_[index] = static_cast<std::uint8_t>(count);
    std::apply([&](auto&... columns) { (columns.resize(columns.size() + count), ...); }, columns());
  }
  device_count_[index] = static_cast<std::uint8_t>(count);
  for (std::size_t position = 0; position < count; ++position) {
    const ClusterDevice& device = node.devices[position];
    const std::size_t at = first_device_[index] + position;
    free_share_[at] = kWholeDevice;
    free_memory_[at] = memory_capacity_[at] = device.memory.count;
    memory_capacity_bytes_ += device.memory.count;
    grants_[at] = 0;
    slots_[at] = static_cast<std::uint16_t>(std::min<unsigned>(device.slots, UINT16_MAX));
    model_[at] = static_cast<std::uint8_t>(device.model);
    healthy_[at] = device.healthy ? 1 : 0;
  }
  devices_ += count;
  compute_free_[index] = static_cast<std::int64_t>(count) * kWholeDevice;
  compute_free_of_all_ += compute_free_[index];
  names_[index] = node.name;
  cpu_free_[index] = cpu_capacity_[index] = node.cpu_milli;
  host_memory_free_[index] = host_memory_capacity_[index] = node.host_memory.count;
  refresh(index);
  close_holes();
}

// Takes the node's devices out of the sums. They keep their places, for what comes to the index next.
void Cluster::drop(NodeIndex index) {
  for (const std::uint64_t memory : memory_capacity(index)) memory_capacity_bytes_ -= memory;
  compute_free_of_all_ -= compute_free_[index];
  compute_free_[index] = 0;
  devices_ -= device_count_[index];
  device_count_[index] = 0;
}

// A hole is a place without a device: those of a node that moved or shrank, or was removed.
void Cluster::close_holes() {
  constexpr std::size_t kFewPlaces = 64;
  if (free_share_.size() < kFewPlaces || free_share_.size() <= 2 * devices_) return;
  const auto close = [&](auto& column) {
    std::remove_reference_t<decltype(column)> closed;
    closed.reserve(devices_);
    for (NodeIndex node = 0; node < nodes(); ++node)
      for (const auto& value : of(node, column)) closed.push_back(value);
    column = std::move(closed);
  };
  std::apply([&](auto&... columns) { (close(columns), ...); }, columns());
  std::uint32_t first = 0;
  for (NodeIndex node = 0; node < nodes(); ++node) {
    first_device_[node] = first;
    device_room_[node] = device_count_[node];
    first += device_count_[node];
  }
}

void Cluster::set_free(NodeIndex node, std::size_t device, const FreeOfDevice& free) {
  assert(device < device_count(node));
  const std::size_t at = first_device_[node] + device;
  const Share share = std::clamp(free.share, 0, kWholeDevice);
  compute_free_[node] += share - free_share_[at];
  compute_free_of_all_ += share - free_share_[at];
  free_share_[at] = share;
  free_memory_[at] = std::min(free.memory.count, memory_capacity_[at]);
  grants_[at] = static_cast<std::uint16_t>(std::min<unsigned>(free.grants, slots_[at]));
  healthy_[at] = free.healthy ? 1 : 0;
  refresh(node);
}

void Cluster::set_host_free(NodeIndex node, std::int64_t cpu_milli, Bytes memory) {
  assert(present().contains(node));
  cpu_free_[node] = std::clamp<std::int64_t>(cpu_milli, 0, cpu_capacity_[node]);
  host_memory_free_[node] = std::min(memory.count, host_memory_capacity_[node]);
  refresh(node);
}

void Cluster::set_healthy(NodeIndex node, std::size_t device, bool healthy) {
  healthy_[first_device_[node] + device] = healthy ? 1 : 0;
  refresh(node);
}

void Cluster::refresh(NodeIndex node) {
  NodeFree free{.cpu_milli = cpu_free_[node], .host_memory = host_memory_free_[node]};
  std::uint64_t key = mixed(mixed(0, static_cast<std::uint64_t>(cpu_free_[node])), host_memory_free_[node]);
  double memory = 0;
  double memory_free = 0;
  unsigned slots = 0;
  unsigned grants = 0;
  for (std::size_t device = first_device_[node]; device < first_device_[node] + device_count_[node]; ++device) {
    key = mixed(mixed(key, static_cast<std::uint64_t>(free_share_[device])), free_memory_[device]);
    key = mixed(key, std::uint64_t{grants_[device]} << 32U | std::uint64_t{slots_[device]} << 16U |
                         std::uint64_t{model_[device]} << 8U | std::uint64_t{healthy_[device]});
    memory += static_cast<double>(memory_capacity_[device]);
    memory_free += static_cast<double>(free_memory_[device]);
    slots += slots_[device];
    grants += grants_[device];
    if (healthy_[device] == 0 || grants_[device] >= slots_[device]) continue;
    ++free.open;
    if (free_share_[device] == kWholeDevice) ++free.whole;
    free.largest_share = std::max(free.largest_share, free_share_[device]);
    free.largest_memory = std::max(free.largest_memory, free_memory_[device]);
    free.models |= Models{1} << model_[device];
  }
  const double compute = static_cast<double>(device_count_[node]) * kWholeDevice;
  use_[node] = (compute > 0 ? 1 - static_cast<double>(compute_free_[node]) / compute : 0) +
               (memory > 0 ? 1 - memory_free / memory : 0) + (slots > 0 ? static_cast<double>(grants) / slots : 0);
  largest_share_[node] = free.open > 0 ? free.largest_share : -1;
  state_key_[node] = key;
  ++version_[node];
  index_.set(node, free);
}

bool Cluster::empty(std::size_t device) const {
  return grants_[device] == 0 && free_share_[device] == kWholeDevice &&
         free_memory_[device] == memory_capacity_[device];
}

bool Cluster::device_fits(std::size_t device, const PodAsk& ask) const {
  return healthy_[device] != 0 && (ask.models >> model_[device] & 1U) != 0 && grants_[device] < slots_[device] &&
         (!ask.exclusive || empty(device)) && free_share_[device] >= ask.share &&
         free_memory_[device] >= ask.memory.count;
}

Devices Cluster::fitting_devices(NodeIndex node, const PodAsk& ask) const {
  Devices fitting = 0;
  for (std::size_t device = 0; device < device_count_[node]; ++device)
    if (device_fits(first_device_[node] + device, ask)) fitting |= Devices{1} << device;
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
         return c.grants_[d] < c.slots_[d] && (!a.exclusive || c.empty(d));
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
  compute_free_of_all_ -= taking ? compute : -compute;
  refresh(spot.node);
}

void Cluster::take(const PodAsk& ask, const Spot& spot) {
  assert(valid(ask, spot));
  move(ask, spot, true);
}

void Cluster::give_back(const PodAsk& ask, const Spot& spot) { move(ask, spot, false); }

}  // namespace kiboko
