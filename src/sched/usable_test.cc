#include "sched/usable.h"

#include <gmock/gmock.h>

#include "sched/cluster_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::ElementsAre;

std::vector<AskClass> classes(std::vector<PodAsk> asks) {
  std::vector<AskClass> all;
  for (const PodAsk& ask : asks) all.push_back({ask, 1.0 / static_cast<double>(asks.size())});
  return all;
}

TEST(Usable, InComputeIsAllThatIsFreeOnTheDevicesThatFit) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 2, 4);
  cluster.take(pod(1, 600, 0), {node, 0b01});
  const Usable usable{cluster, classes({pod(1, 400), pod(1, 500), pod(1, 1000, 5), pod(2, 1000)}),
                      Usable::Reading::Compute};
  EXPECT_THAT(list(usable.supply()), ElementsAre(1400, 1000, 0, 0));
}

TEST(Usable, InPlacesIsNoMoreThanTheHostLastsFor) {
  Cluster cluster;
  add_node(cluster, 8, 20);
  const Usable usable{cluster, classes({pod(1, 1000, 10), pod(1, 1000, 8), pod(1, 1000, 1), pod(4, 1000, 4)}),
                      Usable::Reading::Places};
  EXPECT_THAT(list(usable.supply()), ElementsAre(2000, 2500, 8000, 8000));
}

TEST(Usable, InPlacesADeviceIsOneAndATenthOfWhatFitsBesideIt) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 3, 64);
  cluster.take(pod(1, 600), {node, 0b01});
  const Usable usable{cluster, classes({pod(1, 400), pod(1, 500)}), Usable::Reading::Places};
  EXPECT_THAT(list(usable.supply()), ElementsAre(3 * 400 + 2 * 45, 2 * 500 + 2 * 45));
}

TEST(Usable, CountsOnlyTheModelsAllowedAndTheHealthy) {
  Cluster cluster;
  add_node(cluster, 2, 8, "A");
  const NodeIndex other = add_node(cluster, 3, 8, "B");
  Usable usable{cluster, classes({only_on(pod(1, 1000), cluster, "B"), pod(1, 1000)}), Usable::Reading::Compute};
  EXPECT_THAT(list(usable.supply()), ElementsAre(3000, 5000));
  cluster.set_healthy(other, 0, false);
  usable.refresh(other);
  EXPECT_THAT(list(usable.supply()), ElementsAre(2000, 4000));
}

TEST(Usable, CountsDeviceMemoryAndWholeDevices) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 2, 8, "A", {.memory = 16_GiB});
  const PodAsk small{.count = 1, .share = 100, .memory = 8_GiB};
  const PodAsk whole{.count = 1, .exclusive = true};
  Usable usable{cluster, classes({small, whole}), Usable::Reading::Places};
  EXPECT_THAT(list(usable.supply()), ElementsAre(1100, 2000));
  cluster.take(small, {node, 0b01});
  usable.refresh(node);
  EXPECT_THAT(list(usable.supply()), ElementsAre(1100, 1000));
}

TEST(Usable, WhatIsLostIsTheDifferenceThatTheTakingMakes) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 4, 20);
  const auto all = classes({pod(1, 1000, 4), pod(2, 1000), pod(1, 300)});
  Usable usable{cluster, all, Usable::Reading::Places};
  usable.set_weights(std::vector<double>{1, 10, 100});
  const PodAsk ask = pod(1, 800, 6);
  const auto value = [&] {
    return static_cast<double>(usable.supply()[0] + 10 * usable.supply()[1] + 100 * usable.supply()[2]);
  };
  const double before = value();
  const double lost = usable.lost(node, ask, 0b0100);
  cluster.take(ask, {node, 0b0100});
  usable.refresh(node);
  EXPECT_NEAR(lost, before - value(), 1);
}

}  // namespace
}  // namespace kiboko
