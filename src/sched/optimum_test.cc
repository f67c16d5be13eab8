// Small clusters and asks of which one knows what could be placed at best: all of them.
#include <gmock/gmock.h>

#include <random>

#include "sched/cluster_values.h"
#include "sched/policy.h"

namespace kiboko {
namespace {

using namespace testing_values;

struct Puzzle {
  Cluster cluster;
  std::vector<PodAsk> asks;

  void nodes(int count, unsigned devices, std::int64_t cores, std::string_view model) {
    for (int i = 0; i < count; ++i) add_node(cluster, devices, cores, model);
  }
  void pods(int count, const PodAsk& ask) { asks.insert(asks.end(), static_cast<std::size_t>(count), ask); }
};

// Each kind of pod fills one kind of node to the last device and core. Some would fit elsewhere too, and would be in
// the way there: of a pod for eight devices, of one for many cores, of one for the rare model.
Puzzle with_one_way() {
  Puzzle puzzle;
  puzzle.nodes(5, 8, 8, "common");
  puzzle.nodes(6, 4, 64, "common");
  puzzle.nodes(10, 4, 12, "common");
  puzzle.nodes(7, 2, 32, "rare");
  puzzle.pods(5, pod(8, 1000, 8));
  puzzle.pods(24, pod(1, 1000, 16));
  puzzle.pods(40, pod(1, 1000, 3));
  puzzle.pods(14, only_on(pod(1, 1000, 16), puzzle.cluster, "rare"));
  return puzzle;
}

// Halves on devices of one kind: no way to go wrong.
Puzzle with_every_way() {
  Puzzle puzzle;
  puzzle.nodes(9, 4, 64, "common");
  puzzle.pods(72, pod(1, 500, 2));
  return puzzle;
}

std::size_t left_over(Puzzle puzzle, Policy policy, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  for (std::size_t left = puzzle.asks.size(); left > 1; --left)
    std::swap(puzzle.asks[left - 1], puzzle.asks[random() % left]);
  AskMix mix;
  for (const PodAsk& ask : puzzle.asks) mix.add(ask);
  Placer placer{puzzle.cluster, policy};
  placer.expect(mix);
  std::size_t refused = 0;
  for (const PodAsk& ask : puzzle.asks) {
    const auto spot = placer.choose(ask);
    if (spot) placer.take(ask, *spot);
    if (!spot) ++refused;
  }
  EXPECT_EQ(refused == 0, puzzle.cluster.compute_granted() == puzzle.cluster.compute_capacity());
  return refused;
}

TEST(Optimum, IsReachedBySupplyWhereThereIsOneWayAndPackingMissesIt) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    EXPECT_EQ(left_over(with_one_way(), Policy::Supply, seed), 0U) << seed;
    EXPECT_GT(left_over(with_one_way(), Policy::Binpack, seed), 0U) << seed;
  }
}

TEST(Optimum, IsReachedByEveryPolicyWhereEveryWayLeadsToIt) {
  for (const Policy policy :
       {Policy::Binpack, Policy::Spread, Policy::HamiDefault, Policy::BestFit, Policy::Fgd, Policy::Supply})
    for (std::uint64_t seed = 1; seed <= 3; ++seed) EXPECT_EQ(left_over(with_every_way(), policy, seed), 0U);
}

}  // namespace
}  // namespace kiboko
