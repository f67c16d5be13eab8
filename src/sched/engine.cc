#include "sched/engine.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "model/pod_marks.h"
#include "sched/engine_pods.h"
#include "sched/explain.h"
#include "vendors/emit.h"
#include "vendors/score.h"

namespace kiboko {
namespace {

// Of families that have a measure of their own for nodes, so many of the best nodes by policy are compared.
constexpr std::size_t kMostCompared = 256;
// After so many in a row that the exact tests refuse, all that are left are tried at once and then ranked: what refuses
// them is likely not seen in the flat view (a device's name, a mode).
constexpr std::size_t kMostMissed = 48;

bool matches_any(const std::vector<std::string>& parts, const std::string& name) {
  const std::string lower = to_lower(name);
  return std::ranges::any_of(parts,
                             [&](const std::string& part) { return lower.find(to_lower(part)) != std::string::npos; });
}

std::vector<std::string> marks_of(const vendors::Catalog& catalog) {
  std::vector<std::string> marks;
  for (const vendors::Family& family : catalog.families()) {
    for (const vendors::Mode& mode : family.modes) marks.push_back(mode.node_flag);
    marks.push_back(family.score.loss_key);
    marks.push_back(family.score.score_key);
  }
  std::ranges::sort(marks);
  marks.erase(std::unique(marks.begin(), marks.end()), marks.end());
  std::erase(marks, "");
  return marks;
}

}  // namespace

Engine::Engine(vendors::Catalog catalog, EngineSettings settings)
    : catalog_(std::move(catalog)),
      settings_(std::move(settings)),
      ranges_(catalog_.families().size()),
      marks_(marks_of(catalog_)) {}

Engine::~Engine() = default;

// ---- the flat view of an ask ----

Models Engine::models_for(const FamilyAsk& one) const {
  Models models = 0;
  for (const DeviceType& type : types_) {
    if (type.family != one.index) continue;
    if (!one.ask.use_types.empty() && !matches_any(one.ask.use_types, type.name)) continue;
    if (matches_any(one.ask.no_use_types, type.name)) continue;
    models |= Models{1} << type.model;
  }
  return models;
}

// Never more than what the ask needs on any device of its family: a node that this does not fit on is passed over
// unseen. What it leaves out (names, modes, groups, …) the exact tests see to.
PodAsk Engine::plain_ask(const FamilyAsk& one) const {
  const FamilyRange& range = ranges_[one.index];
  const DeviceAsk& ask = one.ask;
  PodAsk plain;
  plain.models = models_for(one);
  plain.count = range.mig || ask.cores.kind == CoresAsk::Kind::Divided ? 1 : ask.count;
  const bool tests_memory = has_test(*one.family, vendors::Test::Memory);
  const bool tests_cores = has_test(*one.family, vendors::Test::Cores);
  if (tests_memory && !range.mig) {  // an instance has what its profile says, whatever its device says
    const std::int64_t memory = memory_on(ask, MiB{range.least_memory}).count;
    const bool sized = ask.memory.kind == MemoryAsk::Kind::Slices || ask.memory.kind == MemoryAsk::Kind::Spec;
    plain.memory = sized ? Bytes{} : to_bytes(MiB{memory});
  }
  // A slice that is asked for by its size has its own compute, whatever is asked for besides.
  const bool counts_cores =
      tests_cores && !one.online && !range.mig && range.most_cores > 0 && ask.memory.kind != MemoryAsk::Kind::Slices;
  if (counts_cores && !ask.template_name.empty())
    plain.share = static_cast<Share>(ask.template_cores.count * kWholeDevice / range.most_cores);
  else if (counts_cores && ask.cores.kind == CoresAsk::Kind::Units)
    plain.share = static_cast<Share>(ask.cores.value * kWholeDevice / range.most_cores);
  else if (counts_cores && ask.cores.kind == CoresAsk::Kind::PercentOfDevice)
    plain.share = static_cast<Share>(std::max<std::int64_t>(
        0, ask.cores.value * 10 - kWholeDevice / std::max<std::int64_t>(range.least_cores, 1) - 1));
  plain.share = std::clamp(plain.share, 0, kWholeDevice);
  const bool all_cores = range.least_cores == 100 && range.most_cores == 100 && ask.cores.value == 100 &&
                         ask.cores.kind == CoresAsk::Kind::Units &&
                         has_test(*one.family, vendors::Test::ExclusiveCores);
  plain.exclusive = (all_cores && !one.online && !range.mig) || has_test(*one.family, vendors::Test::Idle) ||
                    (has_test(*one.family, vendors::Test::Mask) && ask.cores.kind == CoresAsk::Kind::All);
  return plain;
}

// One for each ask of the pod; returns the place of the one that is hardest to please.
std::size_t Engine::set_plain_asks(const PodRequest& request, const Pod& pod) {
  asks_.clear();
  for (const ContainerRequest& container : request.containers)
    for (const FamilyAsk& one : container.asks) asks_.push_back(plain_ask(one));
  if (asks_.empty()) asks_.emplace_back();
  if (settings_.count_host)
    for (PodAsk& ask : asks_) {
      ask.cpu_milli = pod.cpu_milli;
      ask.host_memory = pod.host_memory;
    }
  const auto size = [](const PodAsk& ask) { return std::tuple(ask.compute(), ask.count * ask.memory.count); };
  const auto hardest = std::ranges::max_element(asks_, {}, size);
  return static_cast<std::size_t>(hardest - asks_.begin());
}

// ---- deciding ----

Placer& Engine::placer_for(Policy policy) {
  const auto [at, made] = placers_.try_emplace(policy, cluster_, policy);
  if (made && needs_mix(policy) && window_.mix().known()) at->second.expect(window_.mix());
  return at->second;
}

Policy Engine::policy_now() const {
  if (settings_.node_policy) return *settings_.node_policy;
  return window_.mix().known() ? Policy::Supply : Policy::Binpack;
}

void Engine::expect(const Pod& pod, WallTime now) {
  const auto request = request_of(pod, catalog_, settings_.preset);
  if (!request || (!request->any() && !settings_.count_host)) return;
  const std::size_t hardest = set_plain_asks(*request, pod);
  window_.add(asks_[hardest], now);
  if (!window_.changed_enough()) return;
  for (auto& [policy, placer] : placers_)
    if (needs_mix(policy)) placer.expect(window_.mix());
  window_.expected();
}

// Higher is better; what its families' own measures make of the plan.
double Engine::family_score(const PodRequest& request, NodeIndex index, const NodePlan& plan) const {
  const BookedNode& node = nodes_[index];
  double score = 0;
  std::vector<FamilyIndex> seen;
  for (const ContainerRequest& container : request.containers)
    for (const FamilyAsk& one : container.asks) {
      if (std::ranges::find(seen, one.index) != seen.end()) continue;
      seen.push_back(one.index);
      std::vector<vendors::ScoredDevice> devices;
      for (unsigned d = 0; d < node.devices.size(); ++d) {
        const BookedDevice& device = node.devices[d];
        if (device.family != one.index || !device.present) continue;
        const auto taken = std::ranges::find_if(plan.taken, [&](const Taken& t) { return t.device == d; });
        const bool exclusive = taken != plan.taken.end() && taken->cores == 100;
        devices.push_back({device.index, device.extras ? &device.extras->custom : nullptr, device.use.slots > 0,
                           taken != plan.taken.end(), exclusive, device.use.online, device.use.offline});
      }
      const auto trait = one.ask.traits.find("topologyAware");
      const auto option = one.family->options.find("topologyAware");
      const bool aware = trait != one.ask.traits.end()
                             ? trait->second == "true"
                             : option != one.family->options.end() && option->second == "true";
      vendors::NodeScoreInput input{
          node.marks, {}, request.policy.node.value_or(policy_now()) == Policy::Spread, {devices, one.online, aware}};
      for (unsigned c = 0; c < request.containers.size(); ++c) {
        std::vector<const CustomInfo*> chosen;
        for (const Taken& taken : plan.taken)
          if (taken.container == c && taken.family == one.index)
            chosen.push_back(node.devices[taken.device].extras ? &node.devices[taken.device].extras->custom : nullptr);
        if (!chosen.empty()) input.containers.push_back(std::move(chosen));
      }
      score += vendors::node_score(*one.family, input).value_or(0.0);
      if (!request.policy.topology || !node.pair_scores) continue;
      for (const Taken& a : plan.taken)
        for (const Taken& b : plan.taken)
          if (a.container == b.container && a.device < b.device && a.family == one.index && b.family == one.index)
            score += score_of(*node.pair_scores, DeviceUuid{node.devices[a.device].uuid},
                              DeviceUuid{node.devices[b.device].uuid});
    }
  return score;
}

bool Engine::fits_on(NodeIndex index, const PodRequest& request, const Pod& pod, const Placer& placer) {
  const NodeFitter::Costs costs{needs_mix(placer.policy()) ? &placer : nullptr, index, asks_};
  if (fitter_.fit(nodes_[index], request, costs, plan_)) return false;
  return !quotas_.watches(pod.pod_namespace) || !quotas_.miss(QuotaSubject::of(pod), plan_.holding.quota);
}

// The best node that the pod fits on; its plan is in best_plan_.
NodeIndex Engine::search(const PodRequest& request, const Pod& pod, const NodeSet* candidates) {
  const std::size_t hardest = set_plain_asks(request, pod);
  Placer& placer = placer_for(request.policy.node.value_or(policy_now()));
  const bool scored =
      request.policy.topology || std::ranges::any_of(request.containers, [](const ContainerRequest& container) {
        return std::ranges::any_of(container.asks, [](const FamilyAsk& one) {
          return one.family->score.kind != vendors::NodeScore::Kind::None;
        });
      });
  tried_.clear();
  NodeIndex best = kNoNode;
  double best_score = 0;
  for (std::size_t compared = 0; best == kNoNode || (scored && compared < kMostCompared);) {
    if (best == kNoNode && compared >= kMostMissed && candidates != &fitting_) {
      find_fitting(request, pod, candidates, placer);
      candidates = &fitting_;
    }
    const auto ranked = placer.rank(asks_[hardest], candidates, &tried_);
    if (ranked.empty()) break;
    for (const Ranked& one : ranked) {
      tried_.add(one.node);
      ++compared;
      if (!fits_on(one.node, request, pod, placer)) continue;
      const double score = scored ? family_score(request, one.node, plan_) : 0;
      if (best != kNoNode && score <= best_score) continue;
      best = one.node;
      best_score = score;
      std::swap(plan_, best_plan_);
      if (!scored) return best;
    }
  }
  return best;
}

// Fills fitting_ with the candidates that were not tried and that the pod fits on.
void Engine::find_fitting(const PodRequest& request, const Pod& pod, const NodeSet* candidates, const Placer& placer) {
  fitting_.clear();
  for_each_candidate(candidates, [&](NodeIndex index) {
    if (index < nodes_.size() && !tried_.contains(index) && fits_on(index, request, pod, placer)) fitting_.add(index);
  });
}

tl::expected<PodPlacement, PodRefusal> Engine::place(const Pod& pod, const NodeSet* candidates, WallTime now) {
  if (reservations_.contains(pod.uid)) remove_pod(pod.uid);
  // Whoever asks again for a pod that runs must not move what it holds.
  if (const auto known = pods_.find(pod.uid); known != pods_.end())
    return tl::unexpected(PodRefusal{
        RefusalCode::Ask, fmt::format("pod {} is on node {}", pod.full_name(), nodes_[known->second.node].name), {}});
  const auto request = request_of(pod, catalog_, settings_.preset);
  if (!request) return tl::unexpected(PodRefusal{RefusalCode::Ask, request.error().message, {}});
  if (!request->any() && !settings_.count_host) return PodPlacement{};
  const NodeIndex node = search(*request, pod, candidates);
  if (node == kNoNode) return tl::unexpected(refusal_of(*request, pod, candidates));
  PodPlacement placement{node, best_plan_.taken};
  hold(pod, node, best_plan_.holding, false);
  reservations_.insert_or_assign(pod.uid, Reservation{placement, now});
  return placement;
}

// ---- why not ----

std::optional<RefusalCode> Engine::host_refusal(NodeIndex index, const Pod& pod) const {
  if (!settings_.count_host || index >= nodes_.size()) return std::nullopt;
  if (cluster_.cpu_free(index) < pod.cpu_milli) return RefusalCode::Cpu;
  if (cluster_.host_memory_free(index) < pod.host_memory.count) return RefusalCode::HostMemory;
  return std::nullopt;
}

PodRefusal Engine::refusal_of(const PodRequest& request, const Pod& pod, const NodeSet* candidates) {
  PodRefusal refusal;
  RefusalCounts counts{};
  std::optional<std::pair<unsigned, unsigned>> nearest;
  for_each_candidate(candidates, [&](NodeIndex index) {
    const bool there = index < nodes_.size() && !nodes_[index].name.empty();
    static const BookedNode kNowhere;
    auto miss = fitter_.fit(there ? nodes_[index] : kNowhere, request, {}, plan_);
    // Where all fits but for the quota or the node's own CPU and memory, nothing is nearer.
    if (!miss) miss = NodeMiss{host_refusal(index, pod).value_or(RefusalCode::Quota), kMostPassed, 0, kMostPassed, 0};
    refusal.nodes.emplace_back(index, miss->code);
    ++counts[static_cast<std::size_t>(miss->code)];
    const std::pair near(miss->container, miss->passed);
    if (nearest && near <= *nearest) return;
    nearest = near;
    refusal.code = miss->code;
  });
  refusal.sentence = refusal_sentence(counts);
  return refusal;
}

// ---- what is written ----

Result<Texts> Engine::annotations_for(const Pod& pod, const PodPlacement& placement, WallTime now) const {
  Texts texts;
  if (placement.node == kNoNode) return texts;
  const BookedNode& node = nodes_[placement.node];
  for (const Taken& taken : placement.taken) {
    const BookedDevice& device = node.devices.at(taken.device);
    if (!device.present || !device.healthy)
      return fail(Errc::Conflict, "pod {}: device {} of node {} is {}; place the pod again", pod.full_name(),
                  device.uuid, node.name, device.present ? "unhealthy" : "gone");
  }
  texts.emplace(kAssignedNodeKey, node.name);
  texts.emplace(kAssignedTimeKey, unix_seconds(now));
  const PodRequest request = TRY(request_of(pod, catalog_, settings_.preset));
  std::vector<FamilyIndex> families;
  for (const Taken& taken : placement.taken)
    if (std::ranges::find(families, taken.family) == families.end()) families.push_back(taken.family);
  for (const FamilyIndex family : families) {
    vendors::EmissionInput input{node.name, now, {}};
    for (unsigned c = 0; c < request.containers.size(); ++c) {
      auto& container = input.containers.emplace_back(vendors::PlacedContainer{request.containers[c].name, {}, {}});
      for (const FamilyAsk& one : request.containers[c].asks)
        if (one.index == family) container.traits = one.ask.traits;
      for (const Taken& taken : placement.taken)
        if (taken.container == c && taken.family == family) container.devices.push_back(placed(node, taken));
    }
    const FamilyAsk one = family_for(catalog_, family, pod.annotations);
    for (auto& [key, value] : TRY(vendors::annotations_of(*one.family, input)))
      texts.insert_or_assign(key, std::move(value));
  }
  return texts;
}

vendors::PlacedDevice Engine::placed(const BookedNode& node, const Taken& taken) const {
  const BookedDevice& device = node.devices[taken.device];
  vendors::PlacedDevice out;
  out.device = {DeviceUuid{device.uuid}, types_[device.type].name, MiB{taken.memory}, CoreUnits{taken.cores}};
  out.index = device.index;
  out.slots = device.slots;
  out.template_name = taken.size_name;
  out.slices = taken.charge.slots;
  out.mig = taken.mig;
  if (device.extras) out.custom = device.extras->custom;
  if (!taken.size_id.empty()) set_custom(out.custom, "profileID", std::string_view(taken.size_id));
  return out;
}

}  // namespace kiboko
