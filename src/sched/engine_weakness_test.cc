// What schedulers of shared devices have got wrong before: each test keeps one such mistake from coming back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/vendor_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

const char* const kNvidia = "hami.io/vgpu-devices-allocated";

// ---- deciding ----

TEST(EngineDecides, WhatAPodAsksForCountsInTheChoiceOfItsDevice) {
  Engine engine{known_families(), kPacking};
  const auto sizes = [](RegisteredDevice& device) { device.memory = MiB{device.index == 0 ? 40960 : 81920}; };
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2, sizes)));
  ASSERT_TRUE(place(engine, gpu_pod("a", 10000, 0, 1, {{"nvidia.com/use-gpuuuid", "GPU-n1-0"}})));
  ASSERT_TRUE(place(engine, gpu_pod("b", 25000, 0, 1, {{"nvidia.com/use-gpuuuid", "GPU-n1-1"}})));
  // The second is fuller now, but with 20000 MiB more the first would be.
  const Texts pack = {{"hami.io/gpu-scheduler-policy", "binpack"}};
  EXPECT_EQ(outcome(engine, gpu_pod("c", 20000, 0, 1, pack)), "n1: GPU-n1-0");
}

TEST(EngineDecides, AReservedMigInstanceDoesNotMakeTheGpuLookBrokenToTheNextPod) {
  Engine engine{known_families(), kPacking};
  const auto mig = [](RegisteredDevice& device) {
    device.mode = "mig";
    device.slots = 7;
    device.mig_profiles = {{"1g.10gb", MiB{9856}, CoreUnits{15}, 1, {{0, 1}, {1, 1}, {2, 1}, {3, 1}}}};
  };
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1, mig)));
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_EQ(outcome(engine, gpu_pod(name, 9000, 0)), "n1: GPU-n1-0");
  EXPECT_EQ(outcome(engine, gpu_pod("e", 9000, 0)), "mig");
}

TEST(EngineDecides, NoTwoPodsInARowGetTheSameCapacity) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  ASSERT_TRUE(engine.set_node(gpu_node("n2", 2)));
  std::vector<std::string> given;
  for (int i = 0; i < 4; ++i) given.push_back(outcome(engine, gpu_pod(fmt::format("p{}", i), 50000, 60)));
  EXPECT_THAT(given, ElementsAre("n1: GPU-n1-0", "n1: GPU-n1-1", "n2: GPU-n2-0", "n2: GPU-n2-1"));
  EXPECT_EQ(outcome(engine, gpu_pod("p4", 50000, 60)), "memory");
}

TEST(EngineDecides, TheSameQuestionsHaveTheSameAnswers) {
  const auto run = [](Policy policy) {
    Engine engine{known_families(), {.node_policy = policy}};
    for (int n = 0; n < 20; ++n)
      EXPECT_TRUE(engine.set_node(gpu_node(fmt::format("n{}", n), 1U + static_cast<unsigned>(n) % 4)));
    std::string answers;
    for (int p = 0; p < 60; ++p)
      answers += outcome(engine, gpu_pod(fmt::format("p{}", p), 1000 * (1 + p % 7), 10 * (p % 9))) + "\n";
    return answers;
  };
  for (const Policy policy : {Policy::Binpack, Policy::Spread, Policy::Supply, Policy::Fgd})
    EXPECT_EQ(run(policy), run(policy)) << name(policy);
}

TEST(EngineDecides, AFamilyThatCountsInLargeNumbersDoesNotMakeItsNodeLookFuller) {
  Engine engine{known_families(), kPacking};
  for (const char* name : {"n1", "n2"}) {
    Node node = gpu_node(name, 1);
    const Node amd = plugin_node(name, "hami.io/node-amd-register", "AMD MI300X", 1, [](RegisteredDevice& device) {
      device.cores = CoreUnits{304};
      device.memory = MiB{81920};
    });
    node.annotations.insert(amd.annotations.begin(), amd.annotations.end());
    ASSERT_TRUE(engine.set_node(node));
  }
  NodeSet first, second;
  first.add(*engine.find_node("n1"));
  second.add(*engine.find_node("n2"));
  const Texts quarter = {{"amd.com/gpu", "1"}, {"amd.com/gpumem", "8192"}, {"amd.com/gpucores", "25"}};
  ASSERT_TRUE(engine.place(device_pod("a", quarter), &first, kNoon));
  ASSERT_TRUE(engine.place(gpu_pod("b", 8192, 40), &second, kNoon));
  EXPECT_THAT(outcome(engine, gpu_pod("c", 1000, 10)), StartsWith("n2"));
}

TEST(EngineDecides, NoNodeToChooseFromIsARefusalAndNoCrash) {
  Engine engine{known_families(), kPacking};
  EXPECT_EQ(outcome(engine, gpu_pod("a", 1, 1)), "no_devices");
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  const NodeSet none;
  const Placed refused = engine.place(gpu_pod("a", 1, 1), &none, kNoon);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().sentence, "there is no node to choose from");
  NodeSet far;
  far.add(5000);
  EXPECT_EQ(outcome(engine, engine.place(gpu_pod("a", 1, 1), &far, kNoon)), "node_unknown");
}

TEST(EngineDecides, AnAmountThatCannotBeReadIsRefusedAndNotForgotten) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  for (const char* memory : {"1.5", "many", "-1", "9999999999", "20Gi", ""}) {
    const Placed refused = place(engine, device_pod("a", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", memory}}));
    ASSERT_FALSE(refused) << memory;
    EXPECT_EQ(refused.error().code, RefusalCode::Ask) << memory;
    EXPECT_THAT(refused.error().sentence, HasSubstr("container main: nvidia.com/gpumem")) << memory;
  }
}

TEST(EngineDecides, CountsThatNoNodeCanHaveAreRefusedAsSuch) {
  Engine engine{known_families(), kPacking};
  for (const FamilySample& sample : family_samples()) ASSERT_TRUE(engine.set_node(sample.node));
  for (const Texts& limits : {Texts{{"kunlunxin.com/xpu", "3"}},
                              {{"kunlunxin.com/vxpu", "5"}},
                              {{"kunlunxin.com/vxpu-memory", "200000"}},
                              {{"huawei.com/Ascend910C", "3"}},
                              {{"birentech.com/gpu", "4294967297"}},
                              {{"mthreads.com/vgpu", "0"}},
                              {{"aws.amazon.com/neuroncore", "0"}}})
    EXPECT_EQ(outcome(engine, device_pod("a", limits)), "ask") << limits.begin()->first;
  EXPECT_EQ(outcome(engine, device_pod("b", {{"aws.amazon.com/neuroncore", "3"}})), "template");
}

// ---- what is known of nodes ----

TEST(EngineNodes, ACordonIsSeenAtOnceWhenTheNodeIsToldAgain) {
  Engine engine{known_families(), kPacking};
  Node node = gpu_node("n1", 2);
  ASSERT_TRUE(engine.set_node(node));
  node.annotations["hami.io/device-cordon"] = " GPU-n1-0 ,GPU-of-another-node";
  ASSERT_TRUE(engine.set_node(node));
  EXPECT_EQ(outcome(engine, gpu_pod("a", 1000, 10)), "n1: GPU-n1-1");
  EXPECT_EQ(outcome(engine, gpu_pod("b", 1000, 10, 2)), "cordoned");
  node.annotations.erase("hami.io/device-cordon");
  ASSERT_TRUE(engine.set_node(node));
  EXPECT_EQ(outcome(engine, gpu_pod("b", 1000, 10, 2)), "n1: GPU-n1-1, GPU-n1-0");
}

TEST(EngineNodes, DevicesGoWithTheCapacityOrTheAnnotationThatNamedThem) {
  Engine engine{known_families(), kPacking};
  for (const FamilySample& sample : family_samples()) {
    ASSERT_TRUE(engine.set_node(sample.node));
    Node bare;
    bare.name = sample.node.name;
    ASSERT_TRUE(engine.set_node(bare));
    EXPECT_EQ(outcome(engine, device_pod("a", sample.limits)), "no_devices") << sample.family;
    ASSERT_TRUE(engine.set_node(sample.node));
    EXPECT_THAT(outcome(engine, device_pod("a", sample.limits)), StartsWith(sample.node.name + ": ")) << sample.family;
    engine.remove_pod("uid-a");
    engine.remove_node(sample.node.name);
    EXPECT_FALSE(engine.find_node(sample.node.name)) << sample.family;
  }
}

TEST(EngineNodes, APluginThatIsGoneTakesItsDevicesWithItThoughItsAnnotationStays) {
  Engine engine{known_families(), kPacking};
  Node node = gpu_node("n1", 1);
  node.capacity["nvidia.com/gpu"] = 0;
  ASSERT_TRUE(engine.set_node(node));
  EXPECT_EQ(outcome(engine, gpu_pod("a", 1, 1)), "no_devices");
  node.capacity["nvidia.com/gpu"] = 10;
  ASSERT_TRUE(engine.set_node(node));
  EXPECT_EQ(outcome(engine, gpu_pod("a", 1, 1)), "n1: GPU-n1-0");
}

TEST(EngineNodes, AFamilyWhoseNameBeginsLikeAnothersKeepsItsDevicesToItself) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(plugin_node("n1", "hami.io/node-register-Ascend910B4-1", "Ascend910B4-1", 2)));
  EXPECT_EQ(outcome(engine, device_pod("a", {{"huawei.com/Ascend910B4", "1"}})), "no_devices");
  EXPECT_THAT(outcome(engine, device_pod("a", {{"huawei.com/Ascend910B4-1", "1"}})), StartsWith("n1: "));
}

TEST(EngineNodes, AModelNamedAfterAnotherFamilyIsNotOfferedToIt) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(plugin_node("n1", "hami.io/node-dcu-register", "DCU NVIDIA Biren AMD", 1)));
  EXPECT_EQ(outcome(engine, gpu_pod("a", 1, 1)), "no_devices");
  EXPECT_EQ(outcome(engine, device_pod("b", {{"birentech.com/gpu", "1"}})), "no_devices");
  EXPECT_EQ(outcome(engine, device_pod("c", {{"amd.com/gpu", "1"}})), "no_devices");
}

TEST(EngineNodes, IdsThatAreUniqueOnANodeAloneAreToldApartByTheNode) {
  Engine engine{known_families(), kPacking};
  const auto cards = [](RegisteredDevice& device) {
    device.uuid.text = fmt::format("card_{}", device.index);
    device.slots = 1;
  };
  for (const char* name : {"n1", "n2"})
    ASSERT_TRUE(engine.set_node(plugin_node(name, "hami.io/node-biren-register", "Biren106", 1, cards)));
  EXPECT_EQ(outcome(engine, device_pod("a", {{"birentech.com/gpu", "1"}})), "n1: card_0");
  EXPECT_EQ(outcome(engine, device_pod("b", {{"birentech.com/gpu", "1"}})), "n2: card_0");
  EXPECT_EQ(outcome(engine, device_pod("c", {{"birentech.com/gpu", "1"}})), "slots");
}

TEST(EngineNodes, EachNodeHasTheCoresPerDeviceThatItSays) {
  Engine engine{known_families(), kPacking};
  Node two = capacity_node("two", {{"aws.amazon.com/neuron", 2}, {"aws.amazon.com/neuroncore", 4}});
  two.labels["node.kubernetes.io/instance-type"] = "inf2.24xlarge";
  ASSERT_TRUE(engine.set_node(two));
  ASSERT_TRUE(engine.set_node(capacity_node("four", {{"aws.amazon.com/neuron", 1}, {"aws.amazon.com/neuroncore", 4}})));
  EXPECT_EQ(outcome(engine, device_pod("a", {{"aws.amazon.com/neuroncore", "3"}})), "four: four-AWSNeuron-0");
  EXPECT_EQ(device_named(engine, "four-AWSNeuron-0").use.cores, 0b0111);
  EXPECT_EQ(outcome(engine, device_pod("b", {{"aws.amazon.com/neuroncore", "4"}})),
            "two: two-AWSNeuron-0, two-AWSNeuron-1");
}

TEST(EngineNodes, AHardSliceDoesNotGoToANodeThatSharesInSoftwareNorTheOtherWayRound) {
  Engine engine{known_families(), kPacking};
  Node soft = plugin_node("soft", "hami.io/node-register-Ascend910B3", "Ascend910B3", 2);
  soft.annotations["hami-vnpu-core"] = "true";
  ASSERT_TRUE(engine.set_node(soft));
  const Texts slice = {{"huawei.com/Ascend910B3", "1"}, {"huawei.com/Ascend910B3-memory", "10000"}};
  const Texts in_software = {{"huawei.com/vnpu-mode", "hami-core"}};
  EXPECT_EQ(outcome(engine, device_pod("a", slice)), "mode");
  EXPECT_EQ(outcome(engine, device_pod("b", slice, in_software)), "soft: soft-0");
  Engine hard_only{known_families(), kPacking};
  ASSERT_TRUE(hard_only.set_node(plugin_node("hard", "hami.io/node-register-Ascend910B3", "Ascend910B3", 2)));
  EXPECT_EQ(outcome(hard_only, device_pod("b", slice, in_software)), "mode");
}

// ---- what is known of pods ----

TEST(EnginePods, WhatAPodHoldsIsReadAnewWithEveryChange) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  ASSERT_TRUE(engine.set_node(gpu_node("n2", 1)));
  ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n1", {{kNvidia, "GPU-n1-0,NVIDIA,1000,10:;"}})));
  ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n1", {{kNvidia, "GPU-n1-1,NVIDIA,2000,20:;"}})));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use, DeviceUse{});
  EXPECT_EQ(device_named(engine, "GPU-n1-1").use.memory, 2000);
  ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n2", {{kNvidia, "GPU-n2-0,NVIDIA,3000,30:;"}})));
  EXPECT_EQ(device_named(engine, "GPU-n1-1").use, DeviceUse{});
  EXPECT_EQ(device_named(engine, "GPU-n2-0").use.memory, 3000);
  EXPECT_EQ(engine.pods(), 1U);
}

TEST(EnginePods, WhatAPodSaidBeforeItsNodeWasKnownIsForgottenWithTheNextWord) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n1", {{kNvidia, "GPU-n1-0,NVIDIA,1000,10:;"}})));
  ASSERT_TRUE(engine.set_node(gpu_node("n2", 1)));
  ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n2", {{kNvidia, "GPU-n2-0,NVIDIA,3000,30:;"}})));
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use, DeviceUse{});
  EXPECT_EQ(device_named(engine, "GPU-n2-0").use.memory, 3000);
}

TEST(EnginePods, APodThatHasEndedHoldsNothing) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  Pod pod = foreign_pod("a", "n1", {{kNvidia, "GPU-n1-0,NVIDIA,1000,10:;"}});
  for (const PodPhase phase : {PodPhase::Succeeded, PodPhase::Failed}) {
    pod.phase = PodPhase::Running;
    ASSERT_TRUE(engine.set_pod(pod));
    EXPECT_EQ(device_named(engine, "GPU-n1-0").use.slots, 1);
    pod.phase = phase;
    ASSERT_TRUE(engine.set_pod(pod));
    EXPECT_EQ(device_named(engine, "GPU-n1-0").use, DeviceUse{});
  }
}

TEST(EnginePods, AskingAgainForAPodThatIsBoundDoesNotGiveUpWhatItHolds) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  ASSERT_TRUE(engine.set_node(gpu_node("n2", 1)));
  const Pod pod = gpu_pod("a", 50000, 10, 1, {{"nvidia.com/use-gpuuuid", "GPU-n1-0"}});
  ASSERT_TRUE(engine.set_pod(bound(engine, pod, place(engine, pod).value())));
  const Placed again = place(engine, gpu_pod("a", 50000, 10, 1, {{"nvidia.com/use-gpuuuid", "GPU-n2-0"}}));
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().sentence, HasSubstr("n1"));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 50000);
  EXPECT_EQ(device_named(engine, "GPU-n2-0").use.memory, 0);
  engine.remove_pod(pod.uid);
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use, DeviceUse{});
}

TEST(EnginePods, AReservationThatNobodyBindsIsGivenUpInTheEnd) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  ASSERT_TRUE(place(engine, gpu_pod("a", 80000, 100)));
  EXPECT_EQ(outcome(engine, gpu_pod("b", 80000, 100)), "memory");
  EXPECT_THAT(engine.expire(kNoon + std::chrono::minutes{5}), ElementsAre("uid-a"));
  EXPECT_EQ(outcome(engine, gpu_pod("b", 80000, 100)), "n1: GPU-n1-0");
  EXPECT_THAT(engine.expire(kNoon), IsEmpty());
}

TEST(EnginePods, AllFamiliesHoldTheSameWhetherTheirNodeOrTheirPodIsToldFirst) {
  for (const FamilySample& sample : family_samples()) {
    Engine engine{known_families(), kPacking};
    ASSERT_TRUE(engine.set_node(sample.node));
    const Pod pod = device_pod("a", sample.limits);
    const Placed placed = place(engine, pod);
    ASSERT_TRUE(placed) << sample.family << ": " << placed.error().sentence;
    const Pod told = bound(engine, pod, *placed);
    Engine again{known_families(), kPacking};
    ASSERT_TRUE(again.set_pod(told)) << sample.family;
    ASSERT_TRUE(again.set_node(sample.node));
    for (const BookedDevice& device : engine.nodes()[placed->node].devices)
      EXPECT_EQ(device_named(again, device.uuid).use, device.use) << sample.family << " " << device.uuid;
    again.remove_pod(told.uid);
    for (const BookedDevice& device : again.nodes()[0].devices)
      EXPECT_EQ(device.use, DeviceUse{}) << sample.family << " " << device.uuid;
  }
}

}  // namespace
}  // namespace kiboko
