#include "sched/node_fit.h"

#include <algorithm>
#include <bit>

#include "vendors/mig.h"
#include "vendors/neuron.h"
#include "vendors/pickers.h"

namespace kiboko {
namespace {

unsigned mask_width(const BookedDevice& device) {
  return static_cast<unsigned>(std::popcount(static_cast<std::uint64_t>(device.cores)));
}

// HAMi's measure of how full a device would be, 0 to the sum of the weights.
double fullness_of(const BookedDevice& device, const DeviceUse& use, const DeviceNeed& need, const DeviceWeights& w) {
  const auto part = [](std::int64_t used, std::int64_t of) {
    return of > 0 ? static_cast<double>(used) / static_cast<double>(of) : 0.0;
  };
  const double cores = device.mask
                           ? part(std::popcount(static_cast<std::uint64_t>(use.cores)) + need.cores, mask_width(device))
                           : part(use.cores + need.charge.cores, device.cores);
  return w.slots * part(use.slots + need.charge.slots, device.slots) + w.cores * cores +
         w.memory * part(use.memory + need.charge.memory, device.memory);
}

std::int64_t quota_cores(const FamilyAsk& one, const DeviceNeed& need) {
  return one.ask.cores.kind == CoresAsk::Kind::PercentOfDevice ? one.ask.cores.value : need.cores;
}

bool picks_by_more_than_order(const FamilyAsk& one, const PodPolicy& policy, std::size_t wanted) {
  const std::string& strategy = one.family->selection.strategy;
  if (strategy == "firstFit") return false;
  if (strategy == "pairMatrix") return policy.topology;
  if (strategy == "groupPack" || strategy == "alignedRun") return wanted > 1;
  return true;
}

}  // namespace

DeviceUse NodeFitter::use_now(unsigned device) const { return tally_.on(device, node_->devices[device].use); }

std::span<const MigPlacement> NodeFitter::mig_now(unsigned device) {
  const auto& live = node_->devices[device].mig_live;
  if (!tally_.any_mig()) return live;
  mig_ = live;
  tally_.append_mig(device, mig_);
  return mig_;
}

bool NodeFitter::group_idle(const FamilyAsk& one, unsigned device) const {
  const std::string& group = one.family->selection.mutex_group;
  const auto group_of = [&](unsigned d) -> std::optional<std::int64_t> {
    const auto& extras = node_->devices[d].extras;
    return extras ? custom_number(extras->custom, group) : std::nullopt;
  };
  if (!request_->policy.mutex || group.empty()) return true;
  const auto mine = group_of(device);
  if (!mine) return true;
  for (unsigned d = 0; d < node_->devices.size(); ++d)
    if (node_->devices[d].family == one.index && group_of(d) == mine && use_now(d).slots > 0) return false;
  return true;
}

template <class Visit>
auto NodeFitter::with_look(const FamilyAsk& one, unsigned device, const DeviceNeed& need, Visit visit) {
  const BookedDevice& booked = node_->devices[device];
  const DeviceUse use = use_now(device);
  const DeviceType& type = types_[booked.type];
  const Devices others = tally_.earlier() & ~(Devices{1} << device);
  bool other_device = false;
  for_each_device(others, [&](std::size_t d) { other_device = other_device || node_->devices[d].family == one.index; });
  return visit(DeviceLook{*node_, booked, type.name, type.mode, use, mig_now(device), one, request_->policy, need,
                          group_idle(one, device), other_device});
}

// So many devices, where cores in all are asked for that several devices of this node must make up.
std::size_t NodeFitter::wanted_of(const FamilyAsk& one) const {
  if (one.ask.cores.kind != CoresAsk::Kind::Divided) return one.ask.count;
  for (const BookedDevice& device : node_->devices) {
    if (device.family != one.index || !device.present) continue;
    const auto share = vendors::neuron_share(static_cast<std::uint64_t>(one.ask.cores.value), mask_width(device));
    return share ? share->devices : 0;
  }
  return 1;
}

// Fills options_ with the devices that pass every test; the miss, if they are too few.
std::optional<NodeMiss> NodeFitter::gather(const FamilyAsk& one, std::size_t wanted) {
  options_.clear();
  std::size_t present = 0;
  std::optional<TestResult> nearest;
  bool any_mig = false;
  for (unsigned d = 0; d < node_->devices.size(); ++d) {
    const BookedDevice& device = node_->devices[d];
    if (device.family != one.index || !device.present) continue;
    ++present;
    const DeviceNeed need = need_on(one, device);
    const auto refused = with_look(one, d, need, [&](const DeviceLook& look) {
      const auto result = first_refusal(look);
      if (result && why_ != nullptr) why_->push_back(explained(look, result->code));
      return result;
    });
    if (refused) {
      if (!nearest || refused->passed > nearest->passed) nearest = refused;
      continue;
    }
    any_mig = any_mig || device.mig;
    options_.push_back({d, need, 0, 0});
  }
  NodeMiss miss;
  miss.fitting = options_.size();
  const auto& unreadable = node_->unreadable;
  if (present == 0) {
    if (std::ranges::find(unreadable, one.index) == unreadable.end()) return miss;
    miss.code = RefusalCode::NodeUnreadable;
    miss.passed = 1;
    return miss;
  }
  miss.passed = 1;  // a node with such devices is nearer than one without
  if (wanted == 0) {
    miss.code = RefusalCode::Template;
    return miss;
  }
  if (options_.size() >= wanted || (any_mig && !options_.empty())) return std::nullopt;
  miss.code = present < wanted && (!nearest || !any_mig) ? RefusalCode::Count : nearest->code;
  if (nearest) miss.passed += nearest->passed;
  return miss;
}

// Of the NUMA nodes with enough devices the one with fewest, so that larger groups stay whole.
bool NodeFitter::keep_one_numa_node(const FamilyAsk& one, std::size_t wanted) {
  const auto& keys = request_->policy.order;
  const bool prefers = !keys.empty() && keys.front() == DeviceKey::Numa;
  if (!one.ask.numa_bind && (!prefers || wanted < 2)) return true;
  std::optional<std::pair<std::size_t, int>> best;
  for (const Option& option : options_) {
    const int numa = node_->devices[option.device].numa;
    std::size_t size = 0;
    for (const Option& other : options_)
      if (node_->devices[other.device].numa == numa) size += node_->devices[other.device].mig ? wanted : 1;
    if (size >= wanted && (!best || std::pair(size, numa) < *best)) best = std::pair(size, numa);
  }
  if (best)
    std::erase_if(options_, [&](const Option& option) { return node_->devices[option.device].numa != best->second; });
  return best.has_value() || !one.ask.numa_bind;
}

void NodeFitter::order(const FamilyAsk& one) {
  const PodPolicy& policy = request_->policy;
  const bool by_cost = costs_->placer != nullptr && one.ask.count == 1 &&
                       std::ranges::find(policy.order, DeviceKey::Cheapest) != policy.order.end();
  for (Option& option : options_) {
    option.fullness = fullness_of(node_->devices[option.device], use_now(option.device), option.need, policy.weights);
    if (by_cost)
      option.cost = costs_->placer->cost(costs_->node, costs_->asks[ask_number_], Devices{1} << option.device);
  }
  const auto key_of = [&](const Option& option, DeviceKey key) -> double {
    switch (key) {
      case DeviceKey::Emptiest:
        return option.fullness;
      case DeviceKey::Numa:
        return node_->devices[option.device].numa;
      case DeviceKey::Cheapest:
        if (by_cost) return option.cost;
        break;
      case DeviceKey::Fullest:
        break;
    }
    return -option.fullness;
  };
  std::ranges::sort(options_, [&](const Option& a, const Option& b) {
    for (const DeviceKey key : policy.order) {
      const double left = key_of(a, key), right = key_of(b, key);
      if (left < right || right < left) return left < right;
    }
    return std::tuple(node_->devices[a.device].index, a.device) < std::tuple(node_->devices[b.device].index, b.device);
  });
}

void NodeFitter::take(const FamilyAsk& one, const Option& option, unsigned container,
                      const std::optional<MigPlacement>& mig, const MigProfile* profile) {
  const BookedDevice& device = node_->devices[option.device];
  Taken taken{container, option.device, one.index, option.need.memory, option.need.cores, 0, option.need.charge, {}, {},
              mig};
  if (profile != nullptr) {
    taken.size_name = profile->name;
    taken.memory = taken.charge.memory = profile->memory.count;
    taken.cores = taken.charge.cores = profile->cores.count;
  } else if (option.need.slice != nullptr) {
    taken.size_name = option.need.slice->name;
    taken.size_id = option.need.slice->id;
  } else if (!one.ask.template_name.empty()) {
    taken.size_name = one.ask.template_name;
  }
  if (device.mask) {
    const auto all = static_cast<std::uint64_t>(device.cores);
    const auto used = static_cast<std::uint64_t>(use_now(option.device).cores);
    const auto cores = option.need.whole_mask ? mask_width(device) : static_cast<unsigned>(option.need.cores);
    taken.cores = taken.charge.cores = static_cast<std::int64_t>(vendors::neuron_mask(all, used, cores).value_or(0));
  }
  taken.quota_cores = profile != nullptr ? taken.cores : quota_cores(one, option.need);
  tally_.add(taken);
  plan_->taken.push_back(std::move(taken));
}

// One device may give several instances: it is used up before the next one.
std::size_t NodeFitter::take_mig(const FamilyAsk& one, std::size_t wanted, unsigned container) {
  const bool whole = wants_whole_memory(one.ask);
  for (const Option& option : options_) {
    const BookedDevice& device = node_->devices[option.device];
    while (wanted > 0) {
      if (!device.mig) {
        take(one, option, container, std::nullopt, nullptr);
        --wanted;
        break;
      }
      if (use_now(option.device).slots + option.need.charge.slots > device.slots) break;
      const auto choice = vendors::mig_choice(device.extras->mig_profiles, mig_now(option.device),
                                              MiB{option.need.memory}, CoreUnits{option.need.cores}, whole);
      if (!choice) break;
      take(one, option, container, choice->placement, choice->profile);
      --wanted;
    }
  }
  return wanted;
}

bool NodeFitter::take_picked(const FamilyAsk& one, std::size_t wanted, unsigned container) {
  const bool any_mig =
      std::ranges::any_of(options_, [&](const Option& option) { return node_->devices[option.device].mig; });
  if (any_mig) return take_mig(one, wanted, container) == 0;
  if (!picks_by_more_than_order(one, request_->policy, wanted)) {
    for (std::size_t i = 0; i < wanted; ++i) take(one, options_[i], container, std::nullopt, nullptr);
    return true;
  }
  std::vector<vendors::Candidate> candidates;
  bool exclusive = true;
  for (const Option& option : options_) {
    const BookedDevice& device = node_->devices[option.device];
    const DeviceUse use = use_now(option.device);
    candidates.push_back({device.index, DeviceUuid{device.uuid}, device.extras ? &device.extras->custom : nullptr,
                          use.slots == 0, use.online, use.offline});
    exclusive = exclusive && option.need.cores == 100 && option.need.memory == device.memory;
  }
  const auto picked = vendors::pick(
      one.family->selection.strategy,
      {candidates, wanted, one.family->selection, node_->pair_scores.get(), exclusive && !one.online, one.online});
  if (!picked) return false;
  const std::vector<Option> options = options_;
  for (const std::size_t position : *picked) take(one, options[position], container, std::nullopt, nullptr);
  return true;
}

std::optional<NodeMiss> NodeFitter::fit_ask(unsigned container, std::size_t ask) {
  const FamilyAsk& one = request_->containers[container].asks[ask];
  const std::size_t wanted = wanted_of(one);
  if (auto miss = gather(one, wanted)) {
    miss->container = container;
    miss->ask = ask;
    return miss;
  }
  NodeMiss miss{RefusalCode::Numa, container, ask, kMostPassed, options_.size()};
  if (!keep_one_numa_node(one, wanted)) return miss;
  order(one);
  const std::size_t before = plan_->taken.size();
  if (take_picked(one, wanted, container)) return std::nullopt;
  const bool mig = plan_->taken.size() > before || (!options_.empty() && node_->devices[options_[0].device].mig);
  miss.code = mig ? RefusalCode::Mig : RefusalCode::Topology;
  return miss;
}

std::optional<NodeMiss> NodeFitter::fit_container(unsigned container) {
  const ContainerRequest& request = request_->containers[container];
  for (std::size_t ask = 0; ask < request.asks.size(); ++ask) {
    if (auto miss = fit_ask(container, ask)) return miss;
    ++ask_number_;
  }
  tally_.end_container(request.kind);
  return std::nullopt;
}

std::optional<NodeMiss> NodeFitter::fit(const BookedNode& node, const PodRequest& request, const Costs& costs,
                                        NodePlan& plan, std::vector<DeviceRefusal>* why) {
  node_ = &node;
  request_ = &request;
  costs_ = &costs;
  plan_ = &plan;
  why_ = why;
  ask_number_ = 0;
  plan.taken.clear();
  if (!node.known) return NodeMiss{RefusalCode::NodeUnknown};
  if (node.unreadable_pods > 0) return NodeMiss{RefusalCode::NodeUnreadable};
  tally_.begin(node.devices);
  for (unsigned container = 0; container < request.containers.size(); ++container)
    if (auto miss = fit_container(container)) return miss;
  tally_.finish(plan.holding);
  return std::nullopt;
}

}  // namespace kiboko
