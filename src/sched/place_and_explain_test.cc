// Placing and explaining are two ways to ask the same question, and must give the same answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/explain.h"
#include "sched/explain_cases.h"

namespace kiboko {
namespace {

using namespace testing_values;

const vendors::Catalog kFamilies = families();
const EngineSettings kPack{.node_policy = Policy::Binpack};

TEST(PlaceAndExplain, PlacingRefusesWhatExplainingRefusesAndForTheSameReason) {
  for (const ExplainCase& one : explain_cases()) {
    Engine engine{kFamilies, kPack};
    one.arrange(engine);
    const NodeSet candidates = candidates_of(engine, one);
    const NodeSet* const all_or_some = one.candidates.empty() ? nullptr : &candidates;
    const Explanation why = explain(engine, one.pod, all_or_some);
    EXPECT_FALSE(why.fits) << one.name;
    const auto placed = engine.place(one.pod, all_or_some, kNoon);
    ASSERT_FALSE(placed) << one.name;
    EXPECT_EQ(name(placed.error().code), name(why.code)) << one.name;
    EXPECT_EQ(placed.error().sentence, why.sentence) << one.name;
    std::vector<std::string> by_place, by_explain;
    for (const auto& [node, code] : placed.error().nodes)
      by_place.push_back(fmt::format("{} {}", engine.nodes()[node].name, name(code)));
    for (const NodeExplanation& node : why.nodes)
      by_explain.push_back(fmt::format("{} {}", node.node, name(node.code)));
    EXPECT_EQ(by_place, by_explain) << one.name;
  }
}

TEST(PlaceAndExplain, ASliceOfASizeNeedsNoMoreComputeThanItHas) {
  Engine engine{kFamilies, kPack};
  Node node;
  node.name = "n1";
  node.annotations["enflame.com/gcu-drs-capacity"] =
      R"({"devices":[{"index":"0","minor":"0","capacity":6}],"profiles":{"1g.8gb":"0","3g.24gb":"1","6g.48gb":"2"}})";
  ASSERT_TRUE(engine.set_node(node));
  ASSERT_TRUE(engine.place(device_pod("a", {{"enflame.com/drs-gcu", "1"}}), nullptr, kNoon));
  const Pod pod = device_pod("p", {{"enflame.com/drs-gcu", "3"}, {"enflame.com/gcu-core", "90"}});
  EXPECT_TRUE(explain(engine, pod).fits);
  EXPECT_TRUE(engine.place(pod, nullptr, kNoon));
}

TEST(PlaceAndExplain, CoresOfSeveralNeuronDevicesAreCountedByDevice) {
  Engine engine{kFamilies, kPack};
  Node node;
  node.name = "n1";
  node.capacity = {{"aws.amazon.com/neuron", 4}, {"aws.amazon.com/neuroncore", 8}};
  ASSERT_TRUE(engine.set_node(node));
  const auto placed = engine.place(device_pod("p", {{"aws.amazon.com/neuroncore", "8"}}), nullptr, kNoon);
  ASSERT_TRUE(placed) << placed.error().sentence;
  ASSERT_EQ(placed->taken.size(), 4U);
  for (const Taken& taken : placed->taken) EXPECT_EQ(taken.cores, 0b11);
}

}  // namespace
}  // namespace kiboko
