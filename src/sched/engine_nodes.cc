// Nodes and their devices: what was registered, what is gone but still held, and the flat view that policies look at.
#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

#include "base/text.h"
#include "model/allocation.h"
#include "model/annotation.h"
#include "model/pod_marks.h"
#include "sched/engine.h"
#include "sched/engine_pods.h"
#include "vendors/discover.h"
#include "vendors/score.h"

namespace kiboko {
namespace {

constexpr std::uint16_t kMostSlots = 0xFFFF;
// The last model of the flat view stands for all that come after it.
constexpr unsigned kOtherModels = kMaxModels - 1;

// A plugin that is gone leaves its annotation behind; the kubelet then gives its resource as 0.
bool plugin_is_gone(const vendors::Family& family, const Node& node) {
  if (family.liveness.mode != vendors::Liveness::Mode::Capacity) return false;
  const auto found = node.capacity.find(family.resources.count.name);
  return found != node.capacity.end() && found->second == 0;
}

Result<void> check_devices(const std::vector<RegisteredDevice>& devices) {
  for (auto a = devices.begin(); a != devices.end(); ++a)
    for (auto b = devices.begin(); b != a; ++b)
      if (a->uuid == b->uuid) return fail(Errc::Invalid, "device '{}' is there twice", shown(a->uuid.text));
  return {};
}

std::shared_ptr<const PairScores> pair_scores_of(const Node& node, std::vector<std::string>& troubles) {
  const auto found = node.annotations.find(kPairScoresKey);
  if (found == node.annotations.end()) return nullptr;
  auto scores = decode_pair_scores(found->second);
  if (scores) return std::make_shared<const PairScores>(std::move(*scores));
  troubles.push_back(fmt::format("node {}: annotation {}: {}", node.name, found->first, scores.error().message));
  return nullptr;
}

Share share_free(const BookedDevice& device) {
  std::int64_t all = device.cores, used = device.use.cores;
  if (device.mask) {
    all = std::popcount(static_cast<std::uint64_t>(device.cores));
    used = std::popcount(static_cast<std::uint64_t>(device.cores & device.use.cores));
  }
  if (all <= 0) return kWholeDevice;
  const std::int64_t left = std::clamp<std::int64_t>(all - used, 0, all);
  return static_cast<Share>(left > 0x7FFF'FFFF ? left / (all / kWholeDevice) : left * kWholeDevice / all);
}

// Families that do not test slots have no end of them.
unsigned slots_of(const vendors::Family& family, const BookedDevice& device) {
  if (!has_test(family, vendors::Test::Slots)) return kMostSlots;
  return static_cast<unsigned>(std::clamp<std::int32_t>(device.slots, 0, kMostSlots));
}

}  // namespace

std::optional<NodeIndex> Engine::find_node(std::string_view name) const {
  const auto found = index_of_.find(name);
  return found == index_of_.end() ? std::nullopt : std::optional(found->second);
}

// The node of that name, made as one that only pods name if there is none.
NodeIndex Engine::node_named(const std::string& name) {
  if (const auto found = index_of_.find(name); found != index_of_.end()) return found->second;
  // A node without devices is never refused.
  const NodeIndex index = cluster_.add_node({.name = name}).value();
  if (index >= nodes_.size()) {
    nodes_.resize(index + 1);
    pods_on_.resize(index + 1);
  }
  nodes_[index] = {};
  nodes_[index].name = name;
  index_of_.emplace(name, index);
  return index;
}

// Forgets what only pods knew of, when the last of them is gone.
void Engine::tidy(NodeIndex index) {
  BookedNode& node = nodes_[index];
  const auto gone = [](const BookedDevice& device) { return !device.present; };
  if (std::ranges::any_of(node.devices, gone)) {
    std::vector<BookedDevice> present = node.devices;
    std::erase_if(present, gone);
    replace_devices(index, std::move(present));
  }
  if (node.known || !pods_on_[index].empty()) return;
  index_of_.erase(nodes_[index].name);
  nodes_[index] = {};
  cluster_.remove_node(index);
  for (auto& [policy, placer] : placers_) placer.changed(index);
}

std::uint16_t Engine::type_of(FamilyIndex family, const std::string& name, const std::string& mode) {
  const auto found = std::ranges::find_if(
      types_, [&](const DeviceType& t) { return t.family == family && t.name == name && t.mode == mode; });
  if (found != types_.end()) return static_cast<std::uint16_t>(found - types_.begin());
  // Beyond so many, all other models of a family are one.
  constexpr std::size_t kMostTypes = 4096;
  constexpr const char* kOther = "(other)";
  if (types_.size() >= kMostTypes && (name != kOther || !mode.empty())) return type_of(family, kOther, "");
  unsigned model = kOtherModels;
  const std::string model_name = catalog_.families()[family].key + "/" + name;
  if (cluster_.find_model(model_name) || cluster_.models().size() < kOtherModels)
    model = cluster_.model_named(model_name).value();
  else
    static_cast<void>(cluster_.model_named(kOther).value());
  types_.push_back({family, name, mode, model});
  return static_cast<std::uint16_t>(types_.size() - 1);
}

BookedDevice Engine::booked(RegisteredDevice device, FamilyIndex family, const Node& node,
                            const std::shared_ptr<const DeviceExtras>& neighbour) {
  BookedDevice made;
  made.family = family;
  made.type = type_of(family, device.type, device.mode);
  made.index = device.index;
  made.numa = device.numa;
  made.slots = device.slots;
  made.memory = device.memory.count;
  made.cores = device.cores.count;
  made.mask = counts_masks(catalog_.families()[family]);
  made.healthy = device.healthy;
  // Of a family that knows no MIG the word is a mode like any other.
  made.mig = device.mode == "mig" && has_test(catalog_.families()[family], vendors::Test::Mig);
  made.present = true;
  const std::string& cordon = catalog_.families()[family].selectors.cordon;
  if (const auto found = node.annotations.find(cordon); found != node.annotations.end()) {
    const auto names = parse_name_list(found->second);
    made.cordoned = std::ranges::find(names, device.uuid.text) != names.end();
  }
  DeviceExtras extras;
  if (catalog_.families()[family].charge_slices) extras.slices = vendors::slices_of(device);
  extras.custom = std::move(device.custom);
  extras.mig_profiles = std::move(device.mig_profiles);
  made.uuid = std::move(device.uuid.text);
  if (neighbour && *neighbour == extras)
    made.extras = neighbour;
  else if (!(extras == DeviceExtras{}))
    made.extras = std::make_shared<const DeviceExtras>(std::move(extras));
  FamilyRange& range = ranges_[family];
  range.least_memory = range.any ? std::min(range.least_memory, made.memory) : made.memory;
  range.least_cores = range.any ? std::min(range.least_cores, made.cores) : made.cores;
  range.most_cores = std::max(range.most_cores, made.cores);
  range.mig = range.mig || made.mig;
  range.any = true;
  return made;
}

void Engine::read_devices(const Node& node, std::vector<BookedDevice>& devices, BookedNode& into,
                          std::vector<std::string>& troubles) {
  for (std::size_t index = 0; index < catalog_.families().size(); ++index) {
    const vendors::Family& family = catalog_.families()[index];
    if (!family.enabled || plugin_is_gone(family, node)) continue;
    auto found = vendors::discover(family, node);
    if (found) {
      const auto checked = check_devices(*found);
      if (!checked)
        found = fail(Errc::Invalid, "node {}: {}: {}", node.name, family.key, checked.error().message);
      else if (devices.size() + found->size() > kMaxNodeDevices)
        found = fail(Errc::Invalid, "node {}: {}: {} devices are more than the {} of a node", node.name, family.key,
                     devices.size() + found->size(), kMaxNodeDevices);
    }
    if (!found) {
      into.unreadable.push_back(static_cast<FamilyIndex>(index));
      troubles.push_back(found.error().message);
      continue;
    }
    std::shared_ptr<const DeviceExtras> neighbour;
    for (RegisteredDevice& device : *found) {
      devices.push_back(booked(std::move(device), static_cast<FamilyIndex>(index), node, neighbour));
      neighbour = devices.back().extras;
    }
  }
}

Result<void> Engine::set_node(const Node& node) {
  const NodeIndex index = node_named(node.name);
  std::vector<std::string> troubles;
  std::vector<BookedDevice> devices;
  BookedNode& into = nodes_[index];
  into.known = true;
  into.unschedulable = node.unschedulable;
  into.cpu_milli = node.cpu_milli;
  into.host_memory = node.host_memory;
  into.unreadable.clear();
  into.marks.clear();
  for (const std::string& key : marks_)
    if (const auto found = node.annotations.find(key); found != node.annotations.end()) into.marks.insert(*found);
  for (const vendors::Family& family : catalog_.families()) {
    const auto readable = vendors::check_score_tables(family, node.annotations);
    if (readable) continue;
    troubles.push_back(fmt::format("node {}: {}", node.name, readable.error().message));
    into.marks.erase(family.score.loss_key);
    into.marks.erase(family.score.score_key);
  }
  into.pair_scores = pair_scores_of(node, troubles);
  read_devices(node, devices, into, troubles);
  replace_devices(index, std::move(devices));
  for (const auto& [uid, pod] : std::exchange(into.early_pods, {}))
    if (const auto read = set_pod(pod); !read) troubles.push_back(read.error().message);
  into.trouble = join(troubles, "; ");
  if (into.trouble.empty()) return {};
  return fail(Errc::Invalid, "{}", into.trouble);
}

void Engine::remove_node(std::string_view name) {
  const auto index = find_node(name);
  if (!index) return;
  BookedNode& node = nodes_[*index];
  node.known = false;
  node.trouble.clear();
  node.unreadable.clear();
  replace_devices(*index, {});
  tidy(*index);
}

// What pods hold is kept: devices that are no longer there stay as long as somebody has them, and as there is room
// beside those that are. What is not kept is held against the node.
void Engine::replace_devices(NodeIndex index, std::vector<BookedDevice> devices) {
  BookedNode& node = nodes_[index];
  std::vector<std::optional<std::uint8_t>> moved(node.devices.size());
  std::vector<bool> held(node.devices.size());
  for (PodRecord* const pod : pods_on_[index])
    for (const auto& one : pod->holding.devices) held[one.device] = true;
  for (PodRecord* const pod : pods_on_[index])
    for (const auto& one : pod->holding.mig) held[one.device] = true;
  for (std::size_t old = 0; old < node.devices.size(); ++old) {
    if (!held[old]) continue;
    BookedDevice& was = node.devices[old];
    auto now = std::ranges::find_if(
        devices, [&](const BookedDevice& d) { return d.family == was.family && d.uuid == was.uuid; });
    if (now == devices.end()) {
      if (devices.size() == kMaxNodeDevices) continue;
      was.present = was.healthy = false;
      devices.push_back(std::move(was));
      now = devices.end() - 1;
    }
    moved[old] = static_cast<std::uint8_t>(now - devices.begin());
  }
  const auto lost = [&](const auto& one) { return !moved.at(one.device); };
  for (PodRecord* const pod : pods_on_[index]) {
    if (std::erase_if(pod->holding.devices, lost) + std::erase_if(pod->holding.mig, lost) > 0) pod->unreadable = true;
    for (auto& one : pod->holding.devices) one.device = *moved[one.device];
    for (auto& one : pod->holding.mig) one.device = *moved[one.device];
  }
  for (auto& [uid, reservation] : reservations_) {
    PodPlacement& placement = reservation.placement;
    if (placement.node != index) continue;
    if (std::ranges::any_of(placement.taken, lost)) placement = {};
    for (Taken& taken : placement.taken) taken.device = *moved[taken.device];
  }
  node.devices = std::move(devices);
  write_cluster_node(index);
}

// A device that only pods know of.
std::optional<unsigned> Engine::device_on(NodeIndex index, FamilyIndex family, const std::string& uuid) {
  auto& devices = nodes_[index].devices;
  const auto found =
      std::ranges::find_if(devices, [&](const BookedDevice& d) { return d.family == family && d.uuid == uuid; });
  if (found != devices.end()) return static_cast<unsigned>(found - devices.begin());
  if (devices.size() == kMaxNodeDevices) return std::nullopt;
  BookedDevice device;
  device.uuid = uuid;
  device.family = family;
  device.type = type_of(family, "", "");
  device.mask = counts_masks(catalog_.families()[family]);
  devices.push_back(std::move(device));
  write_cluster_node(index);
  return static_cast<unsigned>(devices.size() - 1);
}

void Engine::write_cluster_node(NodeIndex index) {
  const BookedNode& node = nodes_[index];
  ClusterNode flat{.name = node.name, .cpu_milli = node.cpu_milli, .host_memory = node.host_memory, .devices = {}};
  for (const BookedDevice& device : node.devices)
    flat.devices.push_back({.memory = to_bytes(MiB{device.memory}),
                            .slots = slots_of(catalog_.families()[device.family], device),
                            .model = types_[device.type].model,
                            .healthy = false});
  [[maybe_unused]] const auto set = cluster_.set_node(index, flat);
  assert(set);  // devices and models were bounded when they were made
  recount(index);
}

void Engine::add_use(BookedNode& node, const PodRecord& pod) const {
  if (pod.unreadable) ++node.unreadable_pods;
  for (const HeldDevice& one : pod.holding.devices) {
    BookedDevice& device = node.devices[one.device];
    device.use = sum_of(device.use, pod.init_done ? one.after : one.most, device.mask);
    const bool has_mig = std::ranges::find(pod.holding.mig, one.device, &HeldMig::device) != pod.holding.mig.end();
    // An instance of a GPU that is not cut, or a share of one that is: nobody can tell what is free there.
    if (device.present && device.mig != has_mig) device.blocked = true;
  }
  for (const HeldMig& one : pod.holding.mig) {
    BookedDevice& device = node.devices[one.device];
    if (!one.init_only || !pod.init_done) device.mig_live.push_back(one.placement);
    if (device.present && !device.mig) device.blocked = true;
  }
}

void Engine::recount(NodeIndex index) {
  BookedNode& node = nodes_[index];
  node.unreadable_pods = 0;
  for (BookedDevice& device : node.devices) {
    device.use = {};
    device.mig_live.clear();
    device.blocked = false;
  }
  std::int64_t cpu = node.cpu_milli;
  Bytes memory = node.host_memory;
  for (const PodRecord* const pod : pods_on_[index]) {
    add_use(node, *pod);
    cpu -= pod->cpu_milli;
    memory = memory - pod->host_memory;
  }
  const bool open = node.known && node.unreadable_pods == 0;
  for (std::size_t d = 0; d < node.devices.size(); ++d) {
    const BookedDevice& device = node.devices[d];
    const std::int64_t free = std::clamp<std::int64_t>(device.memory - device.use.memory, 0, device.memory);
    cluster_.set_free(index, d,
                      {.share = share_free(device),
                       .memory = to_bytes(MiB{free}),
                       .grants = static_cast<unsigned>(std::clamp<std::int32_t>(device.use.slots, 0, kMostSlots)),
                       .healthy = open && device.present && device.healthy && !device.cordoned && !device.blocked});
  }
  if (settings_.count_host) cluster_.set_host_free(index, cpu, memory);
  for (auto& [policy, placer] : placers_) placer.changed(index);
}

}  // namespace kiboko
