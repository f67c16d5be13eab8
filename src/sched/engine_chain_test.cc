// The tests that a device must pass, in their order, and what pods may wish for: policies, modes, selections, quotas.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/vendor_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::HasSubstr;
using testing::StartsWith;

// ---- the order of refusals ----

// A device that fails all tests from one on: it is refused by the first of them.
struct Fault {
  const char* reason;
  std::function<void(Node&, RegisteredDevice&, Pod&)> cause;
};

TEST(EngineChain, ADeviceIsRefusedByTheFirstTestThatItFails) {
  const Fault faults[] = {
      {"unhealthy", [](Node&, RegisteredDevice& device, Pod&) { device.healthy = false; }},
      {"cordoned", [](Node& node, RegisteredDevice&, Pod&) { node.annotations["hami.io/device-cordon"] = "GPU-n-0"; }},
      {"type", [](Node&, RegisteredDevice&, Pod& pod) { pod.annotations["nvidia.com/use-gputype"] = "A100"; }},
      {"mode", [](Node&, RegisteredDevice&, Pod& pod) { pod.annotations["nvidia.com/vgpu-mode"] = "mig"; }},
      {"device", [](Node&, RegisteredDevice&, Pod& pod) { pod.annotations["nvidia.com/nouse-gpuuuid"] = "GPU-n-0"; }},
      {"slots", [](Node&, RegisteredDevice& device, Pod&) { device.slots = 1; }},
      {"mutex", [](Node&, RegisteredDevice&, Pod& pod) { pod.annotations["hami.io/gpu-scheduler-policy"] = "mutex"; }},
      {"memory", [](Node&, RegisteredDevice&, Pod& pod) { pod.containers[0].limits["nvidia.com/gpumem"] = "81000"; }},
      {"cores", [](Node&, RegisteredDevice&, Pod& pod) { pod.containers[0].limits["nvidia.com/gpucores"] = "95"; }},
  };
  for (std::size_t first = 0; first < std::size(faults); ++first) {
    Engine engine{known_families(), kPacking};
    Node node = gpu_node("n", 1);
    RegisteredDevice device = gpu("n", 0);
    Pod pod = gpu_pod("p", 1000, 10);
    ASSERT_TRUE(
        engine.set_pod(foreign_pod("other", "n", {{"hami.io/vgpu-devices-allocated", "GPU-n-0,NVIDIA,2000,10:;"}})));
    for (std::size_t i = first; i < std::size(faults); ++i) faults[i].cause(node, device, pod);
    const std::vector<RegisteredDevice> devices = {device};
    node.annotations["hami.io/node-nvidia-register"] = encode_registration_json(devices);
    ASSERT_TRUE(engine.set_node(node));
    EXPECT_EQ(outcome(engine, pod), faults[first].reason);
  }
}

TEST(EngineChain, ComputeIsRefusedAsMissingThenAsSharedThenAsGivenAway) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1)));
  ASSERT_TRUE(place(engine, gpu_pod("none", 1000, 0)));
  EXPECT_EQ(outcome(engine, gpu_pod("all", 1000, 100)), "exclusive");
  ASSERT_TRUE(place(engine, gpu_pod("most", 1000, 90)));
  EXPECT_EQ(outcome(engine, gpu_pod("all", 1000, 100)), "cores");
  ASSERT_TRUE(place(engine, gpu_pod("rest", 1000, 10)));
  EXPECT_EQ(outcome(engine, gpu_pod("no-limit", 1000, 0)), "exhausted");
}

TEST(EngineChain, MoreThanAllComputeIsAllOfIt) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1)));
  EXPECT_EQ(place(engine, gpu_pod("a", 1000, 150)).value().taken[0].cores, 100);
}

TEST(EngineChain, APercentageIsRoundedDownAndMemoryWinsOverIt) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1, [](RegisteredDevice& device) { device.memory = MiB{32511}; })));
  const Texts half = {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem-percentage", "50"}, {"nvidia.com/gpucores", "30"}};
  EXPECT_EQ(place(engine, device_pod("a", half)).value().taken[0].memory, 16255);
  Texts both = half;
  both["nvidia.com/gpumem"] = "100";
  EXPECT_EQ(place(engine, device_pod("b", both)).value().taken[0].memory, 100);
}

TEST(EngineChain, WhatADeviceIsRegisteredWithMayBeMoreThanItHas) {
  Engine engine{known_families(), kPacking};
  const auto scaled = [](RegisteredDevice& device) {
    device.memory = MiB{163840};
    device.cores = CoreUnits{200};
  };
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1, scaled)));
  EXPECT_EQ(outcome(engine, gpu_pod("a", 81920, 100)), "n: GPU-n-0");
  EXPECT_EQ(outcome(engine, gpu_pod("b", 81920, 100)), "n: GPU-n-0");
  EXPECT_EQ(outcome(engine, gpu_pod("c", 1, 0)), "memory");
  engine.remove_pod("uid-b");
  ASSERT_TRUE(place(engine, gpu_pod("d", 1, 100)));
  EXPECT_EQ(outcome(engine, gpu_pod("e", 1, 0)), "exhausted");
}

TEST(EngineChain, TypesArePartsOfModelNamesAndUuidsAreWhole) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 2, [](RegisteredDevice& device) {
    device.type = device.index == 0 ? "NVIDIA A100-SXM4-40GB" : "NVIDIA H100 80GB HBM3";
  })));
  const auto wish = [&](const char* key, const char* value) {
    return outcome(engine, gpu_pod("p", 1, 1, 1, {{std::string("nvidia.com/") + key, value}}));
  };
  EXPECT_EQ(wish("use-gputype", "v100, a100"), "n: GPU-n-0");
  EXPECT_EQ(wish("nouse-gputype", "A100"), "n: GPU-n-1");
  EXPECT_EQ(wish("use-gputype", "  "), "n: GPU-n-0");
  EXPECT_EQ(wish("use-gpuuuid", "GPU-n, GPU-n-1 "), "n: GPU-n-1");
  EXPECT_EQ(wish("nouse-gpuuuid", "GPU-n-0,GPU-n-1"), "device");
  EXPECT_EQ(wish("vgpu-mode", "mig,hami-core"), "n: GPU-n-0");
}

// ---- policies ----

std::vector<Node> numa_nodes(std::initializer_list<int> numa) {
  return {gpu_node("n", static_cast<unsigned>(numa.size()),
                   [&](RegisteredDevice& device) { device.numa = std::data(numa)[device.index]; })};
}

TEST(EnginePolicy, AllDevicesOfABoundContainerAreOfOneNumaNode) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(numa_nodes({0, 1, 0, 1, 1})[0]));
  Texts bind = {{"nvidia.com/numa-bind", "true"}};
  EXPECT_EQ(outcome(engine, gpu_pod("a", 1000, 10, 3, bind)), "n: GPU-n-1, GPU-n-3, GPU-n-4");
  EXPECT_EQ(outcome(engine, gpu_pod("b", 1000, 10, 4, bind)), "numa");
  bind["hami.io/gpu-scheduler-policy"] = "topology-aware";
  EXPECT_EQ(outcome(engine, gpu_pod("c", 1000, 10, 2, bind)), "n: GPU-n-0, GPU-n-2");
  EXPECT_THAT(outcome(engine, gpu_pod("d", 1000, 10, 4, {{"nvidia.com/numa-bind", "maybe"}})), StartsWith("n: "));
}

TEST(EnginePolicy, WordsOfAListOrderDevicesInTheirOrder) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(numa_nodes({1, 0, 1, 0})[0]));
  for (const auto& [uuid, memory] : {std::pair("GPU-n-0", 30000), {"GPU-n-1", 10000}, {"GPU-n-3", 20000}})
    ASSERT_TRUE(place(engine, gpu_pod(uuid, memory, 0, 1, {{"nvidia.com/use-gpuuuid", uuid}})));
  const auto first = [&](const char* policy) {
    return outcome(engine, gpu_pod("p", 1000, 0, 1, {{"hami.io/gpu-scheduler-policy", policy}}));
  };
  EXPECT_EQ(first("binpack"), "n: GPU-n-0");
  EXPECT_EQ(first("spread"), "n: GPU-n-2");
  EXPECT_EQ(first("numa,binpack"), "n: GPU-n-3");
  EXPECT_EQ(first(" numa , spread, numa"), "n: GPU-n-1");
  EXPECT_EQ(first("mutex,binpack"), "n: GPU-n-2");
  EXPECT_EQ(first("whatever"), "n: GPU-n-2");
}

TEST(EnginePolicy, NodesArePackedOrSpreadAsThePodSays) {
  Engine engine{known_families(), kPacking};
  for (const char* name : {"n1", "n2", "n3"}) ASSERT_TRUE(engine.set_node(gpu_node(name, 1)));
  NodeSet second;
  second.add(*engine.find_node("n2"));
  ASSERT_TRUE(engine.place(gpu_pod("a", 30000, 30), &second, kNoon));
  const auto node = [&](const char* policy) {
    return outcome(engine, gpu_pod("p", 1000, 0, 1, {{"hami.io/node-scheduler-policy", policy}}));
  };
  EXPECT_THAT(node("binpack"), StartsWith("n2"));
  EXPECT_THAT(node("spread"), StartsWith("n1"));
  EXPECT_THAT(node("no-such-policy"), StartsWith("n2"));
}

TEST(EnginePolicy, WeightsSayWhatMakesADeviceFull) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 2)));
  const Texts first = {{"nvidia.com/use-gpuuuid", "GPU-n-0"}}, second = {{"nvidia.com/use-gpuuuid", "GPU-n-1"}};
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(place(engine, gpu_pod(name, 100, 0, 1, first)));
  ASSERT_TRUE(place(engine, gpu_pod("d", 70000, 0, 1, second)));
  const auto device = [&](const char* weights) {
    return place(engine,
                 gpu_pod("p", 1000, 0, 1,
                         {{"hami.io/gpu-scheduler-policy", "binpack"}, {"hami.io/device-scoring-weights", weights}}));
  };
  EXPECT_EQ(outcome(engine, device("slot=1,core=0,memory=0")), "n: GPU-n-0");
  EXPECT_EQ(outcome(engine, device(" memory=3 , core=0,slot=1")), "n: GPU-n-1");
  for (const char* wrong : {"", "slot=1", "slot=1,core=1,memory=-1", "slot=0,core=0,memory=0", "slot=1,core=1,memory=x",
                            "slot=1,core=1,memory=1,memory=1", "slot=1;core=1;memory=1", "slot=NaN,core=1,memory=1"}) {
    const Placed placed = device(wrong);
    ASSERT_FALSE(placed) << wrong;
    EXPECT_EQ(placed.error().code, RefusalCode::Ask) << wrong;
    EXPECT_THAT(placed.error().sentence, HasSubstr("hami.io/device-scoring-weights")) << wrong;
  }
}

// ---- quotas ----

const char* const kMemory = "limits.nvidia.com/gpumem";
using Scope = ResourceQuota::Scope;

TEST(EngineQuota, SeveralQuotasOfANamespaceAllHold) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 2)));
  engine.set_quota({"default", "small", {{kMemory, 10000}}, {}, {}});
  engine.set_quota({"default", "large", {{kMemory, 90000}}, {}, {}});
  engine.set_quota({"other", "none", {{kMemory, 0}}, {}, {}});
  EXPECT_EQ(outcome(engine, gpu_pod("a", 10001, 0)), "quota");
  EXPECT_EQ(outcome(engine, gpu_pod("b", 10000, 0)), "n: GPU-n-0");
  engine.remove_quota("default", "small");
  EXPECT_EQ(outcome(engine, gpu_pod("c", 60000, 0)), "n: GPU-n-0");
  EXPECT_EQ(outcome(engine, gpu_pod("d", 20001, 0)), "quota");
  engine.remove_quota("default", "large");
  EXPECT_EQ(outcome(engine, gpu_pod("d", 20001, 0)), "n: GPU-n-1");
}

TEST(EngineQuota, ScopesSayWhichPodsCount) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 2)));
  engine.set_quota({"default", "jobs", {{kMemory, 1000}}, {Scope::Terminating}, {}});
  engine.set_quota({"default", "low", {{kMemory, 2000}}, {}, {"low", "lower"}});
  engine.set_quota({"default", "both", {{kMemory, 0}}, {Scope::BestEffort, Scope::NotTerminating}, {}});
  Pod plain = gpu_pod("a", 5000, 0);
  EXPECT_EQ(outcome(engine, plain), "n: GPU-n-0");
  Pod job = gpu_pod("b", 1001, 0);
  job.has_deadline = true;
  EXPECT_EQ(outcome(engine, job), "quota");
  Pod low = gpu_pod("c", 2001, 0);
  low.priority_class = "low";
  EXPECT_EQ(outcome(engine, low), "quota");
  Pod best_effort = gpu_pod("d", 1, 0);
  best_effort.best_effort = true;
  EXPECT_EQ(outcome(engine, best_effort), "quota");
  best_effort.has_deadline = true;
  EXPECT_EQ(outcome(engine, best_effort), "n: GPU-n-0");
}

TEST(EngineQuota, PercentagesWholeDevicesAndMigInstancesCountWithWhatTheyTake) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 1)));
  engine.set_quota({"default", "q", {{kMemory, 40959}}, {}, {}});
  EXPECT_EQ(outcome(engine, device_pod("a", {{"nvidia.com/gpumem-percentage", "50"}})), "quota");
  EXPECT_EQ(outcome(engine, device_pod("b", {{"nvidia.com/gpu", "1"}})), "quota");
  EXPECT_EQ(outcome(engine, device_pod("c", {{"nvidia.com/gpumem-percentage", "49"}})), "n: GPU-n-0");
  Engine cut{known_families(), kPacking};
  ASSERT_TRUE(cut.set_node(gpu_node("n", 1, [](RegisteredDevice& device) {
    device.mode = "mig";
    device.mig_profiles = {{"3g.40gb", MiB{40192}, CoreUnits{46}, 4, {{0, 4}, {4, 4}}}};
  })));
  cut.set_quota({"default", "q", {{kMemory, 40191}}, {}, {}});
  EXPECT_EQ(outcome(cut, gpu_pod("d", 1000, 0)), "quota");
}

TEST(EngineQuota, EveryFamilyIsHeldToItInTheUnitInWhichItAsks) {
  const auto with_quota = [](const FamilySample& sample, const char* key, std::int64_t most) {
    Engine engine{known_families(), kPacking};
    EXPECT_TRUE(engine.set_node(sample.node));
    engine.set_quota({"default", "q", {{key, most}}, {}, {}});
    const std::string first = outcome(engine, device_pod("a", sample.limits));
    return first == "quota" ? std::string("none") : outcome(engine, device_pod("b", sample.limits));
  };
  // What the sample takes, and the quota that it counts against.
  struct Case {
    const char *family, *key;
    std::int64_t amount;
  };
  const Case cases[] = {{"AMD", "limits.amd.com/gpumem", 1000},
                        {"AMD", "limits.amd.com/gpucores", 25},
                        {"Ascend910B3", "limits.huawei.com/Ascend910B3-memory", 16384},
                        {"AWSNeuron", "limits.aws.amazon.com/neuroncore", 1},
                        {"MLU", "limits.cambricon.com/mlu.smlu.vmemory", 20},
                        {"MLU", "limits.cambricon.com/mlu.smlu.vcore", 10},
                        {"DCU", "limits.hygon.com/dcumem", 2000},
                        {"DCU", "limits.hygon.com/dcucores", 60},
                        {"MR-V100", "limits.iluvatar.ai/MR-V100.vMem", 64},
                        {"XPU", "limits.kunlunxin.com/vxpu-memory", 24576},
                        {"Metax-SGPU", "limits.metax-tech.com/vmemory", 4},
                        {"Metax-SGPU", "limits.metax-tech.com/vcore", 30},
                        {"Mthreads", "limits.mthreads.com/sgpu-memory", 8},
                        {"Mthreads", "limits.mthreads.com/sgpu-core", 4}};
  for (const FamilySample& sample : family_samples())
    for (const Case& one : cases) {
      if (sample.family != one.family) continue;
      EXPECT_EQ(with_quota(sample, one.key, one.amount - 1), "none") << one.key;
      EXPECT_EQ(with_quota(sample, one.key, one.amount), "quota") << one.key;
      EXPECT_THAT(with_quota(sample, one.key, 2 * one.amount), StartsWith(sample.node.name)) << one.key;
    }
}

TEST(EngineQuota, ComputeOfSeveralDevicesIsCountedOnceForEach) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(plugin_node("n", "hami.io/node-MR-V100-register", "MR-V100", 4)));
  engine.set_quota({"default", "q", {{"limits.iluvatar.ai/MR-V100.vCore", 200}}, {}, {}});
  EXPECT_THAT(outcome(engine, device_pod("a", {{"iluvatar.ai/MR-V100-vgpu", "2"}})), StartsWith("n: "));
  EXPECT_EQ(outcome(engine, device_pod("b", {{"iluvatar.ai/MR-V100-vgpu", "1"}, {"iluvatar.ai/MR-V100.vCore", "1"}})),
            "quota");
}

TEST(EngineQuota, InitContainersBeforeAppsAreNotTakenForApps) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n", 2)));
  engine.set_quota({"default", "q", {{kMemory, 30000}}, {}, {}});
  const Texts part = {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "20000"}};
  const auto init = ContainerKind::Init;
  EXPECT_EQ(outcome(engine, pod_of("a", {container_of("x", part), container_of("y", part)})), "quota");
  EXPECT_THAT(outcome(engine, pod_of("b", {container_of("x", part, init), container_of("y", part, init),
                                           container_of("z", part)})),
              StartsWith("n: "));
}

TEST(EngineQuota, AnAbsurdLimitIsNoTrap) {
  Engine engine{known_families(), kPacking};
  for (const FamilySample& sample : family_samples()) ASSERT_TRUE(engine.set_node(sample.node));
  for (const char* key : {kMemory, "limits.cambricon.com/mlu.smlu.vmemory", "limits.metax-tech.com/vmemory"})
    engine.set_quota({"default", key, {{key, INT64_MAX}, {"limits.nvidia.com/gpucores", INT64_MAX}}, {}, {}});
  for (const FamilySample& sample : family_samples())
    EXPECT_THAT(outcome(engine, device_pod("a", sample.limits)), StartsWith(sample.node.name)) << sample.family;
}

}  // namespace
}  // namespace kiboko
