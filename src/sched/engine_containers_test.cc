// Pods of several containers and several families: what each container holds, for how long, and what is written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/vendor_values.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::HasSubstr;
using testing::StartsWith;

Texts share(int memory, int cores = 10) {
  return {{"nvidia.com/gpu", "1"},
          {"nvidia.com/gpumem", std::to_string(memory)},
          {"nvidia.com/gpucores", std::to_string(cores)}};
}

// The pod as it is when its init containers are done.
DeviceUse after_init(Engine& engine, const Pod& pod, std::string_view device) {
  const Placed placed = place(engine, pod);
  EXPECT_TRUE(placed) << placed.error().sentence;
  Pod told = bound(engine, pod, *placed);
  told.init_done = true;
  EXPECT_TRUE(engine.set_pod(told));
  return device_named(engine, device).use;
}

TEST(EngineContainers, AnAppBehindAnInitContainerWithoutDeviceKeepsItsShareWhenThatIsDone) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  const Pod pod = pod_of("a", {container_of("setup", {}, ContainerKind::Init), container_of("app", share(40000))});
  EXPECT_EQ(after_init(engine, pod, "GPU-n1-0").memory, 40000);
  EXPECT_EQ(outcome(engine, gpu_pod("b", 50000, 0)), "memory");
}

TEST(EngineContainers, AnAllocationThatLeavesOutContainersWithoutDevicesIsThatOfThoseThatAsked) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 2)));
  // As HAMi up to 2.10 writes it for NVIDIA: nothing stands for the init container.
  Pod pod = pod_of("a", {container_of("setup", {}, ContainerKind::Init), container_of("app", share(40000)),
                         container_of("log", {}), container_of("more", share(20000))});
  pod.node = "n1";
  pod.annotations["hami.io/vgpu-devices-allocated"] = "GPU-n1-0,NVIDIA,40000,10:;GPU-n1-1,NVIDIA,20000,10:;";
  pod.init_done = true;
  ASSERT_TRUE(engine.set_pod(pod));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 40000);
  EXPECT_EQ(device_named(engine, "GPU-n1-1").use.memory, 20000);
  // Whose entry is whose cannot be told: all of it is held for as long as the pod is there.
  pod.annotations["hami.io/vgpu-devices-allocated"] = "GPU-n1-0,NVIDIA,30000,10:;";
  ASSERT_TRUE(engine.set_pod(pod));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 30000);
}

TEST(EngineContainers, EntriesBehindThePodsContainersAreHeldToo) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  Pod pod = pod_of("a", {container_of("app", share(1000))});
  pod.node = "n1";
  pod.annotations["hami.io/vgpu-devices-allocated"] = "GPU-n1-0,NVIDIA,1000,10:;GPU-n1-0,NVIDIA,60000,10:;;";
  ASSERT_TRUE(engine.set_pod(pod));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 61000);
}

TEST(EngineContainers, EntriesThatAPluginHasServedStayInWhatWasAllocated) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  const Pod pod = pod_of("a", {container_of("x", share(1000)), container_of("y", share(2000))});
  Pod told = bound(engine, pod, place(engine, pod).value());
  told.annotations["hami.io/vgpu-devices-to-allocate"] = ";GPU-n1-0,NVIDIA,2000,10:;;";
  ASSERT_TRUE(engine.set_pod(told));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 3000);
}

TEST(EngineContainers, ASidecarRunsBesideTheAppAndBesideTheInitContainersAfterIt) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  const auto init = ContainerKind::Init, sidecar = ContainerKind::Sidecar;
  const Pod tight = pod_of("tight", {container_of("log", share(50000), sidecar), container_of("app", share(40000))});
  EXPECT_EQ(outcome(engine, tight), "memory");
  const Pod late = pod_of("late", {container_of("log", share(50000), sidecar), container_of("load", share(40000), init),
                                   container_of("app", share(1000))});
  EXPECT_EQ(outcome(engine, late), "memory");
  const Pod early = pod_of("early", {container_of("load", share(40000), init),
                                     container_of("log", share(50000), sidecar), container_of("app", share(30000))});
  const DeviceUse use = after_init(engine, early, "GPU-n1-0");
  EXPECT_EQ(use.memory, 80000);
  EXPECT_EQ(use.cores, 20);
  EXPECT_EQ(use.slots, 2);
}

TEST(EngineContainers, AppContainersAreCountedTogetherAndInitContainersOneByOne) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  const auto init = ContainerKind::Init;
  EXPECT_EQ(outcome(engine, pod_of("apps", {container_of("x", share(50000)), container_of("y", share(50000))})),
            "memory");
  const Pod pod = pod_of("inits", {container_of("x", share(70000, 90), init), container_of("y", share(75000, 5), init),
                                   container_of("z", share(1000, 50))});
  ASSERT_TRUE(place(engine, pod));
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.memory, 75000);
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.cores, 90);
  EXPECT_EQ(device_named(engine, "GPU-n1-0").use.slots, 1);
}

TEST(EngineContainers, APodWithInitContainersAloneIsPlacedAndEndsHoldingNothing) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  const Pod pod = pod_of("a", {container_of("load", share(40000), ContainerKind::Init), container_of("app", {})});
  EXPECT_EQ(after_init(engine, pod, "GPU-n1-0"), DeviceUse{});
}

TEST(EngineContainers, EveryFamilyOfAPodMustBeOnTheOneNode) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("gpus", 1)));
  ASSERT_TRUE(engine.set_node(plugin_node("dcus", "hami.io/node-dcu-register", "DCU-K100", 1)));
  const Texts dcu = {{"hygon.com/dcunum", "1"}, {"hygon.com/dcumem", "2000"}, {"hygon.com/dcucores", "60"}};
  const Pod both = pod_of("a", {container_of("x", share(1000)), container_of("y", dcu)});
  EXPECT_EQ(outcome(engine, both), "no_devices");
  Node node = gpu_node("both", 1);
  const Node other = plugin_node("both", "hami.io/node-dcu-register", "DCU-K100", 1);
  node.annotations.insert(other.annotations.begin(), other.annotations.end());
  ASSERT_TRUE(engine.set_node(node));
  EXPECT_EQ(outcome(engine, both), "both: GPU-both-0, both-0");
}

TEST(EngineContainers, OneContainerMayHaveDevicesOfSeveralFamilies) {
  Engine engine{known_families(), kPacking};
  Node node = gpu_node("n", 1);
  node.capacity = {{"enflame.com/gcu", 1}};
  ASSERT_TRUE(engine.set_node(node));
  Texts limits = share(1000);
  limits["enflame.com/gcu"] = "1";
  const Pod pod = pod_of("a", {container_of("x", limits)});
  const Placed placed = place(engine, pod);
  ASSERT_TRUE(placed);
  const Texts written = engine.annotations_for(pod, *placed, kNoon).value();
  EXPECT_EQ(written.at("hami.io/vgpu-devices-allocated"), "GPU-n-0,NVIDIA,1000,10:;");
  EXPECT_EQ(written.at("hami.io/enflame-gcu-devices-allocated"), "n-GCU-0,GCU,100,100:;");
}

TEST(EngineContainers, ANodeThatHasOneFamilyOfTwoTakesNothingOfEither) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("gpus", 1)));
  Texts limits = share(1000);
  limits["hygon.com/dcunum"] = "1";
  EXPECT_EQ(outcome(engine, pod_of("a", {container_of("x", limits)})), "no_devices");
  EXPECT_EQ(device_named(engine, "GPU-gpus-0").use, DeviceUse{});
}

TEST(EngineContainers, TwoContainersWithWholeMetaxGpusArePlaced) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(capacity_node("n", {{"metax-tech.com/gpu", 2}})));
  const Texts one = {{"metax-tech.com/gpu", "1"}};
  EXPECT_EQ(outcome(engine, pod_of("a", {container_of("x", one), container_of("y", one)})), "n: n-metax-0, n-metax-1");
}

TEST(EngineContainers, IndexesOnThePodAreThoseOfAllItsContainers) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(capacity_node("n", {{"kunlunxin.com/xpu", 8}})));
  const Texts two = {{"kunlunxin.com/xpu", "2"}};
  const Pod pod = pod_of("a", {container_of("x", two), container_of("none", {}), container_of("y", two)});
  const Texts written = engine.annotations_for(pod, place(engine, pod).value(), kNoon).value();
  EXPECT_EQ(written.at("BAIDU_COM_DEVICE_IDX"), "0,1,2,3");
  EXPECT_THAT(written.at("hami.io/kunlun-allocated"), HasSubstr("n-kunlun-1,kunlun,98304,100:;;n-kunlun-2"));
}

TEST(EngineContainers, AllOfAContainersRefusalsAreOfTheContainerThatDoesNotFit) {
  Engine engine{known_families(), kPacking};
  ASSERT_TRUE(engine.set_node(gpu_node("n1", 1)));
  const Pod pod = pod_of("a", {container_of("x", share(1000, 60)), container_of("y", share(1000, 60))});
  EXPECT_EQ(outcome(engine, pod), "cores");
  EXPECT_THAT(outcome(engine, pod_of("b", {container_of("x", share(1000, 60))})), StartsWith("n1"));
}

}  // namespace
}  // namespace kiboko
