// Placing and explaining are two ways to ask the same question, and must give the same answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/engine_values.h"

namespace kiboko {
namespace {

using namespace testing_values;

const vendors::Catalog kFamilies = families();
const EngineSettings kPack{.node_policy = Policy::Binpack};

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
