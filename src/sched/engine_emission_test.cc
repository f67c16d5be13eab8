// What is written on a pod for its placement, family by family, as the plugins read it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/vendor_values.h"

namespace kiboko {
namespace {

using namespace testing_values;

// Both are noon of the first of January 1970.
const char* const kSeconds = "43200";
const char* const kNanoseconds = "43200000000000";

// The middle one of three containers, an init container first, asks; the last wants nothing.
Pod in_the_middle(const Texts& limits, const Texts& annotations = {}) {
  return pod_of("p",
                {container_of("setup", {}, ContainerKind::Init), container_of("work", limits), container_of("log", {})},
                annotations);
}

Texts written_for(const Node& node, const Pod& pod) {
  Engine engine{known_families(), kPacking};
  EXPECT_TRUE(engine.set_node(node));
  const Placed placed = place(engine, pod);
  if (!placed) return {{"refused", placed.error().sentence}};
  Texts written = engine.annotations_for(pod, *placed, kNoon).value();
  EXPECT_EQ(written["hami.io/vgpu-node"], node.name);
  EXPECT_EQ(written["hami.io/vgpu-time"], kSeconds);
  written.erase("hami.io/vgpu-node");
  written.erase("hami.io/vgpu-time");
  return written;
}

struct Case {
  const char* family;
  Texts written;  // beside the node and the time
};

TEST(EngineEmission, EveryFamilysPluginFindsWhatItReads) {
  const Case cases[] = {
      {"NVIDIA",
       {{"hami.io/vgpu-devices-to-allocate", ";GPU-nvidia-0,NVIDIA,3000,0:;;"},
        {"hami.io/vgpu-devices-allocated", ";GPU-nvidia-0,NVIDIA,3000,0:;;"}}},
      {"AMD",
       {{"hami.io/amd-devices-to-allocate", ";amd-0,AMD Instinct MI300X,1000,76:;;"},
        {"hami.io/amd-devices-allocated", ";amd-0,AMD Instinct MI300X,1000,76:;;"}}},
      {"Ascend910B3",
       {{"hami.io/Ascend910B3-devices-to-allocate", ";ascend-0,Ascend910B3,16384,0:;;"},
        {"hami.io/Ascend910B3-devices-allocated", ";ascend-0,Ascend910B3,16384,0:;;"},
        {"predicate-time", kSeconds},
        {"huawei.com/Ascend910B3", R"([{"UUID":"ascend-0","temp":"vir05_1c_16g"}])"}}},
      {"Ascend910C",
       {{"hami.io/Ascend910C-devices-to-allocate",
         ";pairs-0,Ascend910C,65536,0:pairs-1,Ascend910C,65536,0:pairs-2,Ascend910C,65536,0:pairs-3,Ascend910C,65536,0:"
         ";"
         ";"},
        {"hami.io/Ascend910C-devices-allocated",
         ";pairs-0,Ascend910C,65536,0:pairs-1,Ascend910C,65536,0:pairs-2,Ascend910C,65536,0:pairs-3,Ascend910C,65536,0:"
         ";"
         ";"},
        {"predicate-time", kSeconds},
        {"huawei.com/Ascend910C", R"([{"UUID":"pairs-0"},{"UUID":"pairs-1"},{"UUID":"pairs-2"},{"UUID":"pairs-3"}])"}}},
      {"AWSNeuron",
       {{"hami.io/aws-neuron-devices-allocated", ";neuron-AWSNeuron-0,AWSNeuron,0,1:;;"},
        {"AWS_NEURON_IDS", "0"},
        {"NEURON_RESOURCE_TYPE", "aws.amazon.com/neuroncore"},
        {"NEURON_ALLOC_TIME", kNanoseconds},
        {"NEURON_ALLOCATED", "false"},
        {"aws.amazon.com/predicate-node", "neuron"}}},
      {"Biren",
       {{"hami.io/Biren-devices-to-allocate", ";biren-0,Biren,0,0:biren-1,Biren,0,0:;;"},
        {"hami.io/Biren-devices-allocated", ";biren-0,Biren,0,0:biren-1,Biren,0,0:;;"}}},
      {"MLU",
       {{"hami.io/cambricon-mlu-devices-to-allocate", ";mlu-cambricon-mlu-0,MLU,5120,10:;;"},
        {"hami.io/cambricon-mlu-devices-allocated", ";mlu-cambricon-mlu-0,MLU,5120,10:;;"},
        {"CAMBRICON_DSMLU_ASSIGNED", "false"},
        {"CAMBRICON_DSMLU_PROFILE", "0_10_20"}}},
      {"GCU",
       {{"hami.io/enflame-gcu-devices-to-allocate", ";gcu-GCU-0,GCU,100,100:;;"},
        {"hami.io/enflame-gcu-devices-allocated", ";gcu-GCU-0,GCU,100,100:;;"}}},
      {"Enflame",
       {{"hami.io/enflame-vgpu-devices-allocated", ";drs-enflame-drs-0,Enflame,24576,50:;;"},
        {"enflame.com/gcu-assigned", "false"},
        {"enflame.com/gcu-assigned-time", kNanoseconds},
        {"enflame.com/gcu-assigned-index", "0"},
        {"enflame.com/gcu-assigned-id", "0"},
        {"enflame.com/gcu-assigned-minor", "5"},
        {"enflame.com/gcu-request-size", "3"},
        {"assigned-containers",
         R"({"work":{"allocated":false,"request":3,"profileID":"p3","profileName":"3g.24gb"}})"}}},
      {"DCU",
       {{"hami.io/dcu-devices-to-allocate", ";dcu-0,DCU,2000,60:;;"},
        {"hami.io/dcu-devices-allocated", ";dcu-0,DCU,2000,60:;;"}}},
      {"MR-V100",
       {{"hami.io/MR-V100-devices-to-allocate", ";iluvatar-0,MR-V100,16384,0:;;"},
        {"hami.io/MR-V100-devices-allocated", ";iluvatar-0,MR-V100,16384,0:;;"}}},
      {"kunlun",
       {{"hami.io/kunlun-allocated",
         ";kunlun-kunlun-0,kunlun,98304,100:kunlun-kunlun-1,kunlun,98304,100:kunlun-kunlun-2,kunlun,98304,100:"
         "kunlun-kunlun-3,kunlun,98304,100:;;"},
        {"BAIDU_COM_DEVICE_IDX", "0,1,2,3"}}},
      {"XPU",
       {{"hami.io/xpu-devices-to-allocate", ";xpu-0,XPU,24576,25:;;"},
        {"hami.io/xpu-devices-allocated", ";xpu-0,XPU,24576,25:;;"}}},
      {"Metax-GPU",
       {{"hami.io/metax-gpu-devices-to-allocate",
         ";metax-metax-0,Metax-GPU,65536,100:metax-metax-1,Metax-GPU,65536,100:;;"},
        {"hami.io/metax-gpu-devices-allocated",
         ";metax-metax-0,Metax-GPU,65536,100:metax-metax-1,Metax-GPU,65536,100:;;"}}},
      {"Metax-SGPU",
       {{"hami.io/metax-sgpu-devices-to-allocate", ";GPU-m,Metax-SGPU,4096,30:;;"},
        {"hami.io/metax-sgpu-devices-allocated", ";GPU-m,Metax-SGPU,4096,30:;;"},
        {"metax-tech.com/gpu-devices-allocated", R"([[],[{"uuid":"GPU-m","compute":30,"vRam":4096}],[]])"},
        {"metax-tech.com/predicate-time", kNanoseconds}}},
      {"Mthreads",
       {{"hami.io/mthreads-vgpu-devices-allocated", ";mthreads-mthreads-0,Mthreads,4096,4:;;"},
        {"mthreads.com/gpu-index", "0"},
        {"mthreads.com/predicate-time", kNanoseconds},
        {"mthreads.com/predicate-node", "mthreads"}}},
      {"Vastai",
       {{"hami.io/Vastai-devices-to-allocate", ";vastai-0,Vastai,0,0:;;"},
        {"hami.io/Vastai-devices-allocated", ";vastai-0,Vastai,0,0:;;"}}},
  };
  const auto samples = family_samples();
  ASSERT_EQ(samples.size(), std::size(cases));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    ASSERT_EQ(samples[i].family, cases[i].family);
    EXPECT_EQ(written_for(samples[i].node, in_the_middle(samples[i].limits)), cases[i].written) << cases[i].family;
  }
}

TEST(EngineEmission, ASoftShareSaysAmountsInsteadOfATemplate) {
  Node node = plugin_node("n", "hami.io/node-register-Ascend910B3", "Ascend910B3", 1);
  node.annotations["hami-vnpu-core"] = "true";
  const Texts limits = {{"huawei.com/Ascend910B3-memory", "10000"}, {"huawei.com/Ascend910B3-core", "40"}};
  const Texts written = written_for(node, in_the_middle(limits, {{"huawei.com/vnpu-mode", "hami-core"}}));
  EXPECT_EQ(written.at("hami.io/Ascend910B3-devices-allocated"), ";n-0,Ascend910B3,10000,40:;;");
  EXPECT_EQ(written.at("huawei.com/Ascend910B3"), R"([{"UUID":"n-0","memory":10000,"core":40}])");
}

TEST(EngineEmission, WholeNeuronDevicesAreNamedByTheirOwnNumber) {
  const Node node = capacity_node("n", {{"aws.amazon.com/neuron", 4}, {"aws.amazon.com/neuroncore", 8}});
  const Texts whole = written_for(node, in_the_middle({{"aws.amazon.com/neuron", "4"}}));
  EXPECT_EQ(whole.at("AWS_NEURON_IDS"), "0,1,2,3");
  EXPECT_FALSE(whole.contains("NEURON_RESOURCE_TYPE"));
  EXPECT_EQ(whole.at("hami.io/aws-neuron-devices-allocated"),
            ";n-AWSNeuron-0,AWSNeuron,0,3:n-AWSNeuron-1,AWSNeuron,0,3:n-AWSNeuron-2,AWSNeuron,0,3:"
            "n-AWSNeuron-3,AWSNeuron,0,3:;;");
}

TEST(EngineEmission, NeuronCoresOfAllContainersAreNamedByTheirNumberOnTheNode) {
  const Node node = capacity_node("n", {{"aws.amazon.com/neuron", 2}, {"aws.amazon.com/neuroncore", 4}});
  const Texts two = {{"aws.amazon.com/neuroncore", "2"}}, one = {{"aws.amazon.com/neuroncore", "1"}};
  const Texts written = written_for(node, pod_of("p", {container_of("x", two), container_of("y", one)}));
  EXPECT_EQ(written.at("AWS_NEURON_IDS"), "0,1,2");
}

TEST(EngineEmission, AModelNameLosesTheSeparatorsOfTheAllocation) {
  const Node node = plugin_node("n", "hami.io/node-amd-register", "AMD MI300X, rev:2;b", 1,
                                [](RegisteredDevice& device) { device.cores = CoreUnits{304}; });
  const Texts written = written_for(node, in_the_middle({{"amd.com/gpu", "1"}}));
  EXPECT_EQ(written.at("hami.io/amd-devices-allocated"), ";n-0,AMD MI300X_ rev_2_b,65536,304:;;");
}

TEST(EngineEmission, MigInstancesAreNumberedByContainerAndPlace) {
  const Node node = gpu_node("n", 1, [](RegisteredDevice& device) {
    device.mode = "mig";
    device.mig_profiles = {{"2g.20gb", MiB{20096}, CoreUnits{30}, 2, {{0, 2}, {2, 2}, {4, 2}}}};
  });
  const Texts limits = {{"nvidia.com/gpu", "2"}, {"nvidia.com/gpumem", "20000"}};
  const Texts written = written_for(node, in_the_middle(limits));
  EXPECT_EQ(written.at("hami.io/vgpu-devices-allocated"), ";GPU-n-0,NVIDIA,20096,30:GPU-n-0,NVIDIA,20096,30:;;");
  EXPECT_EQ(
      written.at("hami.io/vgpu-mig-allocations"),
      R"([{"containerIndex":1,"deviceIndex":0,"gpuUUID":"GPU-n-0","profile":"2g.20gb","placement":{"start":0,"size":2}},)"
      R"({"containerIndex":1,"deviceIndex":1,"gpuUUID":"GPU-n-0","profile":"2g.20gb","placement":{"start":2,"size":2}}])");
}

TEST(EngineEmission, SlicesOfSeveralContainersAreNamedByContainer) {
  const Node node =
      annotated_node("n", "enflame.com/gcu-drs-capacity",
                     R"({"devices":[{"index":0,"minor":0,"capacity":6},{"index":1,"minor":7,"capacity":6}],)"
                     R"("profiles":{"2g.16gb":"a","4g.32gb":"b","6g.48gb":"c"}})");
  const Texts written = written_for(node, pod_of("p", {container_of("z", {{"enflame.com/drs-gcu", "4"}}),
                                                       container_of("y", {{"enflame.com/gcu-memory", "10"}})}));
  EXPECT_EQ(written.at("assigned-containers"),
            R"({"y":{"allocated":false,"request":2,"profileID":"a","profileName":"2g.16gb"},)"
            R"("z":{"allocated":false,"request":4,"profileID":"b","profileName":"4g.32gb"}})");
  EXPECT_EQ(written.at("enflame.com/gcu-request-size"), "4");
}

TEST(EngineEmission, FamiliesOfOnePodDoNotDisturbEachOther) {
  Node node = gpu_node("n", 1);
  node.capacity = {{"kunlunxin.com/xpu", 8}, {"enflame.com/gcu", 2}};
  const Pod pod = pod_of("p", {container_of("x", {{"kunlunxin.com/xpu", "1"}}, ContainerKind::Init),
                               container_of("y", {{"nvidia.com/gpumem", "1000"}, {"enflame.com/gcu", "2"}})});
  EXPECT_EQ(written_for(node, pod),
            (Texts{{"hami.io/vgpu-devices-to-allocate", ";GPU-n-0,NVIDIA,1000,0:;"},
                   {"hami.io/vgpu-devices-allocated", ";GPU-n-0,NVIDIA,1000,0:;"},
                   {"hami.io/enflame-gcu-devices-to-allocate", ";n-GCU-0,GCU,100,100:n-GCU-1,GCU,100,100:;"},
                   {"hami.io/enflame-gcu-devices-allocated", ";n-GCU-0,GCU,100,100:n-GCU-1,GCU,100,100:;"},
                   {"hami.io/kunlun-allocated", "n-kunlun-0,kunlun,98304,100:;;"},
                   {"BAIDU_COM_DEVICE_IDX", "0"}}));
}

}  // namespace
}  // namespace kiboko
