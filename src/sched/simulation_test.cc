#include "sched/simulation.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "sched/cluster_values.h"
#include "sched/trace.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::ElementsAre;
using testing::Ge;
using testing::HasSubstr;

// Half of the demand is for one of two equally many models, the other half does not mind: the optimum is to leave that
// model to those who need it.
struct TwoModels {
  Cluster cluster;
  std::vector<PodAsk> pods;
  TwoModels() {
    for (int i = 0; i < 10; ++i) add_node(cluster, 4, 64, "rare");
    for (int i = 0; i < 10; ++i) add_node(cluster, 4, 64, "common");
    pods = {pod(1, 1000), only_on(pod(1, 1000), cluster, "rare")};
  }
  double optimum_percent(std::uint64_t seed, unsigned demand) const {
    std::size_t rare = 0;
    const auto arrivals = draw_arrivals(cluster, pods, seed, demand).value();
    for (const std::size_t index : arrivals) rare += index;
    const std::size_t rare_placed = std::min<std::size_t>(rare, 40);
    return 100.0 * static_cast<double>(rare_placed + std::min(arrivals.size() - rare, 80 - rare_placed)) / 80;
  }
};

double allocated(const TwoModels& two, Policy policy, std::uint64_t seed) {
  const SimulationSettings settings{.policy = policy, .seed = seed, .demand_percent = 100};
  return simulate(two.cluster, two.pods, settings, FakeClock{}).value().allocated_at(100).value();
}

TEST(Simulation, SupplyComesNearTheKnownOptimumWherePackingDoesNot) {
  const TwoModels two;
  for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U}) {
    EXPECT_GE(allocated(two, Policy::Supply, seed), two.optimum_percent(seed, 100) - 3) << seed;
    EXPECT_LE(allocated(two, Policy::Binpack, seed), two.optimum_percent(seed, 100) - 8) << seed;
  }
}

TEST(Simulation, IsTheSameForTheSameSeedAndAnotherForAnother) {
  const TwoModels two;
  const auto run = [&](std::uint64_t seed) {
    const auto result = simulate(two.cluster, two.pods, {.policy = Policy::Spread, .seed = seed}, FakeClock{}).value();
    return std::pair(result.marks.front().allocated_percent, result.refusals);
  };
  EXPECT_EQ(run(7), run(7));
  EXPECT_NE(run(7), run(8));
}

// The draw is ours to the bit: a result from another machine can be repeated here.
TEST(Simulation, DrawsTheSamePodsOnEveryMachine) {
  Cluster cluster;
  add_node(cluster, 8, 64);
  std::vector<PodAsk> pods;
  for (int i = 0; i < 100; ++i) pods.push_back(pod(1, 1000));
  EXPECT_THAT(draw_arrivals(cluster, pods, 42, 100).value(), ElementsAre(9, 13, 63, 90, 57, 75, 37, 75));
}

TEST(Simulation, CountsEachRefusalOnceByTheNodeThatGotFurthest) {
  Cluster cluster;
  add_node(cluster, 1, 1);
  add_node(cluster, 2, 100);
  const std::vector<PodAsk> pods = {pod(1, 1000, 1)};
  const auto result = simulate(cluster, pods, {.policy = Policy::Binpack, .demand_percent = 200}, FakeClock{}).value();
  EXPECT_EQ(result.arrived, 6U);
  EXPECT_EQ(result.placed, 3U);
  EXPECT_EQ(result.refusals[static_cast<std::size_t>(NodeRefusal::Compute)], 3U);
  EXPECT_EQ(result.allocated_at(100), 100.0);
  EXPECT_EQ(result.marks.size(), 4U);
}

TEST(Simulation, LearnsTheMixFromArrivalsAlone) {
  const TwoModels two;
  const SimulationSettings settings{.mix = MixSource::Arrivals, .seed = 3, .demand_percent = 100};
  const auto result = simulate(two.cluster, two.pods, settings, FakeClock{}).value();
  EXPECT_THAT(result.allocated_at(100).value(), Ge(allocated(two, Policy::Binpack, 3)));
}

TEST(Simulation, CountsDemandInAnotherClustersComputeWhereAsked) {
  const TwoModels two;
  Cluster larger = two.cluster;
  add_node(larger, 4, 64, "common");
  const auto arrivals = draw_arrivals(two.cluster, two.pods, 3, 100).value();
  EXPECT_EQ(draw_arrivals(larger, two.pods, 3, 100, two.cluster.compute_capacity()).value(), arrivals);
  EXPECT_GT(draw_arrivals(larger, two.pods, 3, 100).value().size(), arrivals.size());
  SimulationSettings settings{.policy = Policy::Binpack, .seed = 3, .demand_percent = 100};
  settings.demand_of = two.cluster.compute_capacity();
  EXPECT_EQ(simulate(larger, two.pods, settings, FakeClock{}).value().curve.size(), 101U);
}

TEST(Simulation, SaysWhatItCannotReplay) {
  Cluster empty;
  EXPECT_THAT(draw_arrivals(empty, std::vector<PodAsk>{pod(1, 1000)}, 1, 100).error().message,
              HasSubstr("none of the 0 nodes has a device"));
  Cluster cluster;
  add_node(cluster, 1, 1);
  EXPECT_THAT(draw_arrivals(cluster, std::vector<PodAsk>{pod(0, 0)}, 1, 100).error().message,
              HasSubstr("none of the 1 pods asks for a device"));
}

// The open trace is not ours to ship. KIBOKO_TRACE_DIR says where it is.
TEST(OpenTrace, PlacesMoreThanThePublishedBest) {
  const char* named = std::getenv("KIBOKO_TRACE_DIR");
  const std::filesystem::path folder = named != nullptr ? named : "../shared/data/openb";
  const auto file = [&](const char* name) { return read_file((folder / name).string(), 16U << 20U); };
  const auto nodes = file("openb_node_list_gpu_node.csv");
  const auto list = file("openb_pod_list_default.csv");
  if (!nodes || !list) GTEST_SKIP() << "no trace in " << folder << "; see github.com/alibaba/clusterdata, v2023";
  Cluster cluster;
  ASSERT_TRUE(read_trace_nodes(*nodes, "nodes", cluster));
  const auto pods = read_trace_pods(*list, "pods", cluster).value();
  const auto run = [&](Policy policy) {
    return simulate(cluster, pods, {.policy = policy, .seed = 42, .demand_percent = 100}, FakeClock{})
        .value()
        .allocated_at(100)
        .value();
  };
  EXPECT_NEAR(run(Policy::BestFit), 92.86, 1);
  EXPECT_GE(run(Policy::Supply), 95.0);
}

}  // namespace
}  // namespace kiboko
