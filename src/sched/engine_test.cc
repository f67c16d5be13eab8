#include "sched/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/engine_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::ElementsAre;
using testing::HasSubstr;

const EngineSettings kPack{.node_policy = Policy::Binpack};

std::string where(const Engine& engine, const tl::expected<PodPlacement, PodRefusal>& placed) {
  if (!placed) return std::string(name(placed.error().code));
  return placed->node == kNoNode ? "any" : engine.nodes()[placed->node].name;
}

TEST(Engine, APodThatWantsNoDeviceMayGoAnywhere) {
  Engine engine{families(), {}};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  EXPECT_EQ(where(engine, engine.place(device_pod("p", {{"cpu", "4"}}), nullptr, kNoon)), "any");
  EXPECT_EQ(engine.pods(), 0U);
}

TEST(Engine, AShareIsTakenAtOnceAndGivenBackWithThePod) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  EXPECT_EQ(where(engine, engine.place(gpu_pod("a", 50000, 50), nullptr, kNoon)), "n1");
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 50000);
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 50000, 20), nullptr, kNoon)), "memory");
  EXPECT_EQ(where(engine, engine.place(gpu_pod("c", 1000, 60), nullptr, kNoon)), "cores");
  engine.remove_pod("uid-a");
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use, DeviceUse{});
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 50000, 20), nullptr, kNoon)), "n1");
}

TEST(Engine, PlacingAPodAgainGivesUpItsReservation) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(where(engine, engine.place(gpu_pod("a", 50000, 50), nullptr, kNoon)), "n1");
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.slots, 1);
}

TEST(Engine, APodThatIsBoundIsNotPlacedAgain) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  const Pod pod = gpu_pod("a", 50000, 50);
  const auto placed = engine.place(pod, nullptr, kNoon);
  ASSERT_TRUE(placed);
  ASSERT_TRUE(engine.set_pod(bound(engine, pod, *placed)));
  const auto again = engine.place(pod, nullptr, kNoon);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().sentence, "pod default/a is on node n1");
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.slots, 1);
}

TEST(Engine, ManyModelsAndModesAreToldApartInFullButForPrices) {
  Engine engine{families(), kPack};
  for (int i = 0; i < 5000; i += 50)
    ASSERT_TRUE(engine.set_node(gpu_node(fmt::format("n{}", i), 50, [&](RegisteredDevice& device) {
      device.type = fmt::format("NVIDIA X{}", i + static_cast<int>(device.index));
      device.mode = fmt::format("m{}", device.index);
    })));
  EXPECT_EQ(where(engine, engine.place(gpu_pod("a", 10, 1, 1, {{"nvidia.com/use-gputype", "X3007"}}), nullptr, kNoon)),
            "n3000");
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 10, 1, 1, {{"nvidia.com/use-gputype", "X9"}}), nullptr, kNoon)),
            "n0");
}

TEST(Engine, OnlyCandidatesAreLookedAt) {
  Engine engine{families(), kPack};
  for (const char* name : {"n1", "n2", "n3"}) ASSERT_TRUE(engine.set_node(gpu_node(name, 1)));
  NodeSet candidates;
  candidates.add(*engine.find_node("n2"));
  EXPECT_EQ(where(engine, engine.place(gpu_pod("a", 80000, 50), &candidates, kNoon)), "n2");
  const auto refused = engine.place(gpu_pod("b", 80000, 50), &candidates, kNoon);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().nodes, ElementsAre(std::pair(*engine.find_node("n2"), RefusalCode::Memory)));
}

TEST(Engine, AReservationLastsUntilItExpiresOrThePodIsBound) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  const Pod a = gpu_pod("a", 1000, 10);
  const auto placed = engine.place(a, nullptr, kNoon);
  ASSERT_TRUE(placed);
  ASSERT_NE(engine.reservation(a.uid), nullptr);
  ASSERT_TRUE(engine.place(gpu_pod("b", 1000, 10), nullptr, kNoon));
  ASSERT_TRUE(engine.set_pod(bound(engine, a, *placed)));
  EXPECT_EQ(engine.reservation(a.uid), nullptr);
  EXPECT_THAT(engine.expire(kNoon), testing::IsEmpty());
  EXPECT_THAT(engine.expire(kNoon + std::chrono::minutes{10}), ElementsAre("uid-b"));
  EXPECT_EQ(engine.pods(), 1U);
}

TEST(Engine, AReservationKeepsItsDevicesWhenTheNodeListsThemInAnotherOrder) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 3)));
  const Pod pod = gpu_pod("a", 1000, 10, 1, {{"nvidia.com/use-gpuuuid", "GPU-n1-2"}});
  ASSERT_TRUE(engine.place(pod, nullptr, kNoon));
  unsigned place = 3;
  const auto reversed = [&](RegisteredDevice& device) { device.uuid.text = fmt::format("GPU-n1-{}", --place); };
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 3, reversed)));
  const auto written = engine.annotations_for(pod, *engine.reservation(pod.uid), kNoon);
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_EQ(written->at("hami.io/vgpu-devices-allocated"), "GPU-n1-2,NVIDIA,1000,10:;");
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  const auto gone = engine.annotations_for(pod, *engine.reservation(pod.uid), kNoon);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().message, "pod default/a: device GPU-n1-2 of node n1 is gone; place the pod again");
}

TEST(Engine, WhatPodsHoldIsTheSameAfterARestartInWhateverOrderItIsTold) {
  Engine first{families(), kPack};
  ASSERT_TRUE(first.set_node(gpu_node("n1", 4)));
  std::vector<Pod> pods;
  for (const auto& [memory, cores] : {std::pair(1000, 10), {20000, 30}, {40000, 60}}) {
    const Pod pod = gpu_pod(fmt::format("p{}", memory), memory, cores, 2);
    const auto placed = first.place(pod, nullptr, kNoon);
    ASSERT_TRUE(placed);
    pods.push_back(bound(first, pod, *placed));
  }
  Engine second{families(), kPack};
  for (const Pod& pod : pods) ASSERT_TRUE(second.set_pod(pod));
  ASSERT_TRUE(second.set_node(gpu_node("n1", 4)));
  for (const BookedDevice& device : first.nodes()[0].devices)
    EXPECT_EQ(device_named(second, device.uuid).use, device.use) << device.uuid;
}

TEST(Engine, WhatIsHeldOfADeviceThatIsGoneIsRememberedUntilItIsBack) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  ASSERT_TRUE(engine.place(gpu_pod("a", 60000, 50), nullptr, kNoon));
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 0)));
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 60000, 10), nullptr, kNoon)), "no_devices");
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 60000, 10), nullptr, kNoon)), "memory");
  engine.remove_node("n1");
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 60000, 10), nullptr, kNoon)), "no_devices");
  engine.remove_pod("uid-a");
  EXPECT_FALSE(engine.find_node("n1"));
}

TEST(Engine, InitContainersRunOneAfterTheOtherAndSidecarsBesideTheRest) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  Pod pod = gpu_pod("a", 30000, 10);
  const Container app = pod.containers.front();
  const auto like = [&](const char* name, ContainerKind kind, int memory) {
    Container container = app;
    container.name = name;
    container.kind = kind;
    container.limits["nvidia.com/gpumem"] = std::to_string(memory);
    return container;
  };
  pod.containers = {like("fetch", ContainerKind::Init, 70000), like("log", ContainerKind::Sidecar, 10000),
                    like("check", ContainerKind::Init, 50000), app};
  const auto placed = engine.place(pod, nullptr, kNoon);
  ASSERT_TRUE(placed);
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 70000);
  Pod running = bound(engine, pod, *placed);
  running.init_done = true;
  ASSERT_TRUE(engine.set_pod(running));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 40000);
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.slots, 2);
}

TEST(Engine, ANodeWhosePodCannotBeReadTakesNothingMore) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  Pod broken = gpu_pod("a", 1000, 10);
  broken.node = "n1";
  broken.annotations["hami.io/vgpu-devices-allocated"] = "GPU-n1-0,NVIDIA,-5,x:;";
  const auto read = engine.set_pod(broken);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("pod default/a: annotation hami.io/vgpu-devices-allocated"));
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 1000, 10), nullptr, kNoon)), "node_unreadable");
  engine.remove_pod(broken.uid);
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 1000, 10), nullptr, kNoon)), "n1");
}

TEST(Engine, AFamilyThatCannotBeReadDoesNotStopTheOthersOfTheNode) {
  Engine engine{families(), kPack};
  Node node = gpu_node("n1", 1);
  node.annotations["hami.io/node-dcu-register"] = "nonsense";
  const auto set = engine.set_node(node);
  ASSERT_FALSE(set);
  EXPECT_THAT(set.error().message, HasSubstr("node n1: annotation hami.io/node-dcu-register"));
  EXPECT_EQ(where(engine, engine.place(device_pod("d", {{"hygon.com/dcunum", "1"}}), nullptr, kNoon)),
            "node_unreadable");
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 1000, 10), nullptr, kNoon)), "n1");
}

TEST(Engine, QuotasHoldMemoryAndComputeOfTheNamespace) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  ASSERT_TRUE(engine.place(gpu_pod("a", 30000, 10), nullptr, kNoon));
  engine.set_quota({"default", "q", {{"limits.nvidia.com/gpumem", 50000}}, {}, {}});
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 20001, 10), nullptr, kNoon)), "quota");
  EXPECT_EQ(where(engine, engine.place(gpu_pod("c", 20000, 10), nullptr, kNoon)), "n1");
  engine.remove_pod("uid-a");
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 20001, 10), nullptr, kNoon)), "n1");
  engine.set_quota({"default", "cores", {{"limits.nvidia.com/gpucores", 0}}, {}, {}});
  EXPECT_EQ(where(engine, engine.place(gpu_pod("d", 1, 0), nullptr, kNoon)), "quota");
}

TEST(Engine, AQuotaCountsWhatRunsAtTheSameTime) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  engine.set_quota({"default", "q", {{"limits.nvidia.com/gpumem", 50000}}, {}, {}});
  Pod pod = gpu_pod("a", 50000, 10);
  Container init = pod.containers.front();
  init.name = "init";
  init.kind = ContainerKind::Init;
  pod.containers.insert(pod.containers.begin(), init);
  pod.annotations["hami.io/gpu-scheduler-policy"] = "spread";
  EXPECT_EQ(where(engine, engine.place(pod, nullptr, kNoon)), "n1");
}

TEST(Engine, DevicesAreOrderedAsThePodSays) {
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 3)));
  ASSERT_TRUE(engine.place(gpu_pod("a", 10000, 10, 1, {{"nvidia.com/use-gpuuuid", "GPU-n1-1"}}), nullptr, kNoon));
  const auto device = [&](const char* policy) {
    const auto placed =
        engine.place(gpu_pod("b", 1000, 10, 1, {{"hami.io/gpu-scheduler-policy", policy}}), nullptr, kNoon);
    return placed ? devices_of(engine, *placed).front() : std::string(name(placed.error().code));
  };
  EXPECT_EQ(device("binpack"), "GPU-n1-1");
  EXPECT_EQ(device("spread"), "GPU-n1-0");
  EXPECT_EQ(device("mutex"), "GPU-n1-0");
  EXPECT_EQ(device("supply"), "GPU-n1-1");
}

TEST(Engine, MigInstancesAreReservedExactlyAndSurviveARestart) {
  const auto mig = [](RegisteredDevice& device) {
    device.mode = "mig";
    device.slots = 7;
    device.mig_profiles = {
        {"1g.10gb", MiB{9856}, CoreUnits{15}, 1, {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}}},
        {"3g.40gb", MiB{40192}, CoreUnits{46}, 4, {{0, 4}, {4, 4}}}};
  };
  Engine engine{families(), kPack};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1, mig)));
  const Pod two = gpu_pod("a", 9000, 0, 2);
  const auto placed = engine.place(two, nullptr, kNoon);
  ASSERT_TRUE(placed) << placed.error().sentence;
  const Pod told = bound(engine, two, *placed);
  EXPECT_THAT(told.annotations.at("hami.io/vgpu-mig-allocations"),
              HasSubstr(R"("profile":"1g.10gb","placement":{"start":6,"size":1})"));
  Engine again{families(), kPack};
  ASSERT_TRUE(again.set_pod(told));
  ASSERT_TRUE(again.set_node(gpu_node("n1", 1, mig)));
  EXPECT_EQ(device_named(again, "GPU-n1-0").mig_live, device_named(engine, "GPU-n1-0").mig_live);
  EXPECT_FALSE(device_named(again, "GPU-n1-0").blocked);
  EXPECT_EQ(where(again, again.place(gpu_pod("b", 30000, 0, 2), nullptr, kNoon)), "mig");
  EXPECT_EQ(where(again, again.place(gpu_pod("c", 30000, 0, 1), nullptr, kNoon)), "n1");
}

TEST(Engine, WhatTheFlatViewCannotSeeIsFoundAmongManyNodes) {
  Engine engine{families(), kPack};
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(engine.set_node(gpu_node(fmt::format("n{}", i), 1)));
  EXPECT_EQ(
      where(engine, engine.place(gpu_pod("a", 10, 1, 1, {{"nvidia.com/use-gpuuuid", "GPU-n150-0"}}), nullptr, kNoon)),
      "n150");
  EXPECT_EQ(where(engine, engine.place(gpu_pod("b", 10, 1, 1, {{"nvidia.com/use-gpuuuid", "GPU-x"}}), nullptr, kNoon)),
            "device");
}

TEST(Engine, TheCpuAndMemoryOfNodesCountWhereTheyAreToldTo) {
  Engine engine{families(), {.node_policy = Policy::Binpack, .count_host = true}};
  Node node = gpu_node("n1", 2);
  node.cpu_milli = 8000;
  node.host_memory = 16_GiB;
  ASSERT_TRUE(engine.set_node(node));
  const auto pod = [](const char* name, std::int64_t cpu, Bytes memory, bool device) {
    Pod one = device ? gpu_pod(name, 1000, 10) : device_pod(name, {});
    one.cpu_milli = cpu;
    one.host_memory = memory;
    return one;
  };
  EXPECT_EQ(where(engine, engine.place(pod("a", 6000, 1_GiB, true), nullptr, kNoon)), "n1");
  EXPECT_EQ(where(engine, engine.place(pod("b", 3000, 1_GiB, true), nullptr, kNoon)), "cpu");
  EXPECT_EQ(where(engine, engine.place(pod("c", 1000, 15_GiB, false), nullptr, kNoon)), "n1");
  EXPECT_EQ(where(engine, engine.place(pod("d", 1000, 1_GiB, false), nullptr, kNoon)), "host_memory");
  engine.remove_pod("uid-c");
  EXPECT_EQ(where(engine, engine.place(pod("d", 1000, 1_GiB, false), nullptr, kNoon)), "n1");
}

TEST(Engine, EveryShippedFamilyIsPlacedAndReadBack) {
  // One node of each kind with what its plugin tells, and a pod that asks for a little of it.
  const auto capacity = [](std::string name, std::map<std::string, std::int64_t, std::less<>> amounts) {
    Node node;
    node.name = std::move(name);
    node.capacity = std::move(amounts);
    return node;
  };
  const auto registered = [](const std::string& name, const char* key, const char* type, int cores, int slots) {
    return gpu_node(
        name, 8,
        [&](RegisteredDevice& device) {
          device.type = type;
          device.mode.clear();
          device.slots = slots;
          device.cores = CoreUnits{cores};
          device.memory = MiB{65536};
        },
        key);
  };
  Node enflame;
  enflame.name = "enflame";
  enflame.annotations["enflame.com/gcu-drs-capacity"] =
      R"({"devices":[{"index":"0","minor":"0","capacity":6}],"profiles":{"1g.8gb":"0","3g.24gb":"1","6g.48gb":"2"}})";
  Node metax;
  metax.name = "sgpu";
  metax.annotations["metax-tech.com/node-gpu-devices"] =
      R"([{"uuid":"GPU-m","model":"MXC500","totalDevCount":16,"totalCompute":100,"totalVRam":65536,"healthy":true}])";
  struct Case {
    Node node;
    Texts limits;
  };
  const Case cases[] = {
      {registered("nvidia", "hami.io/node-nvidia-register", "NVIDIA A100", 100, 10), {{"nvidia.com/gpumem", "3000"}}},
      {registered("amd", "hami.io/node-amd-register", "AMD MI300X", 304, 10),
       {{"amd.com/gpu", "1"}, {"amd.com/gpumem", "1000"}, {"amd.com/gpucores", "25"}}},
      {registered("ascend", "hami.io/node-register-Ascend910B3", "Ascend910B3", 20, 4),
       {{"huawei.com/Ascend910B3", "1"}, {"huawei.com/Ascend910B3-memory", "10000"}}},
      {registered("pairs", "hami.io/node-register-Ascend910C", "Ascend910C", 20, 4), {{"huawei.com/Ascend910C", "4"}}},
      {capacity("neuron", {{"aws.amazon.com/neuron", 4}, {"aws.amazon.com/neuroncore", 8}}),
       {{"aws.amazon.com/neuroncore", "1"}}},
      {registered("biren", "hami.io/node-biren-register", "Biren106", 100, 1), {{"birentech.com/gpu", "2"}}},
      {capacity("mlu", {{"cambricon.com/vmlu", 200},
                        {"cambricon.com/mlu.smlu.vcore", 200},
                        {"cambricon.com/mlu.smlu.vmemory", 400}}),
       {{"cambricon.com/vmlu", "1"}, {"cambricon.com/mlu.smlu.vmemory", "20"}, {"cambricon.com/mlu.smlu.vcore", "10"}}},
      {capacity("gcu", {{"enflame.com/gcu", 2}}), {{"enflame.com/gcu", "1"}}},
      {enflame, {{"enflame.com/drs-gcu", "3"}}},
      {registered("dcu", "hami.io/node-dcu-register", "DCU-K100", 100, 4),
       {{"hygon.com/dcunum", "1"}, {"hygon.com/dcumem", "2000"}, {"hygon.com/dcucores", "60"}}},
      {registered("iluvatar", "hami.io/node-MR-V100-register", "MR-V100", 100, 4),
       {{"iluvatar.ai/MR-V100-vgpu", "1"}, {"iluvatar.ai/MR-V100.vMem", "64"}}},
      {capacity("kunlun", {{"kunlunxin.com/xpu", 8}}), {{"kunlunxin.com/xpu", "4"}}},
      {registered("xpu", "hami.io/node-register-xpu", "XPU-R200", 100, 4),
       {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "24576"}}},
      {capacity("metax", {{"metax-tech.com/gpu", 4}}), {{"metax-tech.com/gpu", "2"}}},
      {metax, {{"metax-tech.com/sgpu", "1"}, {"metax-tech.com/vmemory", "4"}, {"metax-tech.com/vcore", "30"}}},
      {capacity("mthreads",
                {{"mthreads.com/vgpu", 200}, {"mthreads.com/sgpu-core", 32}, {"mthreads.com/sgpu-memory", 192}}),
       {{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-core", "4"}, {"mthreads.com/sgpu-memory", "8"}}},
      {registered("vastai", "hami.io/node-va-register", "Vastai", 100, 1), {{"vastaitech.com/va", "1"}}},
  };
  Engine engine{families(), kPack};
  for (const Case& one : cases) {
    const auto set = engine.set_node(one.node);
    ASSERT_TRUE(set) << set.error().message;
  }
  for (const Case& one : cases) {
    const Pod pod = device_pod(one.node.name, one.limits);
    const auto placed = engine.place(pod, nullptr, kNoon);
    ASSERT_TRUE(placed) << one.node.name << ": " << placed.error().sentence;
    EXPECT_EQ(where(engine, placed), one.node.name);
    const std::vector<BookedDevice> before = engine.nodes()[placed->node].devices;
    Engine again{families(), kPack};
    ASSERT_TRUE(again.set_node(one.node));
    const auto read = again.set_pod(bound(engine, pod, *placed));
    ASSERT_TRUE(read) << read.error().message;
    Engine late{families(), kPack};
    ASSERT_TRUE(late.set_pod(bound(engine, pod, *placed)));
    ASSERT_TRUE(late.set_node(one.node));
    for (const BookedDevice& device : before) {
      EXPECT_EQ(device_named(again, device.uuid).use, device.use) << one.node.name << " " << device.uuid;
      EXPECT_EQ(device_named(late, device.uuid).use, device.use) << one.node.name << " " << device.uuid;
    }
  }
}

}  // namespace
}  // namespace kiboko
