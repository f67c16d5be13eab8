// What must hold whatever is placed, ended and broken, in any order, by any policy.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "sched/cluster_values.h"
#include "sched/policy.h"

namespace kiboko {
namespace {

using namespace testing_values;

struct Live {
  PodAsk ask;
  Spot spot;
};

Cluster some_cluster() {
  Cluster cluster;
  add_node(cluster, 8, 96, "A", {.memory = 80_GiB, .slots = 7});
  add_node(cluster, 2, 16, "B", {.memory = 16_GiB});
  add_node(cluster, 4, 200, "B", {.memory = 32_GiB, .slots = 3});
  add_node(cluster, 0, 64, "A");
  return cluster;
}

rc::Gen<PodAsk> any_pod() {
  return rc::gen::map(
      rc::gen::tuple(rc::gen::inRange(0U, 9U), rc::gen::inRange(0, 1001), rc::gen::inRange<std::uint64_t>(0, 40),
                     rc::gen::inRange(0, 5), rc::gen::elementOf(std::vector<Models>{kAnyModel, 1, 2, 3}),
                     rc::gen::inRange(0, 40)),
      [](const auto& drawn) {
        const auto [count, share, gib, kind, models, cores] = drawn;
        PodAsk ask{.count = std::min(count, 8U), .models = models, .cpu_milli = cores * 1000, .host_memory = {}};
        ask.host_memory = Bytes{gib << 31U};
        if (kind == 0) {
          ask.exclusive = true;
          return ask;
        }
        if (kind == 1) ask.count = std::min(ask.count, 1U);
        ask.share = kind == 2 ? kWholeDevice : share;
        if (kind == 3) ask.memory = Bytes{gib << 30U};
        return ask;
      });
}

AskMix some_mix(const std::vector<PodAsk>& asks) {
  AskMix mix;
  for (const PodAsk& ask : asks) mix.add(ask);
  mix.add(pod(1, 500));
  return mix;
}

void assert_within_capacity(const Cluster& cluster, const std::vector<Live>& live) {
  std::vector<std::vector<std::int64_t>> share(cluster.nodes());
  std::vector<std::vector<std::uint64_t>> memory(cluster.nodes());
  std::vector<std::int64_t> cpu(cluster.nodes());
  for (NodeIndex node = 0; node < cluster.nodes(); ++node) {
    share[node].resize(cluster.device_count(node));
    memory[node].resize(cluster.device_count(node));
  }
  for (const Live& one : live) {
    cpu[one.spot.node] += one.ask.cpu_milli;
    for_each_device(one.spot.devices, [&](std::size_t device) {
      share[one.spot.node][device] += one.ask.exclusive ? kWholeDevice : one.ask.share;
      memory[one.spot.node][device] +=
          one.ask.exclusive ? cluster.memory_capacity(one.spot.node)[device] : one.ask.memory.count;
    });
  }
  for (NodeIndex node = 0; node < cluster.nodes(); ++node) {
    RC_ASSERT(cluster.cpu_capacity(node) - cpu[node] == cluster.cpu_free(node));
    RC_ASSERT(cluster.cpu_free(node) >= 0);
    RC_ASSERT(cluster.host_memory_free(node) <= cluster.host_memory_capacity(node));
    for (std::size_t device = 0; device < cluster.device_count(node); ++device) {
      RC_ASSERT(kWholeDevice - share[node][device] == cluster.free_shares(node)[device]);
      RC_ASSERT(cluster.free_shares(node)[device] >= 0);
      RC_ASSERT(memory[node][device] <= cluster.memory_capacity(node)[device]);
      RC_ASSERT(cluster.memory_capacity(node)[device] - memory[node][device] == cluster.free_memory(node)[device]);
      RC_ASSERT(cluster.grants(node)[device] <= cluster.slots(node)[device]);
    }
  }
}

RC_GTEST_PROP(ClusterProperty, NoDeviceEverExceedsItsCapacityAndEverythingCanBeUndone, ()) {
  const auto policy = *rc::gen::element(Policy::Binpack, Policy::Spread, Policy::HamiDefault, Policy::BestFit,
                                        Policy::Fgd, Policy::Supply);
  const auto asks = *rc::gen::container<std::vector<PodAsk>>(any_pod());
  Cluster cluster = some_cluster();
  Placer placer{cluster, policy};
  placer.expect(some_mix(asks));
  std::vector<Live> live;
  for (const PodAsk& ask : asks) {
    if (const auto spot = placer.choose(ask)) {
      RC_ASSERT(cluster.valid(ask, *spot));
      placer.take(ask, *spot);
      live.push_back({ask, *spot});
    } else {
      for (NodeIndex node = 0; node < cluster.nodes(); ++node)
        RC_ASSERT(cluster.refusal(node, ask) != NodeRefusal::None);
      if (!live.empty()) {
        placer.give_back(live.front().ask, live.front().spot);
        live.erase(live.begin());
      }
    }
    assert_within_capacity(cluster, live);
  }
  for (const Live& one : live) placer.give_back(one.ask, one.spot);
  assert_within_capacity(cluster, {});
  RC_ASSERT(cluster.compute_granted() == 0);
}

// Rank after rank, with those already seen tried: every candidate that fits comes, once, and each list is in order.
RC_GTEST_PROP(ClusterProperty, RanksNameEveryNodeThatFitsOnce, ()) {
  const auto policy = *rc::gen::element(Policy::Binpack, Policy::Spread, Policy::HamiDefault, Policy::BestFit,
                                        Policy::Fgd, Policy::Supply);
  const auto asks = *rc::gen::container<std::vector<PodAsk>>(any_pod());
  Cluster cluster;
  for (int i = 0; i < 12; ++i) {
    add_node(cluster, 8, 96, "A", {.memory = 80_GiB, .slots = 7});
    add_node(cluster, 2, 16, "B", {.memory = 16_GiB});
    add_node(cluster, 4, 200, "B", {.memory = 32_GiB, .slots = 3});
  }
  Placer placer{cluster, policy};
  placer.expect(some_mix(asks));
  NodeSet candidates;
  for (NodeIndex node = 0; node < cluster.nodes(); ++node)
    if (node % 5 != 0) candidates.add(node);
  for (const PodAsk& ask : asks) {
    NodeSet tried;
    for (;;) {
      const auto ranked = placer.rank(ask, &candidates, &tried);
      RC_ASSERT(std::is_sorted(ranked.begin(), ranked.end()));
      for (const Ranked& one : ranked) {
        RC_ASSERT(candidates.contains(one.node) && !tried.contains(one.node) && cluster.fits(one.node, ask));
        tried.add(one.node);
      }
      if (ranked.empty()) break;
    }
    candidates.for_each([&](NodeIndex node) { RC_ASSERT(cluster.fits(node, ask) == tried.contains(node)); });
    if (const auto spot = placer.choose(ask)) placer.take(ask, *spot);
  }
}

RC_GTEST_PROP(ClusterProperty, TheSupplyKeptUpToDateIsTheSupplyCountedFromNothing, ()) {
  const auto asks = *rc::gen::container<std::vector<PodAsk>>(any_pod());
  const auto reading = *rc::gen::element(Usable::Reading::Compute, Usable::Reading::Places);
  Cluster cluster = some_cluster();
  const auto classes = some_mix(asks).device_classes(kMaxAskClasses);
  Usable kept{cluster, classes, reading};
  Placer placer{cluster, Policy::Spread};
  std::vector<Live> live;
  for (const PodAsk& ask : asks) {
    const auto spot = placer.choose(ask);
    if (spot && live.size() < 12) {
      placer.take(ask, *spot);
      live.push_back({ask, *spot});
      kept.refresh(spot->node);
    } else if (!live.empty()) {
      placer.give_back(live.back().ask, live.back().spot);
      kept.refresh(live.back().spot.node);
      live.pop_back();
    }
    const NodeIndex broken = static_cast<NodeIndex>(live.size() % 3);
    cluster.set_healthy(broken, 0, live.size() % 2 == 0);
    kept.refresh(broken);
    const Usable fresh{cluster, classes, reading};
    RC_ASSERT(std::ranges::equal(kept.supply(), fresh.supply()));
  }
}

RC_GTEST_PROP(ClusterProperty, WhatAPlacementIsSaidToLoseIsWhatItLoses, ()) {
  const auto asks = *rc::gen::nonEmpty(rc::gen::container<std::vector<PodAsk>>(any_pod()));
  const auto reading = *rc::gen::element(Usable::Reading::Compute, Usable::Reading::Places);
  Cluster cluster = some_cluster();
  const auto classes = some_mix(asks).device_classes(kMaxAskClasses);
  Usable usable{cluster, classes, reading};
  std::vector<double> weights;
  for (std::size_t index = 0; index < classes.size(); ++index) weights.push_back(1 + static_cast<double>(index % 3));
  usable.set_weights(weights);
  Placer placer{cluster, Policy::Spread};
  const auto value = [&] {
    double sum = 0;
    for (std::size_t index = 0; index < classes.size(); ++index)
      sum += weights[index] * static_cast<double>(usable.supply()[index]);
    return sum;
  };
  for (const PodAsk& ask : asks) {
    const auto spot = placer.choose(ask);
    if (!spot) continue;
    const double before = value();
    const double lost = usable.lost(spot->node, ask, spot->devices);
    placer.take(ask, *spot);
    usable.refresh(spot->node);
    // Each class is cut to whole thousandths when it is counted, before and after.
    RC_ASSERT(std::abs(lost - (before - value())) < 8.0 * static_cast<double>(classes.size()) + before * 1e-5);
  }
}

}  // namespace
}  // namespace kiboko
