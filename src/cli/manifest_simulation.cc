#include "cli/manifest_simulation.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "cli/device_shares.h"
#include "sched/draw.h"
#include "sched/engine.h"

namespace kiboko::cli {
namespace {

constexpr std::size_t kProgressEvery = 64;
constexpr std::size_t kMostArrivals = 1'000'000;
constexpr WallTime kThen{};  // nothing that a run decides depends on the time

class Run {
 public:
  Run(const ManifestCase& all, const vendors::Catalog& catalog, const ManifestSettings& settings)
      : settings_(settings), engine_(catalog, engine_settings(all, settings.policy)), all_(all) {
    for (const Node& node : all.nodes) static_cast<void>(engine_.set_node(node));  // manifest_case warns
    for (const ResourceQuota& quota : all.quotas) engine_.set_quota(quota);
    for (const Pod& pod : all.held) static_cast<void>(engine_.set_pod(pod));
    sums_ = device_sums(engine_);
    for (const auto* pods : {&all.held, &all.seated})
      for (const Pod& pod : *pods) meet(pod);
    if (settings.mix == MixSource::Trace)
      for (const Pod& pod : all.waiting) engine_.expect(pod, kThen);
    for (const Pod& pod : all.seated) {
      const auto node = engine_.find_node(pod.node);
      const NodeSet there = node ? NodeSet{*node} : NodeSet{};
      if (!engine_.place(pod, &there, kThen)) ++result_.unseated;
    }
    granted_on_.resize(engine_.nodes().size());
    for (NodeIndex index = 0; index < granted_on_.size(); ++index) regrant(index);
    draw_curve();
  }

  Result<std::vector<std::size_t>> arrivals() const {
    std::vector<std::size_t> order(all_.waiting.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::mt19937_64 generator{settings_.seed.value_or(0)};
    if (settings_.demand_percent) {
      order.clear();
      const double wanted = *settings_.demand_percent / 100.0 * devices();
      std::vector<double> asks;
      for (const Pod& pod : all_.waiting) asks.push_back(asked_by_pod(pod));
      if (std::ranges::none_of(asks, [](double ask) { return ask > 0; }))
        return fail(Errc::Invalid,
                    "none of the {} waiting pods asks for a device that is there; there is no demand to reach",
                    asks.size());
      for (double asked = asked_; asked < wanted; asked += asks[order.back()]) {
        if (order.size() == kMostArrivals)
          return fail(Errc::Invalid, "--demand {}% is not reached by {} pods; they ask for too little",
                      *settings_.demand_percent, kMostArrivals);
        order.push_back(below(generator, asks.size()));
      }
    }
    if (settings_.seed) shuffle(order, generator);
    return order;
  }

  void arrive(std::size_t index, const Clock& clock) {
    Pod pod = all_.waiting[index];
    if (settings_.demand_percent) pod.uid = fmt::format("{}#{}", pod.uid, result_.arrived);
    PodFate& fate = result_.fates.emplace_back();
    fate.pod = pod.full_name();
    ++result_.arrived;
    const NodeSet& candidates = candidates_of(pod);
    const Instant before = clock.now();
    if (settings_.mix == MixSource::Arrivals) engine_.expect(pod, kThen);
    const auto placed = engine_.place(pod, &candidates, kThen);
    const Nanoseconds took = clock.now() - before;
    spent_ += took;
    result_.worst_decision = std::max(result_.worst_decision, took);
    asked_ += asked_by_pod(pod);
    if (!placed)
      refuse(fate, candidates, placed.error());
    else if (placed->node == kNoNode)
      place_anywhere(candidates, fate);
    else
      note(*placed, fate);
    draw_curve();
  }

  ManifestResult finish() {
    if (result_.arrived > 0) result_.mean_decision = spent_ / static_cast<std::int64_t>(result_.arrived);
    for (const PodFate& fate : result_.fates) result_.placed += fate.node.empty() ? 0 : 1;
    for (const auto& [family, sums] : device_sums(engine_))
      result_.families.push_back({engine_.catalog().families()[family].key, sums.devices, sums.in_use,
                                  100 * part(sums.cores_used, sums.cores), 100 * part(sums.memory_used, sums.memory)});
    result_.fragmented_percent = fragmented_percent(engine_);
    return std::move(result_);
  }

 private:
  // Of a pod that is there from the start.
  void meet(const Pod& pod) {
    engine_.expect(pod, kThen);
    asked_ += asked_by_pod(pod);
  }

  double devices() const { return settings_.demand_of > 0 ? settings_.demand_of : all_.devices; }

  double asked_by_pod(const Pod& pod) const {
    const auto request = request_of(pod, engine_.catalog(), engine_.settings().preset);
    return request ? devices_asked(*request, sums_) : 0;
  }

  const NodeSet& candidates_of(const Pod& pod) {
    const auto [at, made] = candidates_.try_emplace(pod.node_selector);
    if (!made) return at->second;
    for (const Node& node : all_.nodes) {
      const bool chosen = std::ranges::all_of(pod.node_selector, [&](const auto& wanted) {
        const auto label = node.labels.find(wanted.first);
        return label != node.labels.end() && label->second == wanted.second;
      });
      if (chosen && !node.unschedulable) at->second.add(*engine_.find_node(node.name));
    }
    return at->second;
  }

  void refuse(PodFate& fate, const NodeSet& candidates, const PodRefusal& why) {
    fate.code = name(why.code);
    fate.sentence = why.sentence;
    std::string meaning(words_of(why.code).sentence);
    if (candidates.count() == 0 && why.code != RefusalCode::Ask) {
      fate.code = "node_selector";
      fate.sentence = meaning = "no node that takes pods has the labels of the node selector";
    }
    count(fate.code, meaning);
  }

  void count(const std::string& code, const std::string& meaning) {
    Refused& refused = result_.refusals[code];
    ++refused.pods;
    refused.sentence = meaning;
  }

  void note(const PodPlacement& placement, PodFate& fate) {
    const BookedNode& node = engine_.nodes()[placement.node];
    fate.node = node.name;
    for (const Taken& taken : placement.taken) fate.devices.push_back(node.devices[taken.device].uuid);
    regrant(placement.node);
  }

  void regrant(NodeIndex node) {
    const double before = std::exchange(granted_on_[node], devices_granted(engine_, node));
    granted_ += granted_on_[node] - before;
  }

  // It takes nothing that anybody counts: any node will do.
  void place_anywhere(const NodeSet& candidates, PodFate& fate) {
    if (candidates.count() == 0) return refuse(fate, candidates, {});
    candidates.for_each([&](NodeIndex node) {
      if (fate.node.empty()) fate.node = engine_.nodes()[node].name;
    });
  }

  void draw_curve() {
    if (devices() == 0) return;
    const double allocated = 100 * granted_ / all_.devices;
    while (asked_ * 100 >= static_cast<double>(result_.curve.size()) * devices() && result_.curve.size() < kMostPoints)
      result_.curve.push_back(allocated);
  }
  static constexpr std::size_t kMostPoints = 1001;

  const ManifestSettings& settings_;
  Engine engine_;
  const ManifestCase& all_;
  std::map<FamilyIndex, DeviceSums> sums_;
  std::map<Texts, NodeSet> candidates_;  // by node selector
  double asked_ = 0, granted_ = 0;       // devices
  std::vector<double> granted_on_;       // by node
  Nanoseconds spent_{};
  ManifestResult result_;
};

}  // namespace

Result<ManifestResult> simulate(const ManifestCase& all, const vendors::Catalog& catalog,
                                const ManifestSettings& settings, const Clock& clock, const Progress& progress) {
  Run run(all, catalog, settings);
  const std::vector<std::size_t> order = TRY(run.arrivals());
  for (std::size_t index = 0; index < order.size(); ++index) {
    run.arrive(order[index], clock);
    if (progress && index % kProgressEvery == 0)
      progress(static_cast<double>(index) / static_cast<double>(order.size()));
  }
  if (progress) progress(1);
  return run.finish();
}

}  // namespace kiboko::cli
