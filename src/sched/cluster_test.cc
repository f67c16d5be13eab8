#include "sched/cluster.h"

#include <gmock/gmock.h>

#include "sched/cluster_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Cluster, TakesAndGivesBackToTheLastThousandth) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 2, 8);
  const PodAsk ask = pod(1, 300, 3);
  cluster.take(ask, {node, 0b10});
  EXPECT_THAT(list(cluster.free_shares(node)), ElementsAre(1000, 700));
  EXPECT_EQ(cluster.cpu_free(node), 5000);
  EXPECT_EQ(cluster.compute_granted(), 300);
  cluster.give_back(ask, {node, 0b10});
  EXPECT_THAT(list(cluster.free_shares(node)), ElementsAre(1000, 1000));
  EXPECT_EQ(cluster.cpu_free(node), 8000);
  EXPECT_EQ(cluster.host_memory_free(node), (1024_GiB).count);
  EXPECT_EQ(cluster.compute_granted(), 0);
}

TEST(Cluster, AnExclusiveAskTakesTheWholeOfAnEmptyDevice) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 2, 8, "A", {.memory = 80_GiB});
  cluster.take(pod(1, 10), {node, 0b01});
  const PodAsk whole{.count = 1, .exclusive = true};
  EXPECT_EQ(cluster.fitting_devices(node, whole), 0b10U);
  cluster.take(whole, {node, 0b10});
  EXPECT_THAT(list(cluster.free_memory(node)), ElementsAre((80_GiB).count, 0U));
  // Not even an ask that takes nothing.
  EXPECT_EQ(cluster.fitting_devices(node, PodAsk{.count = 1}), 0b01U);
}

TEST(Cluster, ADeviceHasOnlySoManySlots) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 1, 8, "A", {.slots = 1});
  cluster.take(pod(1, 10), {node, 1});
  EXPECT_FALSE(cluster.fits(node, pod(1, 10)));
  EXPECT_EQ(cluster.refusal(node, pod(1, 10)), NodeRefusal::Occupied);
}

TEST(Cluster, ASpotIsValidOnlyIfEachDeviceFits) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 3, 8);
  cluster.take(pod(1, 600), {node, 0b001});
  EXPECT_TRUE(cluster.valid(pod(2, 500), {node, 0b110}));
  EXPECT_FALSE(cluster.valid(pod(2, 500), {node, 0b011}));
  EXPECT_FALSE(cluster.valid(pod(2, 500), {node, 0b100}));
  EXPECT_FALSE(cluster.valid(pod(2, 500), {node + 1, 0b110}));
}

struct Refused {
  std::string why;
  PodAsk ask;
  NodeRefusal refusal;
};
void PrintTo(const Refused& one, std::ostream* out) { *out << one.why; }
class ClusterRefusals : public testing::TestWithParam<Refused> {};
TEST_P(ClusterRefusals, NameTheFirstRule) {
  // Device 0: model B. 1: half taken. 2: 10 GiB taken. 3: broken.
  Cluster cluster;
  const unsigned a = cluster.model_named("A").value();
  const unsigned b = cluster.model_named("B").value();
  ClusterNode node{.name = "n", .cpu_milli = 4000, .host_memory = 4_GiB, .devices = {}};
  node.devices = {{.memory = 16_GiB, .model = b},
                  {.memory = 16_GiB, .model = a},
                  {.memory = 16_GiB, .model = a},
                  {.memory = 16_GiB, .model = a, .healthy = false}};
  const NodeIndex index = cluster.add_node(node).value();
  cluster.take({.count = 1, .share = 500}, {index, 0b0010});
  cluster.take({.count = 1, .memory = 10_GiB}, {index, 0b0100});
  EXPECT_EQ(cluster.refusal(index, GetParam().ask), GetParam().refusal);
  EXPECT_EQ(cluster.fits(index, GetParam().ask), GetParam().refusal == NodeRefusal::None);
}
INSTANTIATE_TEST_SUITE_P(
    Table, ClusterRefusals,
    testing::Values(Refused{"five devices", {.count = 5}, NodeRefusal::TooFewDevices},
                    Refused{"two of model B", {.count = 2, .models = 0b10}, NodeRefusal::Model},
                    Refused{"three of model A", {.count = 3, .models = 0b01}, NodeRefusal::Unhealthy},
                    Refused{"two empty ones", {.count = 2, .exclusive = true}, NodeRefusal::Occupied},
                    Refused{"three with 600", {.count = 3, .share = 600}, NodeRefusal::Compute},
                    Refused{"three with 10 GiB", {.count = 3, .memory = 10_GiB}, NodeRefusal::Memory},
                    Refused{"five cores", {.count = 1, .cpu_milli = 5000}, NodeRefusal::Cpu},
                    Refused{"5 GiB of host memory", {.count = 1, .host_memory = 5_GiB}, NodeRefusal::HostMemory},
                    Refused{"no device", {.cpu_milli = 4000}, NodeRefusal::None},
                    Refused{"what is there", {.count = 3, .share = 500, .memory = 6_GiB}, NodeRefusal::None}));

TEST(Cluster, RefusesWhatItCannotHold) {
  Cluster cluster;
  for (std::size_t model = 0; model < kMaxModels; ++model) EXPECT_TRUE(cluster.model_named(fmt::format("m{}", model)));
  EXPECT_TRUE(cluster.model_named("m0"));
  EXPECT_THAT(cluster.model_named("one more").error().message, HasSubstr("'one more'"));
  ClusterNode node{.name = "big", .cpu_milli = 1, .host_memory = {}, .devices = {}};
  node.devices.resize(kMaxNodeDevices + 1);
  EXPECT_THAT(cluster.add_node(node).error().message, HasSubstr("node big has 65 devices"));
  node.devices.assign(1, {.model = 64});
  EXPECT_THAT(cluster.add_node(node).error().message, HasSubstr("model 64"));
  EXPECT_EQ(cluster.nodes(), 0U);
}

}  // namespace
}  // namespace kiboko
