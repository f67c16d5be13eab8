#include "sched/policy.h"

#include <gmock/gmock.h>

#include "sched/cluster_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::HasSubstr;

AskMix mix_of(const std::vector<std::pair<PodAsk, int>>& asks) {
  AskMix mix;
  for (const auto& [ask, count] : asks)
    for (int i = 0; i < count; ++i) mix.add(ask);
  return mix;
}

TEST(Policies, HaveOneNameEach) {
  for (const Policy policy :
       {Policy::Binpack, Policy::Spread, Policy::HamiDefault, Policy::BestFit, Policy::Fgd, Policy::Supply})
    EXPECT_EQ(parse_policy(name(policy)).value(), policy);
  EXPECT_THAT(parse_policy("random").error().message, HasSubstr("'random'"));
}

struct Packs {
  Policy policy;
  Spot small;  // where an ask for 200 goes that fits on all
};
void PrintTo(const Packs& one, std::ostream* out) { *out << name(one.policy); }
class ByUse : public testing::TestWithParam<Packs> {};
TEST_P(ByUse, PicksTheNodeAndTheDevice) {
  Cluster cluster;
  add_node(cluster, 2, 16);  // 200 and 500 taken
  add_node(cluster, 2, 16);  // untouched
  Placer placer{cluster, GetParam().policy};
  placer.take(pod(1, 200), {0, 0b01});
  placer.take(pod(1, 500), {0, 0b10});
  EXPECT_EQ(placer.choose(pod(1, 200)).value(), GetParam().small);
}
INSTANTIATE_TEST_SUITE_P(Table, ByUse,
                         testing::Values(Packs{Policy::Binpack, {0, 0b10}}, Packs{Policy::Spread, {1, 0b01}},
                                         Packs{Policy::HamiDefault, {0, 0b01}}, Packs{Policy::BestFit, {0, 0b10}},
                                         Packs{Policy::Fgd, {0, 0b10}}, Packs{Policy::Supply, {0, 0b10}}));

TEST(Supply, KeepsARareModelForThoseWhoNeedIt) {
  Cluster cluster;
  add_node(cluster, 2, 16, "rare");
  add_node(cluster, 4, 16, "common");
  Placer placer{cluster, Policy::Supply};
  placer.expect(mix_of({{pod(1, 1000), 50}, {only_on(pod(1, 1000), cluster, "rare"), 10}}));
  for (int i = 0; i < 4; ++i) {
    const Spot spot = placer.choose(pod(1, 1000)).value();
    EXPECT_EQ(spot.node, 1U);
    placer.take(pod(1, 1000), spot);
  }
  // Nothing else is left: keeping is a preference, never a refusal.
  EXPECT_EQ(placer.choose(pod(1, 1000)).value().node, 0U);
}

TEST(Supply, KeepsWholeNodesForThoseWhoNeedEightDevices) {
  Cluster cluster;
  add_node(cluster, 8, 96);
  add_node(cluster, 8, 96);
  Placer placer{cluster, Policy::Supply};
  placer.expect(mix_of({{pod(1, 500), 90}, {pod(8, 1000), 10}}));
  for (int i = 0; i < 16; ++i) placer.take(pod(1, 500), placer.choose(pod(1, 500)).value());
  EXPECT_TRUE(placer.choose(pod(8, 1000)));
}

TEST(Supply, PutsMuchCpuWhereThereIsMuch) {
  Cluster cluster;
  add_node(cluster, 6, 24);
  add_node(cluster, 2, 64);
  Placer placer{cluster, Policy::Supply};
  placer.expect(mix_of({{pod(1, 1000, 4), 50}, {pod(1, 1000, 30), 10}}));
  EXPECT_EQ(placer.choose(pod(1, 1000, 30)).value().node, 1U);
  EXPECT_EQ(placer.choose(pod(1, 1000, 4)).value().node, 0U);
}

TEST(Placer, OrdersTheDevicesOfANodeByWhatTheyCost) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 2, 16);
  for (const Policy policy : {Policy::Binpack, Policy::Spread}) {
    Placer placer{cluster, policy};
    if (policy == Policy::Binpack) placer.take(pod(1, 500), {node, 0b01});
    const bool fuller_is_cheaper = placer.cost(node, pod(1, 100), 0b01) < placer.cost(node, pod(1, 100), 0b10);
    EXPECT_EQ(fuller_is_cheaper, policy == Policy::Binpack);
  }
}

TEST(Placer, PassesOverARemovedNodeAndSeesAnAddedOne) {
  for (const Policy policy : {Policy::Binpack, Policy::Supply}) {
    Cluster cluster;
    add_node(cluster, 2, 16);
    add_node(cluster, 2, 16);
    Placer placer{cluster, policy};
    placer.expect(mix_of({{pod(1, 500), 50}}));
    placer.take(pod(1, 500), placer.choose(pod(1, 500)).value());
    cluster.remove_node(0);
    placer.changed(0);
    EXPECT_EQ(placer.choose(pod(1, 500)).value().node, 1U);
    cluster.remove_node(1);
    placer.changed(1);
    EXPECT_FALSE(placer.choose(pod(1, 500)));
    for (int i = 0; i < 3; ++i) placer.changed(add_node(cluster, 8, 16));
    EXPECT_TRUE(placer.choose(pod(8, 500)));
    EXPECT_EQ(placer.rank(pod(8, 500)).size(), 3U);
  }
}

// It remembers what nodes cost when it last looked, and judges anew those that looked best: here, all.
TEST(Supply, ChoosesAsOneWouldWhoRemembersNothing) {
  Cluster cluster;
  for (int i = 0; i < 16; ++i) add_node(cluster, i % 3 == 0 ? 2 : 8, i % 2 == 0 ? 32 : 96);
  const std::vector<PodAsk> asks = {pod(1, 300, 4), pod(1, 700, 8), pod(1, 1000, 6), pod(2, 1000, 12), pod(1, 110, 1)};
  AskMix mix;
  for (const PodAsk& ask : asks) mix.add(ask);
  Placer placer{cluster, Policy::Supply};
  placer.expect(mix);
  for (std::size_t i = 0; i < 60; ++i) {
    const PodAsk& ask = asks[i * 7 % asks.size()];
    Placer fresh{cluster, Policy::Supply};
    fresh.expect(mix);
    const Spot spot = placer.choose(ask).value();
    EXPECT_EQ(cluster.state_key(spot.node), cluster.state_key(fresh.choose(ask).value().node)) << i;
    placer.take(ask, spot);
  }
}

TEST(Placer, PacksWhileAPolicyThatNeedsAMixHasNone) {
  Cluster cluster;
  add_node(cluster, 2, 16);
  add_node(cluster, 2, 16);
  Placer placer{cluster, Policy::Supply};
  placer.take(pod(1, 100), {1, 0b10});
  EXPECT_EQ(placer.choose(pod(1, 100)).value(), (Spot{1, 0b10}));
}

TEST(Placer, LooksAtTheCandidatesAloneAndFindsNothingWhereNothingFits) {
  Cluster cluster;
  add_node(cluster, 2, 16);
  add_node(cluster, 2, 16);
  Placer placer{cluster, Policy::Binpack};
  EXPECT_EQ(placer.choose(pod(1, 100), std::vector<NodeIndex>{1}).value().node, 1U);
  EXPECT_FALSE(placer.choose(pod(1, 100), std::vector<NodeIndex>{}));
  EXPECT_FALSE(placer.choose(pod(3, 100)));
}

TEST(AskMix, KnowsWhatItWasGivenAndForgetsWhatIsTaken) {
  AskMix mix = mix_of({{pod(1, 500), 49}, {pod(0, 0), 2}});
  EXPECT_TRUE(mix.known());
  mix.remove(pod(0, 0));
  mix.remove(pod(0, 0));
  mix.remove(pod(0, 0));
  EXPECT_EQ(mix.asks(), 49U);
  EXPECT_FALSE(mix.known());
}

TEST(AskMix, TellsTheTypicalByFrequencyAndTheDeviceClassesByCompute) {
  const AskMix mix = mix_of({{pod(1, 500), 60}, {pod(0, 0), 30}, {pod(8, 1000), 9}, {pod(1, 100), 1}});
  const auto typical = mix.typical_classes(0.95);
  ASSERT_EQ(typical.size(), 3U);
  EXPECT_EQ(typical[1].ask.count, 0U);
  EXPECT_NEAR(typical[0].weight, 60.0 / 99, 1e-9);
  const auto device = mix.device_classes(2);
  ASSERT_EQ(device.size(), 2U);
  EXPECT_EQ(device[0].ask.count, 8U);
  EXPECT_NEAR(device[0].weight + device[1].weight, 1, 1e-9);
}

}  // namespace
}  // namespace kiboko
