// What foreign hands write on nodes and pods: never a crash, an error that says where, and no capacity for nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/annotation.h"
#include "model/pod_marks.h"
#include "sched/vendor_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

const char* const kNvidia = "hami.io/vgpu-devices-allocated";

std::vector<std::string> hostile_texts() {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "[";
  std::string objects;
  for (int i = 0; i < 20'000; ++i) objects += R"({"a":)";
  return {"",
          " ",
          "null",
          "{}",
          "[]",
          "[null]",
          "[[]]",
          "[1]",
          "NaN",
          "[NaN]",
          R"([{"id":"x","count":-1}])",
          R"([{"id":"x","count":1e999,"devmem":NaN}])",
          R"([{"id":"x","count":99999999999999999999999,"devmem":18446744073709551615}])",
          R"([{"id":"x","count":2147483647,"devmem":2147483647,"devcore":2147483647,"health":true}])",
          R"([{"id":"x","index":4294967296}])",
          R"([{"id":"x","mode":"mig","health":true,"count":7,"migProfiles":[{"placements":[{"start":-1}]}]}])",
          R"([{"uuid":"x","totalDevCount":-5}])",
          R"({"devices":[{"index":"99999999999999999999","capacity":"-3"}],"profiles":{"0g.0gb":1}})",
          R"({"devices":[{"index":0,"capacity":6}],"profiles":{"999999g.9gb":"x"}})",
          "x,1,2,3,4,5:",
          "x,-1,2,3,DCU,0,true:",
          "x,99999999999999999999,2,3,DCU,0,true:",
          "x,1,2,3,DCU,NaN,true,0,hami:",
          "\xff\xfe\xfd",
          "[{\"id\":\"\xc3\x28\"}]",
          std::string("a\0b", 3),
          std::string(1U << 20U, 'x'),
          std::string(1U << 20U, '['),
          std::string(1U << 20U, ':'),
          std::string(200'000, ','),
          deep,
          objects};
}

// ---- nodes ----

// The annotations of nodes that the engine reads, with the family that they are of.
std::vector<std::pair<std::string, std::string>> node_keys() {
  std::vector<std::pair<std::string, std::string>> keys = {{"hami.io/device-cordon", ""},
                                                           {std::string(kPairScoresKey), ""},
                                                           {"metax-tech.com/gpu.topology.losses", ""},
                                                           {"metax-tech.com/gpu.topology.scores", ""},
                                                           {"hami-vnpu-core", ""}};
  for (const vendors::Family& family : known_families().families())
    if (family.discovery.source == vendors::Discovery::Source::Annotation)
      keys.emplace_back(family.discovery.key, family.key);
  return keys;
}

TEST(EngineHostile, WhateverANodeSaysTheErrorNamesNodeAndKeyAndOtherFamiliesGoOn) {
  Engine engine{known_families(), kPacking};
  for (const auto& [key, family] : node_keys())
    for (const std::string& text : hostile_texts()) {
      Node node = key == "hami.io/node-nvidia-register" ? Node{} : gpu_node("n1", 1);
      node.name = "n1";
      node.capacity["enflame.com/gcu"] = 1;
      node.capacity["metax-tech.com/gpu"] = 1;
      node.annotations[key] = text;
      const auto set = engine.set_node(node);
      if (!set) {
        const std::string of_family = fmt::format("node n1: {}: device '", family);
        EXPECT_THAT(set.error().message, AnyOf(StartsWith(of_family), StartsWith("node n1: annotation " + key + ": ")));
        EXPECT_LT(set.error().message.size(), 1000U) << key;
      }
      EXPECT_EQ(outcome(engine, device_pod("g", {{"enflame.com/gcu", "1"}})), "n1: n1-GCU-0") << key;
      EXPECT_EQ(outcome(engine, device_pod("m", {{"metax-tech.com/gpu", "1"}})), "n1: n1-metax-0") << key;
      engine.remove_pod("uid-g");
      engine.remove_pod("uid-m");
    }
}

TEST(EngineHostile, WhateverANodeSaysOfItsDevicesAsksForThemAreAnswered) {
  Engine engine{known_families(), kPacking};
  const auto samples = family_samples();
  for (const FamilySample& sample : samples)
    for (const auto& [key, value] : sample.node.annotations)
      for (const std::string& text : hostile_texts()) {
        Node node = sample.node;
        node.annotations[key] = text;
        static_cast<void>(engine.set_node(node));
        const Placed placed = place(engine, device_pod("p", sample.limits));
        if (placed) static_cast<void>(engine.annotations_for(device_pod("p", sample.limits), *placed, kNoon));
        engine.remove_pod("uid-p");
      }
}

TEST(EngineHostile, AbsurdCapacitiesMakeNoDevices) {
  for (const FamilySample& sample : family_samples())
    for (const auto& [resource, amount] : sample.node.capacity)
      for (const std::int64_t absurd :
           {INT64_MAX, INT64_MAX / 2, std::int64_t{1} << 40U, INT64_MIN, std::int64_t{-1}}) {
        Engine engine{known_families(), kPacking};
        Node node = sample.node;
        node.capacity[resource] = absurd;
        const auto set = engine.set_node(node);
        if (!set) {
          EXPECT_THAT(set.error().message, AllOf(StartsWith("node " + node.name), HasSubstr(sample.family)));
        }
        EXPECT_LE(engine.nodes()[0].devices.size(), kMaxNodeDevices);
        static_cast<void>(place(engine, device_pod("p", sample.limits)));
      }
}

TEST(EngineHostile, AModeOfAnotherFamilyOpensNoDoor) {
  const auto mig = [](RegisteredDevice& device) {
    device.mode = "mig";
    device.memory = MiB{1000};
  };
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(plugin_node("n", "hami.io/node-dcu-register", "DCU-K100", 1, mig)));
  const auto dcu = [](const char* memory) {
    return device_pod("p", {{"hygon.com/dcunum", "1"}, {"hygon.com/dcumem", memory}, {"hygon.com/dcucores", "10"}});
  };
  EXPECT_EQ(outcome(engine, dcu("1001")), "memory");
  EXPECT_EQ(outcome(engine, dcu("1000")), "n: n-0");
}

TEST(EngineHostile, ADeviceThatIsThereTwiceIsRefusedAndNotCountedTwice) {
  Engine engine{known_families(), kPacking};
  const auto twin = [](RegisteredDevice& device) { device.uuid.text = "GPU-x"; };
  const auto set = engine.set_node(gpu_node("n", 2, twin));
  ASSERT_FALSE(set);
  EXPECT_THAT(set.error().message, AllOf(StartsWith("node n: "), HasSubstr("'GPU-x'")));
  EXPECT_EQ(outcome(engine, gpu_pod("p", 1, 1)), "node_unreadable");
}

TEST(EngineHostile, WhatIsGivenAndWhatIsExplainedAgreeWhereAnInstanceHasMoreMemoryThanItsDevice) {
  Engine engine{known_families(), kPacking};
  const auto mig = [](RegisteredDevice& device) {
    device.mode = "mig";
    device.memory = MiB{};
    device.mig_profiles = {{"1g.5gb", MiB{4864}, CoreUnits{15}, 1, {{0, 1}}}};
  };
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1, mig)));
  EXPECT_EQ(outcome(engine, gpu_pod("first", 4000, 10)), "n: GPU-n-0");
  EXPECT_EQ(outcome(engine, gpu_pod("second", 4000, 10)), "mig");
}

TEST(EngineHostile, MoreDevicesThanANodeMayHaveAreRefusedByName) {
  Engine engine{known_families(), kPacking};
  Node node = gpu_node("n", 60);
  node.capacity["enflame.com/gcu"] = 5;
  const auto set = engine.set_node(node);
  ASSERT_FALSE(set);
  EXPECT_THAT(set.error().message, HasSubstr("65 devices"));
}

TEST(EngineHostile, ModelsThatChangeForEverAreBounded) {
  Engine engine{known_families(), kPacking};
  for (int round = 0; round < 70; ++round) {
    const auto rename = [&](RegisteredDevice& device) {
      device.type = fmt::format("NVIDIA {}-{}", round, device.index);
      device.mode = fmt::format("mode-{}", round);
    };
    ASSERT_TRUE(engine.set_node(gpu_node("n", 64, rename)));
  }
  EXPECT_LT(engine.types().size(), 5000U);
  EXPECT_EQ(outcome(engine, gpu_pod("p", 1, 1)), "n: GPU-n-0");
}

// ---- pods ----

TEST(EngineHostile, WhateverAPodSaysTheErrorNamesPodKeyAndPlace) {
  const Node node = gpu_node("n", 1);
  std::vector<std::string> keys = {std::string(kMigAllocationsKey)};
  for (const vendors::Family& family : known_families().families()) keys.push_back(family.emission.allocated);
  std::vector<std::string> texts = hostile_texts();
  for (const char* more : {"GPU-n-0,NVIDIA,-1,0:;", "GPU-n-0,NVIDIA,1,-1:;", "GPU-n-0,NVIDIA,NaN,0:;",
                           "GPU-n-0,NVIDIA,1:;", "GPU-n-0,NVIDIA,99999999999999999999,0:;", ",,,:", ",NVIDIA,1,1:;",
                           R"([{"containerIndex":-1}])", R"([{"containerIndex":0,"gpuUUID":"GPU-n-0","profile":"x"}])"})
    texts.emplace_back(more);
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(node));
  for (const std::string& key : keys)
    for (const std::string& text : texts) {
      const Pod pod = foreign_pod("a", "n", {{key, text}});
      const auto set = engine.set_pod(pod);
      if (!set) {
        EXPECT_THAT(set.error().message, StartsWith("pod default/a: annotation " + key + ": "));
        EXPECT_LT(set.error().message.size(), 500U);
        EXPECT_EQ(outcome(engine, gpu_pod("p", 1, 1)), "node_unreadable");
      }
      const DeviceUse& use = device_named(engine, "GPU-n-0").use;
      EXPECT_TRUE(use.memory >= 0 && use.cores >= 0 && use.slots >= 0) << key;
      engine.remove_pod(pod.uid);
      EXPECT_EQ(device_named(engine, "GPU-n-0").use, DeviceUse{});
      EXPECT_EQ(engine.nodes()[0].devices.size(), 1U);
      EXPECT_EQ(outcome(engine, gpu_pod("q", 80000, 100)), "n: GPU-n-0") << key;
      engine.remove_pod("uid-q");
    }
}

TEST(EngineHostile, HugeHoldingsNeverWrapIntoFreeCapacity) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1)));
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "GPU-n-0,NVIDIA,2147483647,2147483647:";
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(engine.set_pod(foreign_pod(fmt::format("p{}", i), "n", {{kNvidia, many + ";"}})));
  EXPECT_GT(device_named(engine, "GPU-n-0").use.memory, INT64_C(2147483647) * 14999);
  EXPECT_EQ(outcome(engine, gpu_pod("q", 1, 0)), "slots");
}

TEST(EngineHostile, WhatAPodSaysOfAnotherFamilysDeviceTakesNothingOfIt) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1)));
  ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n", {{"hami.io/dcu-devices-allocated", "GPU-n-0,DCU,80000,100:;"}})));
  EXPECT_EQ(outcome(engine, gpu_pod("p", 80000, 100)), "n: GPU-n-0");
  engine.remove_pod("uid-a");
  EXPECT_EQ(engine.nodes()[0].devices.size(), 1U);
}

std::string ghosts(int first, int count) {
  std::string text;
  for (int i = first; i < first + count; ++i) text += fmt::format("GPU-ghost-{},NVIDIA,1000,10:", i);
  return text + ";";
}

TEST(EngineHostile, DevicesThatOnlyPodsKnowNeverPushRealOnesOut) {
  // The pod may be told before its node, as after a restart, or after it.
  for (const bool node_first : {true, false}) {
    Engine engine{known_families(), kPacking};
    if (node_first) {
      ASSERT_TRUE(engine.set_node(gpu_node("n", 8)));
      const auto set = engine.set_pod(foreign_pod("a", "n", {{kNvidia, ghosts(0, 64)}}));
      ASSERT_FALSE(set);
      EXPECT_THAT(set.error().message, AllOf(HasSubstr("pod default/a"), HasSubstr("GPU-ghost-56")));
    } else {
      ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n", {{kNvidia, ghosts(0, 64)}})));
      const auto set = engine.set_node(gpu_node("n", 8));
      ASSERT_FALSE(set);
      EXPECT_THAT(set.error().message, AllOf(StartsWith("pod default/a"), HasSubstr("GPU-ghost-")));
    }
    for (int i = 0; i < 8; ++i) EXPECT_TRUE(device_named(engine, fmt::format("GPU-n-{}", i)).present) << i;
    EXPECT_EQ(outcome(engine, gpu_pod("p", 1000, 10)), "node_unreadable");
    engine.remove_pod("uid-a");
    EXPECT_EQ(outcome(engine, gpu_pod("p", 1000, 10)), "n: GPU-n-0");
    EXPECT_EQ(engine.nodes()[0].devices.size(), 8U);
  }
}

TEST(EngineHostile, AFewDevicesThatOnlyPodsKnowAreRememberedBesideTheRealOnes) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n", {{kNvidia, ghosts(0, 40)}})));
  ASSERT_TRUE(engine.set_node(gpu_node("n", 8)));
  ASSERT_FALSE(engine.set_pod(foreign_pod("b", "n", {{kNvidia, ghosts(100, 40)}})));
  engine.remove_pod("uid-b");
  EXPECT_EQ(outcome(engine, gpu_pod("p", 1000, 10, 8)).substr(0, 10), "n: GPU-n-0");
  EXPECT_EQ(device_named(engine, "GPU-ghost-3").use.memory, 1000);
}

// ---- asks ----

TEST(EngineHostile, WhateverAPodAsksForIsPlacedOrRefusedByName) {
  Engine engine{known_families(), kPacking};
  for (const FamilySample& sample : family_samples()) ASSERT_TRUE(engine.set_node(sample.node));
  for (const FamilySample& sample : family_samples())
    for (const auto& [resource, amount] : sample.limits)
      for (const char* absurd :
           {"", "-1", "0", "NaN", "1e99", "9223372036854775807", "9223372036854775808", "2147483647", "2147483648",
            "1Ei", "0x10", "\xff", "1e-99", "340282366920938463463374607431768211456", "4294967296"}) {
        Texts limits = sample.limits;
        limits[resource] = absurd;
        const Pod pod = device_pod("p", limits);
        const Placed placed = place(engine, pod);
        if (placed) {
          EXPECT_TRUE(engine.annotations_for(pod, *placed, kNoon)) << resource << " " << absurd;
        } else if (placed.error().code == RefusalCode::Ask) {
          EXPECT_THAT(placed.error().sentence, StartsWith("container main: ")) << resource << " " << absurd;
        }
        engine.remove_pod(pod.uid);
      }
  for (const BookedNode& node : engine.nodes())
    for (const BookedDevice& device : node.devices) EXPECT_EQ(device.use, DeviceUse{}) << device.uuid;
}

TEST(EngineHostile, ListsOfNamesWithoutEndAreRefusedBecauseEveryDeviceWouldBeHeldAgainstThem) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1)));
  std::string list = "GPU-n-0";
  for (int i = 0; i < 5000; ++i) list += fmt::format(",{}", i);
  for (const char* key :
       {"nvidia.com/use-gputype", "nvidia.com/nouse-gputype", "nvidia.com/use-gpuuuid", "nvidia.com/nouse-gpuuuid"}) {
    const Placed placed = place(engine, gpu_pod("p", 1, 1, 1, {{key, list}}));
    ASSERT_FALSE(placed) << key;
    EXPECT_EQ(placed.error().code, RefusalCode::Ask);
    EXPECT_THAT(placed.error().sentence, HasSubstr(key));
  }
}

TEST(EngineHostile, WishesOfAMebibyteAreAnswered) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 8)));
  for (const char* key :
       {"hami.io/gpu-scheduler-policy", "hami.io/node-scheduler-policy", "hami.io/device-scoring-weights",
        "nvidia.com/vgpu-mode", "nvidia.com/numa-bind", "huawei.com/vnpu-mode", "metax-tech.com/sgpu-qos-policy"})
    for (const std::string& text :
         {std::string(1U << 20U, 'm'), std::string(1U << 20U, ','), std::string(1U << 20U, '=')})
      static_cast<void>(place(engine, gpu_pod("p", 1, 1, 1, {{key, text}})));
}

// ---- older releases ----

TEST(EngineOldForms, RowsOfSevenFieldsAreDevices) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(annotated_node("n", "hami.io/node-nvidia-register",
                                             "GPU-a,10,81920,100,NVIDIA-H100,0,true:GPU-b,10,81920,100,NVIDIA-H100,1,"
                                             "true:GPU-c,10,81920,100,NVIDIA,1,false:")));
  EXPECT_EQ(outcome(engine, gpu_pod("p", 1000, 10, 2, {{"nvidia.com/vgpu-mode", "hami-core"}})), "n: GPU-a, GPU-b");
  EXPECT_EQ(outcome(engine, gpu_pod("q", 1000, 10, 3)), "unhealthy");
}

TEST(EngineOldForms, AnOldMigNameHoldsItsGpuAndTheGpuTakesNothingMore) {
  const auto mig = [](RegisteredDevice& device) {
    device.mode = "mig";
    device.mig_profiles = {{"1g.10gb", MiB{9856}, CoreUnits{15}, 1, {{0, 1}, {1, 1}}}};
  };
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 2, mig)));
  ASSERT_TRUE(engine.set_pod(foreign_pod("a", "n", {{kNvidia, "GPU-n-0[2-1],NVIDIA,9856,15:;"}})));
  EXPECT_EQ(device_named(engine, "GPU-n-0").use.memory, 9856);
  EXPECT_EQ(outcome(engine, gpu_pod("p", 1000, 0)), "n: GPU-n-1");
  engine.remove_pod("uid-a");
  EXPECT_FALSE(device_named(engine, "GPU-n-0").blocked);
}

TEST(EngineOldForms, AReservedInstanceThatNoDeviceOfThePodClaimsIsInUse) {
  const auto mig = [](RegisteredDevice& device) {
    device.mode = "mig";
    device.mig_profiles = {{"3g.40gb", MiB{40192}, CoreUnits{46}, 4, {{0, 4}, {4, 4}}}};
  };
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1, mig)));
  ASSERT_TRUE(engine.set_pod(foreign_pod(
      "a", "n",
      {{std::string(kMigAllocationsKey),
        R"([{"containerIndex":0,"deviceIndex":0,"gpuUUID":"GPU-n-0","profile":"3g.40gb","placement":{"start":4,"size":4}}])"}})));
  EXPECT_EQ(place(engine, gpu_pod("p", 1000, 0)).value().taken[0].mig, (MigPlacement{0, 4}));
  EXPECT_EQ(outcome(engine, gpu_pod("q", 1000, 0)), "mig");
}

}  // namespace
}  // namespace kiboko
