// Each family by the engine: which devices it chooses, what they cost, and which node is better.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/vendor_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::StartsWith;

Texts on_card(const std::string& key, const std::string& uuid) { return {{key, uuid}}; }

void use_kunlun(Engine& engine, const std::string& node, std::initializer_list<int> cards) {
  for (const int card : cards) {
    const std::string uuid = fmt::format("{}-kunlun-{}", node, card);
    ASSERT_TRUE(
        place(engine, device_pod("on-" + uuid, {{"kunlunxin.com/xpu", "1"}}, on_card("hami.io/use-xpu-uuid", uuid))));
  }
}

std::string kunlun_cards(std::initializer_list<int> used, const char* count, const char* policy = nullptr) {
  Engine engine{known_families(), kPacking};
  EXPECT_TRUE(engine.set_node(capacity_node("n", {{"kunlunxin.com/xpu", 8}})));
  use_kunlun(engine, "n", used);
  Texts annotations;
  if (policy != nullptr) annotations["hami.io/gpu-scheduler-policy"] = policy;
  return cards_of(engine, device_pod("p", {{"kunlunxin.com/xpu", count}}, annotations));
}

TEST(EngineKunlun, WingsAreThoseOfTheCardsWhateverTheOrderOfDevices) {
  for (const char* policy : {"spread", "binpack", "mutex", "numa"}) {
    EXPECT_EQ(kunlun_cards({4}, "4", policy), "0 1 2 3") << policy;
    EXPECT_EQ(kunlun_cards({0, 4}, "2", policy), "1 2") << policy;
    EXPECT_EQ(kunlun_cards({0, 1, 2, 4, 5, 6}, "2", policy), "3 7") << policy;
    EXPECT_EQ(kunlun_cards({}, "8", policy), "0 1 2 3 4 5 6 7") << policy;
    EXPECT_EQ(kunlun_cards({5}, "8", policy), "exclusive") << policy;
    EXPECT_EQ(kunlun_cards({0, 1, 2, 5, 6, 7}, "2", policy), "topology") << policy;
  }
}

TEST(EngineKunlun, TheNodeThatIsLeftWithFewerOddCardsWinsUnderEveryNodePolicy) {
  for (const char* policy : {"binpack", "spread"})
    for (const char* const half : {"a", "b"}) {
      Engine engine{known_families(), kPacking};
      for (const char* name : {"a", "b"}) ASSERT_TRUE(engine.set_node(capacity_node(name, {{"kunlunxin.com/xpu", 8}})));
      use_kunlun(engine, half, {0, 1});
      EXPECT_EQ(
          outcome(engine, device_pod("p", {{"kunlunxin.com/xpu", "2"}}, {{"hami.io/node-scheduler-policy", policy}})),
          fmt::format("{0}: {0}-kunlun-2, {0}-kunlun-3", half))
          << policy;
    }
}

TEST(EngineKunlun, NeverGivesFewerCardsThanAskedFor) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(capacity_node("n", {{"kunlunxin.com/xpu", 16}})));
  use_kunlun(engine, "n", {1, 9});
  EXPECT_EQ(cards_of(engine, device_pod("p", {{"kunlunxin.com/xpu", "8"}})), "topology");
  EXPECT_EQ(cards_of(engine, device_pod("q", {{"kunlunxin.com/xpu", "4"}})), "4 5 6 7");
  EXPECT_EQ(cards_of(engine, device_pod("r", {{"kunlunxin.com/xpu", "4"}})), "12 13 14 15");
}

TEST(EngineKunlun, CardsWithoutAnIndexAreNotGivenTwice) {
  Engine engine{known_families(), kPacking};
  const auto no_index = [](RegisteredDevice& device) {
    device.index = 0;
    device.memory = MiB{98304};
  };
  ASSERT_TRUE(engine.set_node(plugin_node("n", "hami.io/node-register-xpu", "XPU", 4, no_index)));
  EXPECT_EQ(cards_of(engine, device_pod("p", {{"kunlunxin.com/vxpu", "4"}})), "topology");
  EXPECT_EQ(cards_of(engine, device_pod("q", {{"kunlunxin.com/vxpu", "1"}})), "0");
}

TEST(EngineKunlun, AllSlicesOfACardHaveOneSize) {
  Engine engine{known_families(), kPacking};
  const auto large = [](RegisteredDevice& device) { device.memory = MiB{98304}; };
  ASSERT_TRUE(engine.set_node(plugin_node("n", "hami.io/node-register-xpu", "XPU", 1, large)));
  const auto slice = [&](const char* name, const char* memory) {
    return outcome(engine, device_pod(name, {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", memory}}));
  };
  EXPECT_EQ(slice("a", "30000"), "n: n-0");
  EXPECT_EQ(device_named(engine, "n-0").use.memory, 49152);
  EXPECT_EQ(slice("b", "24576"), "slice_size");
  EXPECT_EQ(slice("c", "49152"), "n: n-0");
  EXPECT_EQ(slice("d", "49152"), "memory");
}

// ---- groups and pairs ----

Node ascend(const std::string& name, const std::string& word, unsigned devices) {
  return plugin_node(name, "hami.io/node-register-" + word, word, devices, [](RegisteredDevice& device) {
    device.cores = CoreUnits{20};
    set_custom(device.custom, "NetworkID", std::int64_t{device.index / 4});
  });
}

void use_ascend(Engine& engine, const std::string& word, const std::string& node, std::initializer_list<int> cards) {
  for (const int card : cards) {
    const std::string uuid = fmt::format("{}-{}", node, card);
    ASSERT_TRUE(place(engine, device_pod("on-" + uuid, {{"huawei.com/" + word, "1"}},
                                         on_card("hami.io/use-" + word + "-uuid", uuid))));
  }
}

TEST(EngineAscend, SeveralDevicesCrossAsFewGroupsAsPossible) {
  const auto cards = [](const char* count) {
    Engine engine{known_families(), kPacking};
    EXPECT_TRUE(engine.set_node(ascend("n", "Ascend910B3", 8)));
    use_ascend(engine, "Ascend910B3", "n", {0, 1, 3});
    return cards_of(engine, device_pod("p", {{"huawei.com/Ascend910B3", count}}));
  };
  EXPECT_EQ(cards("4"), "4 5 6 7");
  EXPECT_EQ(cards("5"), "4 5 6 7 2");
  EXPECT_EQ(cards("6"), "memory");
}

TEST(EngineAscend, TheNodeWithTheBetterGroupsWinsUnderEveryNodePolicy) {
  for (const char* policy : {"binpack", "spread"})
    for (const char* const split : {"a", "b"}) {
      // On one node four devices of one group are left, on the other three and one.
      Engine engine{known_families(), kPacking};
      for (const char* name : {"a", "b"}) {
        ASSERT_TRUE(engine.set_node(ascend(name, "Ascend910B3", 8)));
        if (std::string_view(name) == split)
          use_ascend(engine, "Ascend910B3", name, {0, 4, 5, 6});
        else
          use_ascend(engine, "Ascend910B3", name, {0, 1, 2, 3});
      }
      const std::string whole = std::string_view(split) == "a" ? "b" : "a";
      EXPECT_EQ(outcome(engine, device_pod("p", {{"huawei.com/Ascend910B3", "4"}},
                                           {{"hami.io/node-scheduler-policy", policy}})),
                fmt::format("{0}: {0}-4, {0}-5, {0}-6, {0}-7", whole))
          << policy;
    }
}

TEST(EngineAscend, DiesOfACardAreGivenTogether) {
  const auto cards = [](const char* count) {
    Engine engine{known_families(), kPacking};
    EXPECT_TRUE(engine.set_node(ascend("n", "Ascend910C", 8)));
    EXPECT_TRUE(
        engine.set_pod(foreign_pod("a", "n", {{"hami.io/Ascend910C-devices-allocated", "n-2,Ascend910C,65536,0:;"}})));
    return cards_of(engine, device_pod("p", {{"huawei.com/Ascend910C", count}}));
  };
  EXPECT_EQ(cards("1"), "0 1");
  EXPECT_EQ(cards("4"), "0 1 4 5");
  EXPECT_EQ(cards("6"), "0 1 4 5 6 7");
  EXPECT_NE(cards("8"), "0 1 2 3 4 5 6 7");
}

TEST(EngineAscend, ATemplateTakesItsCoresAndProcessorsToo) {
  Engine engine{known_families(), kPacking};
  const auto chip = [](RegisteredDevice& device) {
    device.cores = CoreUnits{8};
    device.memory = MiB{24576};
  };
  ASSERT_TRUE(engine.set_node(plugin_node("n", "hami.io/node-register-Ascend310P", "Ascend310P3", 1, chip)));
  const auto slice = [&](const char* name, const char* memory) {
    return outcome(engine,
                   device_pod(name, {{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", memory}}));
  };
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(slice(name, "6144"), "n: n-0");
  // Memory and cores are left for a fourth, but of the 7 processors only one.
  EXPECT_EQ(slice("d", "6144"), "cores");
  EXPECT_EQ(slice("e", "3072"), "n: n-0");
  EXPECT_EQ(device_named(engine, "n-0").use.cpus, 7);
}

TEST(EngineVastai, DiesOfOneCardComeFirstAndACardIsExclusiveAsAWhole) {
  const auto dies = [](RegisteredDevice& device) {
    device.slots = 1;
    set_custom(device.custom, "DeviceStrategy", std::string_view("die"));
    set_custom(device.custom, "AIC", std::int64_t{device.index / 2});
  };
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(plugin_node("n", "hami.io/node-va-register", "Vastai", 6, dies)));
  ASSERT_TRUE(
      place(engine, device_pod("a", {{"vastaitech.com/va", "1"}}, on_card("vastaitech.com/use-gpuuuid", "n-0"))));
  EXPECT_EQ(cards_of(engine, device_pod("b", {{"vastaitech.com/va", "2"}})), "2 3");
  const Texts alone = {{"hami.io/gpu-scheduler-policy", "mutex"}};
  EXPECT_EQ(cards_of(engine, device_pod("c", {{"vastaitech.com/va", "1"}}, alone)), "4");
  EXPECT_EQ(cards_of(engine, device_pod("d", {{"vastaitech.com/va", "1"}}, alone)), "mutex");
  EXPECT_EQ(cards_of(engine, device_pod("e", {{"vastaitech.com/va", "1"}})), "1");
}

// ---- MetaX ----

Node metax(const std::string& name, const std::vector<int>& zones) {
  std::string list;
  for (std::size_t i = 0; i < zones.size(); ++i)
    list += fmt::format(R"({}{{"uuid":"{}-{}","model":"C500","totalDevCount":16,"totalCompute":100,)"
                        R"("totalVRam":65536,"healthy":true,"linkZone":{}}})",
                        i > 0 ? "," : "", name, i, zones[i]);
  return annotated_node(name, "metax-tech.com/node-gpu-devices", "[" + list + "]");
}

Pod sgpu(const std::string& name, const Texts& annotations, const char* cores = "30", const char* count = "1") {
  return device_pod(name,
                    {{"metax-tech.com/sgpu", count}, {"metax-tech.com/vmemory", "4"}, {"metax-tech.com/vcore", cores}},
                    annotations);
}

TEST(EngineMetax, WholeDevicesComeFromTheSmallestZoneThatHoldsThem) {
  const auto cards = [](const char* count) {
    Engine engine{known_families(), kPacking};
    EXPECT_TRUE(engine.set_node(metax("n", {1, 1, 2, 2, 2})));
    return cards_of(engine, device_pod("p", {{"metax-tech.com/sgpu", count}}));
  };
  EXPECT_EQ(cards("2"), "0 1");
  EXPECT_EQ(cards("3"), "2 3 4");
  EXPECT_EQ(cards("4"), "0 1 2 3");
}

TEST(EngineMetax, LinkedDevicesWinUnderEveryNodePolicyWhereThePodWantsThem) {
  for (const char* policy : {"binpack", "spread"})
    for (const std::vector<int>& first : {std::vector{1, 1, 2}, std::vector{1, 2, 3}}) {
      Engine engine{known_families(), kPacking};
      ASSERT_TRUE(engine.set_node(metax("a", first)));
      ASSERT_TRUE(engine.set_node(metax("b", first[1] == 1 ? std::vector{1, 2, 3} : std::vector{1, 1, 2})));
      const Texts wishes = {{"hami.io/node-scheduler-policy", policy}, {"metax-tech.com/sgpu-topology-aware", "true"}};
      EXPECT_EQ(outcome(engine, device_pod("p", {{"metax-tech.com/sgpu", "2"}}, wishes)),
                first[1] == 1 ? "a: a-0, a-1" : "b: b-0, b-1")
          << policy;
    }
}

TEST(EngineMetax, TheSharingPolicyOfADeviceIsThatOfItsPodsAlsoAfterARestart) {
  const Texts fixed = {{"metax-tech.com/sgpu-qos-policy", "fixed-share"}};
  const Texts burst = {{"metax-tech.com/sgpu-qos-policy", "burst-share"}};
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(metax("n", {0})));
  const Pod first = sgpu("a", fixed);
  const Pod told = bound(engine, first, place(engine, first).value());
  EXPECT_EQ(outcome(engine, sgpu("b", burst)), "qos");
  EXPECT_EQ(outcome(engine, sgpu("c", fixed)), "n: n-0");
  Engine again{known_families(), kPacking};
  ASSERT_TRUE(again.set_pod(told));
  ASSERT_TRUE(again.set_node(metax("n", {0})));
  EXPECT_EQ(outcome(again, sgpu("b", burst)), "qos");
  again.remove_pod(told.uid);
  EXPECT_EQ(outcome(again, sgpu("b", burst)), "n: n-0");
}

TEST(EngineMetax, OnlineAndOfflineWorkKeepApartAndOnlineWorkHasNoComputeLimit) {
  const Texts online = {{"metax-tech.com/sgpu-app-class", "online"}};
  const Texts offline = {{"metax-tech.com/sgpu-app-class", "offline"}};
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(metax("n", {0})));
  ASSERT_TRUE(place(engine, sgpu("a", online, "90")));
  EXPECT_EQ(outcome(engine, sgpu("b", online, "90")), "n: n-0");
  EXPECT_EQ(device_named(engine, "n-0").use.cores, 0);
  EXPECT_EQ(outcome(engine, sgpu("c", offline)), "app_class");
  EXPECT_EQ(outcome(engine, sgpu("d", {})), "app_class");
}

TEST(EngineMetax, TheTableOfTheSchedulersOwnNodePolicyCounts) {
  const auto node = [](const char* name, int loss, int score) {
    Node made = capacity_node(name, {{"metax-tech.com/gpu", 2}});
    made.annotations["metax-tech.com/gpu.topology.losses"] = fmt::format(R"({{"1":{}}})", loss);
    made.annotations["metax-tech.com/gpu.topology.scores"] = fmt::format(R"({{"1":{}}})", score);
    return made;
  };
  for (const Policy policy : {Policy::Binpack, Policy::Spread}) {
    Engine engine{known_families(), {.node_policy = policy}};
    ASSERT_TRUE(engine.set_node(node("little-loss", 10, 900)));
    ASSERT_TRUE(engine.set_node(node("little-score", 900, 10)));
    const Pod one = device_pod("p", {{"metax-tech.com/gpu", "1"}});
    EXPECT_THAT(outcome(engine, one), StartsWith(policy == Policy::Spread ? "little-score" : "little-loss"));
  }
}

TEST(EngineMetax, ATableThatCannotBeReadIsNamed) {
  Engine engine{known_families(), kPacking};
  Node node = capacity_node("n1", {{"metax-tech.com/gpu", 2}});
  node.annotations["metax-tech.com/gpu.topology.losses"] = R"({"1":-5})";
  const auto set = engine.set_node(node);
  ASSERT_FALSE(set);
  EXPECT_THAT(set.error().message, StartsWith("node n1: annotation metax-tech.com/gpu.topology.losses: "));
}

// ---- NVIDIA's links ----

Node linked(const std::string& name, const std::string& scores) {
  Node node = gpu_node(name, 3);
  node.annotations["hami.io/node-nvidia-score"] = scores;
  return node;
}

const Texts kLinks = {{"hami.io/gpu-scheduler-policy", "topology-aware"}};

std::string scores_of(const std::string& node, int first_two, int others) {
  const auto row = [&](int gpu, int a, int a_score, int b, int b_score) {
    return fmt::format(R"({{"uuid":"GPU-{0}-{1}","score":{{"GPU-{0}-{2}":{3},"GPU-{0}-{4}":{5}}}}})", node, gpu, a,
                       a_score, b, b_score);
  };
  return fmt::format("[{},{},{}]", row(0, 1, first_two, 2, others), row(1, 0, first_two, 2, others),
                     row(2, 0, others, 1, others));
}

TEST(EngineNvidia, OneGpuIsTheOneThatTheOthersMissLeastAndSeveralAreTheBestLinked) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(linked("n", scores_of("n", 100, 10))));
  EXPECT_EQ(cards_of(engine, gpu_pod("one", 1000, 0, 1, kLinks)), "2");
  engine.remove_pod("uid-one");
  EXPECT_EQ(cards_of(engine, gpu_pod("two", 1000, 0, 2, kLinks)), "0 1");
  EXPECT_EQ(cards_of(engine, gpu_pod("all", 1000, 0, 3, kLinks)).size(), 5U);
}

TEST(EngineNvidia, TheBetterLinkedNodeWinsUnderEveryNodePolicy) {
  for (const char* policy : {"binpack", "spread"})
    for (const int first : {20, 300}) {
      Engine engine{known_families(), kPacking};
      ASSERT_TRUE(engine.set_node(linked("a", scores_of("a", first, 10))));
      ASSERT_TRUE(engine.set_node(linked("b", scores_of("b", 320 - first, 10))));
      Texts wishes = kLinks;
      wishes["hami.io/node-scheduler-policy"] = policy;
      EXPECT_THAT(outcome(engine, gpu_pod("p", 1000, 0, 2, wishes)), StartsWith(first == 300 ? "a: " : "b: "))
          << policy;
    }
}

TEST(EngineNvidia, GpusWithoutScoresAreLinkedByNothing) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(linked("n", R"([{"uuid":"GPU-n-2","score":{"GPU-n-1":5,"GPU-of-old":900}}])")));
  EXPECT_EQ(cards_of(engine, gpu_pod("two", 1000, 0, 2, kLinks)).size(), 3U);
  ASSERT_TRUE(engine.set_node(gpu_node("n", 3)));
  EXPECT_EQ(cards_of(engine, gpu_pod("again", 1000, 0, 2, kLinks)).size(), 3U);
}

TEST(EngineNvidia, MigInstancesHaveTheComputeAskedForAndAWholeOneIsTheLargestProfile) {
  const auto mig = [](RegisteredDevice& device) {
    device.mode = "mig";
    device.slots = 7;
    device.mig_profiles = {{"1g.10gb", MiB{9856}, CoreUnits{15}, 1, {{0, 1}, {1, 1}}},
                           {"3g.40gb", MiB{40192}, CoreUnits{46}, 4, {{0, 4}, {4, 4}}},
                           {"7g.80gb", MiB{80896}, CoreUnits{100}, 8, {{0, 8}}}};
  };
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1, mig)));
  EXPECT_EQ(place(engine, gpu_pod("a", 5000, 40)).value().taken[0].size_name, "3g.40gb");
  EXPECT_EQ(device_named(engine, "GPU-n-0").use.memory, 40192);
  engine.remove_pod("uid-a");
  EXPECT_EQ(place(engine, device_pod("b", {{"nvidia.com/gpu", "1"}})).value().taken[0].size_name, "7g.80gb");
}

// ---- slices ----

TEST(EngineEnflame, ASliceTakesAsManySlotsAsItIsLargeAndAllSlicesFitTogether) {
  Engine engine{known_families(), kPacking};
  const std::string capacity =
      R"({"devices":[{"index":0,"minor":0,"capacity":6}],"profiles":{"1g.8gb":"1","2g.16gb":"2","3g.24gb":"3"}})";
  ASSERT_TRUE(engine.set_node(annotated_node("n", "enflame.com/gcu-drs-capacity", capacity)));
  const auto slice = [&](const std::string& name, const char* size) {
    return outcome(engine, device_pod(name, {{"enflame.com/drs-gcu", size}}));
  };
  EXPECT_EQ(slice("a", "2"), "n: n-enflame-drs-0");
  EXPECT_EQ(device_named(engine, "n-enflame-drs-0").use.slots, 2);
  EXPECT_EQ(slice("b", "4"), "template");
  engine.remove_pod("uid-a");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(slice(fmt::format("s{}", i), "1"), "n: n-enflame-drs-0");
  EXPECT_NE(slice("last", "1"), "n: n-enflame-drs-0");
}

TEST(EngineEnflame, ASliceNeedsAsManyFreeSlotsAsItIsLarge) {
  Engine engine{known_families(), kPacking};
  const std::string capacity =
      R"({"devices":[{"index":0,"minor":0,"capacity":4}],"profiles":{"1g.8gb":"1","3g.24gb":"3","6g.48gb":"6"}})";
  ASSERT_TRUE(engine.set_node(annotated_node("n", "enflame.com/gcu-drs-capacity", capacity)));
  EXPECT_EQ(outcome(engine, device_pod("a", {{"enflame.com/drs-gcu", "3"}})), "n: n-enflame-drs-0");
  EXPECT_EQ(outcome(engine, device_pod("b", {{"enflame.com/drs-gcu", "3"}})), "slots");
  EXPECT_EQ(outcome(engine, device_pod("c", {{"enflame.com/drs-gcu", "1"}})), "n: n-enflame-drs-0");
}

TEST(EngineNeuron, CoresAreMasksThatNeverOverlap) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(capacity_node("n", {{"aws.amazon.com/neuron", 1}, {"aws.amazon.com/neuroncore", 2}})));
  const auto mask = [&](const char* name, const char* cores) {
    const Placed placed = place(engine, device_pod(name, {{"aws.amazon.com/neuroncore", cores}}));
    return placed ? placed->taken[0].cores : -1;
  };
  EXPECT_EQ(mask("a", "1"), 1);
  EXPECT_EQ(mask("b", "1"), 2);
  EXPECT_EQ(mask("c", "1"), -1);
  engine.remove_pod("uid-a");
  EXPECT_EQ(mask("c", "2"), -1);
  EXPECT_EQ(mask("c", "1"), 1);
  engine.remove_pod("uid-b");
  engine.remove_pod("uid-c");
  EXPECT_EQ(mask("d", "2"), 3);
}

TEST(EngineNeuron, MasksOfContainersAreUnitedAndNotAdded) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(capacity_node("n", {{"aws.amazon.com/neuron", 1}, {"aws.amazon.com/neuroncore", 2}})));
  const Texts core = {{"aws.amazon.com/neuroncore", "1"}};
  const Pod pod =
      pod_of("a", {container_of("init", core, ContainerKind::Init), container_of("x", core), container_of("y", core)});
  const Pod told = bound(engine, pod, place(engine, pod).value());
  EXPECT_EQ(device_named(engine, "n-AWSNeuron-0").use.cores, 3);
  Engine again{known_families(), kPacking};
  ASSERT_TRUE(again.set_node(capacity_node("n", {{"aws.amazon.com/neuron", 1}, {"aws.amazon.com/neuroncore", 2}})));
  ASSERT_TRUE(again.set_pod(told));
  EXPECT_EQ(device_named(again, "n-AWSNeuron-0").use.cores, 3);
}

TEST(EngineNeuron, SeveralDevicesAreARunOfNeighbours) {
  const auto cards = [](const char* type, const char* count) {
    Engine engine{known_families(), kPacking};
    Node node = capacity_node("n", {{"aws.amazon.com/neuron", 8}, {"aws.amazon.com/neuroncore", 16}});
    node.labels["node.kubernetes.io/instance-type"] = type;
    EXPECT_TRUE(engine.set_node(node));
    EXPECT_TRUE(place(engine, device_pod("a", {{"aws.amazon.com/neuron", "1"}},
                                         on_card("aws.amazon.com/use-neuron-uuid", "n-AWSNeuron-1"))));
    return cards_of(engine, device_pod("p", {{"aws.amazon.com/neuron", count}}));
  };
  EXPECT_EQ(cards("inf2.48xlarge", "3"), "2 3 4");
  EXPECT_EQ(cards("trn1.32xlarge", "4"), "4 5 6 7");
  EXPECT_EQ(cards("trn1.32xlarge", "2"), "topology");
}

TEST(EngineMthreads, SeveralCardsAreWholeAndContainersOfAPodShareOne) {
  Engine engine{known_families(), kPacking};
  const Node node = capacity_node(
      "n", {{"mthreads.com/vgpu", 200}, {"mthreads.com/sgpu-core", 32}, {"mthreads.com/sgpu-memory", 192}});
  ASSERT_TRUE(engine.set_node(node));
  const Placed two = place(engine, device_pod("a", {{"mthreads.com/vgpu", "2"}}));
  ASSERT_TRUE(two);
  EXPECT_EQ(two->taken[1].memory, 49152);
  EXPECT_EQ(two->taken[1].cores, 16);
  engine.remove_pod("uid-a");
  const Texts part = {{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-core", "4"}, {"mthreads.com/sgpu-memory", "8"}};
  EXPECT_EQ(outcome(engine, pod_of("b", {container_of("x", part), container_of("y", part)})),
            "n: n-mthreads-0, n-mthreads-0");
}

}  // namespace
}  // namespace kiboko
