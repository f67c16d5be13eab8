#include "sched/explain_cases.h"

#include <gtest/gtest.h>

namespace kiboko {
namespace {

using namespace testing_values;

using Change = std::function<void(RegisteredDevice&)>;

// ---- clusters ----

void has(Engine& engine, const Node& node) {
  const auto set = engine.set_node(node);
  EXPECT_TRUE(set) << set.error().message;
}

// What a pod has before the one in question comes.
void holds(Engine& engine, const Pod& pod) {
  const auto placed = engine.place(pod, nullptr, kNoon);
  EXPECT_TRUE(placed) << pod.name << ": " << placed.error().sentence;
}

Pod gpu_pod_on(const std::string& name, const std::string& device, int memory, int cores) {
  return gpu_pod(name, memory, cores, 1, {{"nvidia.com/use-gpuuuid", device}});
}

Node capacity_node(const std::string& name, std::map<std::string, std::int64_t, std::less<>> capacity) {
  Node node;
  node.name = name;
  node.capacity = std::move(capacity);
  return node;
}

Node registered_node(const std::string& name, const char* key, unsigned count, const char* type, int memory, int cores,
                     int slots) {
  return gpu_node(
      name, count,
      [&](RegisteredDevice& device) {
        device.type = type;
        device.mode.clear();
        device.memory = MiB{memory};
        device.cores = CoreUnits{cores};
        device.slots = slots;
      },
      key);
}

Node ascend_node(const std::string& name, unsigned count, bool soft = false) {
  Node node = registered_node(name, "hami.io/node-register-Ascend910B3", count, "Ascend910B3", 65536, 20, 4);
  if (soft) node.annotations["hami-vnpu-core"] = "true";
  return node;
}

Node mig_node(const std::string& name, unsigned count) {
  return gpu_node(name, count, [](RegisteredDevice& device) {
    device.mode = "mig";
    device.slots = 7;
    device.mig_profiles = {
        {"1g.10gb", MiB{9856}, CoreUnits{15}, 1, {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}}},
        {"3g.40gb", MiB{40192}, CoreUnits{46}, 4, {{0, 4}, {4, 4}}}};
  });
}

Node enflame_node(const std::string& name) {
  Node node;
  node.name = name;
  node.annotations["enflame.com/gcu-drs-capacity"] =
      R"({"devices":[{"index":"0","minor":"0","capacity":6}],"profiles":{"1g.8gb":"0","3g.24gb":"1","6g.48gb":"2"}})";
  return node;
}

Node metax_node(const std::string& name) {
  Node node;
  node.name = name;
  node.annotations["metax-tech.com/node-gpu-devices"] =
      R"([{"uuid":"GPU-m","model":"MXC500","totalDevCount":16,"totalCompute":100,"totalVRam":65536,"healthy":true}])";
  return node;
}

// ---- pods ----

Pod ascend_pod(const std::string& name, int memory, const Texts& annotations = {}) {
  return device_pod(name, {{"huawei.com/Ascend910B3", "1"}, {"huawei.com/Ascend910B3-memory", std::to_string(memory)}},
                    annotations);
}

Pod ascend_310p_pod(const std::string& name) {
  return device_pod(name, {{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", "12288"}});
}

Pod metax_pod(const std::string& name, const Texts& annotations) {
  return device_pod(name,
                    {{"metax-tech.com/sgpu", "1"}, {"metax-tech.com/vmemory", "8"}, {"metax-tech.com/vcore", "30"}},
                    annotations);
}

Pod mthreads_pod(const std::string& name) {
  return device_pod(name,
                    {{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-core", "4"}, {"mthreads.com/sgpu-memory", "8"}});
}

// The pod with one more container, which stands where its kind does.
Pod with_container(Pod pod, const std::string& name, const Texts& limits, ContainerKind kind = ContainerKind::App) {
  const Container container{name, limits, {}, kind};
  pod.containers.insert(kind == ContainerKind::App ? pod.containers.end() : pod.containers.begin(), container);
  return pod;
}

ResourceQuota quota(const std::string& resource, std::int64_t most) {
  return {"default", "team", {{"limits." + resource, most}}, {}, {}};
}

// ---- the cases ----

std::vector<ExplainCase> amounts() {
  return {
      {"A pod asks for more devices than any node has",
       [](Engine& e) {
         has(e, gpu_node("n1", 2));
         has(e, gpu_node("n2", 4));
       },
       gpu_pod("p", 1000, 10, 8)},
      {"A pod asks for four devices where two are free",
       [](Engine& e) {
         has(e, gpu_node("n1", 4));
         holds(e, gpu_pod_on("a", "GPU-n1-0", 70000, 10));
         holds(e, gpu_pod_on("b", "GPU-n1-1", 70000, 10));
       },
       gpu_pod("p", 20000, 10, 4)},
      {"A pod asks for more memory than is free",
       [](Engine& e) {
         has(e, gpu_node("n1", 2));
         holds(e, gpu_pod_on("a", "GPU-n1-0", 60000, 10));
         holds(e, gpu_pod_on("b", "GPU-n1-1", 50000, 10));
       },
       gpu_pod("p", 40000, 10)},
      {"A pod asks for one MiB more than is free",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         holds(e, gpu_pod("a", 61440, 10));
       },
       gpu_pod("p", 20481, 10)},
      {"A pod asks for a greater part of the memory than is free",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         holds(e, gpu_pod("a", 60000, 10));
       },
       device_pod("p", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem-percentage", "50"}})},
      {"A pod asks for more compute than is free",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         holds(e, gpu_pod("a", 1000, 80));
       },
       gpu_pod("p", 1000, 30)},
      {"A pod asks for a greater part of an AMD device's compute units than is free",
       [](Engine& e) {
         has(e, registered_node("n1", "hami.io/node-amd-register", 1, "AMD MI300X", 65536, 304, 10));
         holds(e, device_pod("a", {{"amd.com/gpu", "1"}, {"amd.com/gpumem", "1000"}, {"amd.com/gpucores", "60"}}));
       },
       device_pod("p", {{"amd.com/gpu", "1"}, {"amd.com/gpumem", "1000"}, {"amd.com/gpucores", "50"}})},
      {"A pod asks for more pieces of 256 MiB than an Iluvatar device has",
       [](Engine& e) { has(e, registered_node("n1", "hami.io/node-MR-V100-register", 1, "MR-V100", 32768, 100, 4)); },
       device_pod("p", {{"iluvatar.ai/MR-V100-vgpu", "1"}, {"iluvatar.ai/MR-V100.vMem", "200"}})},
      {"A pod without a compute limit meets a device whose compute is all given away",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         holds(e, gpu_pod("a", 1000, 60));
         holds(e, gpu_pod("b", 1000, 40));
       },
       gpu_pod("p", 1000, 0)},
      {"As many share the device as may share it",
       [](Engine& e) {
         has(e, gpu_node("n1", 1, [](RegisteredDevice& device) { device.slots = 2; }));
         holds(e, gpu_pod("a", 1000, 10));
         holds(e, gpu_pod("b", 1000, 10));
       },
       gpu_pod("p", 1000, 10)},
      {"A pod asks for a whole device and others share it",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         holds(e, gpu_pod("a", 1000, 0));
       },
       device_pod("p", {{"nvidia.com/gpu", "1"}})},
      {"A pod asks for all compute and some memory of a device that somebody shares",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         holds(e, gpu_pod("a", 1000, 0));
       },
       gpu_pod("p", 1000, 100)},
      {"A pod asks for a share and the device is given whole",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         holds(e, device_pod("a", {{"nvidia.com/gpu", "1"}}));
       },
       gpu_pod("p", 1000, 10)},
      {"A pod wants devices of its own and they are in use",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         holds(e, gpu_pod("a", 1000, 10));
       },
       gpu_pod("p", 1000, 10, 1, {{"hami.io/gpu-scheduler-policy", "mutex"}})},
  };
}

std::vector<ExplainCase> names() {
  const auto one_node = [](Engine& e) { has(e, gpu_node("n1", 2)); };
  return {
      {"A pod wants a type of device that there is not", one_node,
       gpu_pod("p", 1000, 10, 1, {{"nvidia.com/use-gputype", "A100,L40"}})},
      {"A pod rules out the only type of device", one_node,
       gpu_pod("p", 1000, 10, 1, {{"nvidia.com/nouse-gputype", "H100"}})},
      {"A pod names a device that there is not", one_node,
       gpu_pod("p", 1000, 10, 1, {{"nvidia.com/use-gpuuuid", "GPU-n9-0"}})},
      {"A pod rules out all devices by name", one_node,
       gpu_pod("p", 1000, 10, 1, {{"nvidia.com/nouse-gpuuuid", "GPU-n1-0,GPU-n1-1"}})},
      {"The only device is cordoned",
       [](Engine& e) {
         Node node = gpu_node("n1", 1);
         node.annotations["hami.io/device-cordon"] = "GPU-n1-0";
         has(e, node);
       },
       gpu_pod("p", 1000, 10)},
      {"The only device is unhealthy",
       [](Engine& e) { has(e, gpu_node("n1", 1, [](RegisteredDevice& device) { device.healthy = false; })); },
       gpu_pod("p", 1000, 10)},
      {"A pod wants MIG and the node's devices are shared in software", one_node,
       gpu_pod("p", 1000, 10, 1, {{"nvidia.com/vgpu-mode", "mig"}})},
      {"A pod wants a soft share of an Ascend and the node gives hard slices",
       [](Engine& e) { has(e, ascend_node("n1", 1)); },
       ascend_pod("p", 10000, {{"huawei.com/vnpu-mode", "hami-core"}})},
      {"A pod wants a hard slice of an Ascend and the node gives soft shares",
       [](Engine& e) { has(e, ascend_node("n1", 1, true)); }, ascend_pod("p", 10000)},
      {"No node has devices of the family",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         has(e, capacity_node("n2", {{"kunlunxin.com/xpu", 8}}));
       },
       device_pod("p", {{"hygon.com/dcunum", "1"}})},
      {"A pod wants devices of two families and no node has both",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         has(e, ascend_node("n2", 1));
       },
       with_container(gpu_pod("p", 1000, 10), "npu", ascend_pod("x", 10000).containers.front().limits)},
      {"The plugin of the only node is gone",
       [](Engine& e) {
         Node node = gpu_node("n1", 1);
         node.capacity["nvidia.com/gpu"] = 0;
         has(e, node);
       },
       gpu_pod("p", 1000, 10)},
  };
}

std::vector<ExplainCase> groups() {
  return {
      {"A pod binds to one NUMA node and its devices are on two",
       [](Engine& e) {
         has(e, gpu_node("n1", 4, [](RegisteredDevice& device) { device.numa = device.index < 2 ? 0 : 1; }));
       },
       gpu_pod("p", 1000, 10, 3, {{"nvidia.com/numa-bind", "true"}})},
      {"No two dies of one Ascend card are free",
       [](Engine& e) {
         has(e, registered_node("n1", "hami.io/node-register-Ascend910C", 4, "Ascend910C", 65536, 20, 4));
         for (const char* device : {"GPU-n1-0", "GPU-n1-2"}) {
           Pod held = device_pod(std::string("a") + device, {});
           held.node = "n1";
           held.annotations["hami.io/Ascend910C-devices-allocated"] = fmt::format("{},Ascend910C,16384,0:;", device);
           EXPECT_TRUE(e.set_pod(held));
         }
       },
       device_pod("p", {{"huawei.com/Ascend910C", "2"}})},
      {"No aligned run of four Neuron devices is free",
       [](Engine& e) {
         has(e, capacity_node("n1", {{"aws.amazon.com/neuron", 8}, {"aws.amazon.com/neuroncore", 16}}));
         for (const char* device : {"n1-AWSNeuron-2", "n1-AWSNeuron-5"})
           holds(e, device_pod(device, {{"aws.amazon.com/neuron", "1"}}, {{"aws.amazon.com/use-neuron-uuid", device}}));
       },
       device_pod("p", {{"aws.amazon.com/neuron", "4"}})},
      {"A pod wants more Neuron cores than are whole devices of the node",
       [](Engine& e) {
         has(e, capacity_node("n1", {{"aws.amazon.com/neuron", 4}, {"aws.amazon.com/neuroncore", 8}}));
       },
       device_pod("p", {{"aws.amazon.com/neuroncore", "5"}})},
      {"A pod wants four whole Neuron devices by their cores and one is in use",
       [](Engine& e) {
         has(e, capacity_node("n1", {{"aws.amazon.com/neuron", 4}, {"aws.amazon.com/neuroncore", 8}}));
         holds(e, device_pod("a", {{"aws.amazon.com/neuroncore", "1"}}));
       },
       device_pod("p", {{"aws.amazon.com/neuroncore", "8"}})},
      {"A pod wants two cores and each Neuron device has one left",
       [](Engine& e) {
         has(e, capacity_node("n1", {{"aws.amazon.com/neuron", 1}, {"aws.amazon.com/neuroncore", 2}}));
         holds(e, device_pod("a", {{"aws.amazon.com/neuroncore", "1"}}));
       },
       device_pod("p", {{"aws.amazon.com/neuroncore", "2"}})},
      {"Four Kunlun cards are free but not linked",
       [](Engine& e) {
         has(e, capacity_node("n1", {{"kunlunxin.com/xpu", 8}}));
         for (const char* device : {"n1-kunlun-3", "n1-kunlun-4", "n1-kunlun-5", "n1-kunlun-6"})
           holds(e, device_pod(device, {{"kunlunxin.com/xpu", "1"}}, {{"hami.io/use-xpu-uuid", device}}));
       },
       device_pod("p", {{"kunlunxin.com/xpu", "4"}})},
  };
}

std::vector<ExplainCase> sizes() {
  return {
      {"No MIG profile that is large enough has a free place",
       [](Engine& e) {
         has(e, mig_node("n1", 1));
         holds(e, gpu_pod("a", 30000, 0));
         holds(e, gpu_pod("b", 9000, 0));
       },
       gpu_pod("p", 30000, 0)},
      {"A pod wants two MIG instances and one has a place",
       [](Engine& e) {
         has(e, mig_node("n1", 1));
         holds(e, gpu_pod("a", 30000, 0));
       },
       gpu_pod("p", 30000, 0, 2)},
      {"A pod wants an Enflame slice of a size that no profile has", [](Engine& e) { has(e, enflame_node("n1")); },
       device_pod("p", {{"enflame.com/drs-gcu", "4"}})},
      {"A pod wants more memory and compute than any Enflame slice has", [](Engine& e) { has(e, enflame_node("n1")); },
       device_pod("p", {{"enflame.com/gcu-memory", "60"}, {"enflame.com/gcu-core", "50"}})},
      {"An Enflame device has no room left for the slice",
       [](Engine& e) {
         has(e, enflame_node("n1"));
         holds(e, device_pod("a", {{"enflame.com/drs-gcu", "3"}}));
         holds(e, device_pod("b", {{"enflame.com/drs-gcu", "1"}}));
       },
       device_pod("p", {{"enflame.com/drs-gcu", "3"}})},
      {"The card is cut into slices of another size",
       [](Engine& e) {
         has(e, registered_node("n1", "hami.io/node-register-xpu", 1, "XPU-R200", 98304, 100, 4));
         holds(e, device_pod("a", {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "24576"}}));
       },
       device_pod("p", {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "49152"}})},
      {"A pod asks for more memory than the largest Ascend has", [](Engine& e) { has(e, ascend_node("n1", 1)); },
       ascend_pod("p", 70000)},
      {"An Ascend has compute left for a size but not the processors that it takes besides",
       [](Engine& e) {
         has(e, registered_node("n1", "hami.io/node-register-Ascend310P", 1, "Ascend310P3", 24576, 8, 7));
         holds(e, ascend_310p_pod("a"));
       },
       ascend_310p_pod("p")},
      {"A pod asks for more GiB than a MetaX device has free",
       [](Engine& e) {
         has(e, metax_node("n1"));
         holds(e, device_pod("a", {{"metax-tech.com/vmemory", "62976Mi"}, {"metax-tech.com/vcore", "10"}}));
       },
       device_pod("p", {{"metax-tech.com/vmemory", "8"}, {"metax-tech.com/vcore", "10"}})},
      {"A Moore Threads device has room for a smaller one of the sizes",
       [](Engine& e) {
         has(e,
             capacity_node(
                 "n1", {{"mthreads.com/vgpu", 100}, {"mthreads.com/sgpu-core", 16}, {"mthreads.com/sgpu-memory", 96}}));
         holds(e, mthreads_pod("a"));
       },
       device_pod("p",
                  {{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-core", "4"}, {"mthreads.com/sgpu-memory", "96"}})},
      {"A pod for a Hygon device says nothing of compute, which means all of it",
       [](Engine& e) {
         has(e, registered_node("n1", "hami.io/node-dcu-register", 1, "DCU-K100", 32768, 100, 4));
         holds(e, device_pod("a", {{"hygon.com/dcumem", "2000"}, {"hygon.com/dcucores", "60"}}));
       },
       device_pod("p", {{"hygon.com/dcunum", "1"}, {"hygon.com/dcumem", "2000"}})},
      {"A pod asks for a thousandth of a MiB", [](Engine& e) { has(e, gpu_node("n1", 1)); },
       device_pod("p", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "500m"}})},
      {"A pod gives its memory in bytes", [](Engine& e) { has(e, gpu_node("n1", 1)); },
       device_pod("p", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "32Gi"}})},
      {"A pod asks for a number of Kunlun cards that is never given",
       [](Engine& e) {
         has(e, capacity_node("n1", {{"kunlunxin.com/xpu", 8}}));
       },
       device_pod("p", {{"kunlunxin.com/xpu", "3"}})},
  };
}

std::vector<ExplainCase> pods_and_namespaces() {
  const Texts app_limits = {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "50000"}, {"nvidia.com/gpucores", "10"}};
  return {
      {"The second of two containers does not fit", [](Engine& e) { has(e, gpu_node("n1", 1)); },
       with_container(gpu_pod("p", 50000, 10), "second", app_limits)},
      {"An init container asks for more than any device has", [](Engine& e) { has(e, gpu_node("n1", 2)); },
       with_container(gpu_pod("p", 50000, 10), "fetch", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "90000"}},
                      ContainerKind::Init)},
      {"Two containers of a pod need one Moore Threads device and it has no room for both",
       [](Engine& e) {
         has(e, capacity_node(
                    "n1",
                    {{"mthreads.com/vgpu", 200}, {"mthreads.com/sgpu-core", 32}, {"mthreads.com/sgpu-memory", 192}}));
       },
       with_container(
           mthreads_pod("p"), "second",
           {{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-core", "14"}, {"mthreads.com/sgpu-memory", "64"}})},
      {"Online work meets a device that work without a class has",
       [](Engine& e) {
         has(e, metax_node("n1"));
         holds(e, metax_pod("a", {}));
       },
       metax_pod("p", {{"metax-tech.com/sgpu-app-class", "online"}})},
      {"A device is shared under another QoS policy",
       [](Engine& e) {
         has(e, metax_node("n1"));
         holds(e, metax_pod("a", {{"metax-tech.com/sgpu-qos-policy", "fixed-share"}}));
       },
       metax_pod("p", {{"metax-tech.com/sgpu-qos-policy", "burst-share"}})},
      {"The namespace's quota of memory is used up",
       [](Engine& e) {
         has(e, gpu_node("n1", 2));
         e.set_quota(quota("nvidia.com/gpumem", 50000));
         holds(e, gpu_pod("a", 30000, 10));
       },
       gpu_pod("p", 30000, 10)},
      {"The namespace's quota of compute is used up",
       [](Engine& e) {
         has(e, gpu_node("n1", 2));
         e.set_quota(quota("nvidia.com/gpucores", 50));
         holds(e, gpu_pod("a", 1000, 40));
       },
       gpu_pod("p", 1000, 30)},
      {"The namespace's quota is zero",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         e.set_quota(quota("nvidia.com/gpumem", 0));
       },
       gpu_pod("p", 1000, 10)},
      {"The quota is too small and another node lacks memory, too",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         has(e, gpu_node("n2", 1, [](RegisteredDevice& device) { device.memory = MiB{24576}; }));
         e.set_quota(quota("nvidia.com/gpumem", 40000));
       },
       with_container(gpu_pod("p", 20000, 10), "second", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "30000"}})},
  };
}

std::vector<ExplainCase> nodes() {
  return {
      {"There is no node at all", [](Engine&) {}, gpu_pod("p", 1000, 10)},
      {"A candidate is a node that only its pods name",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         Pod held = gpu_pod("a", 1000, 10);
         held.node = "n2";
         held.annotations["hami.io/vgpu-devices-allocated"] = "GPU-n2-0,NVIDIA,1000,10:;";
         EXPECT_TRUE(e.set_pod(held));
       },
       gpu_pod("p", 1000, 10),
       {"n2"}},
      {"What a node registered cannot be read",
       [](Engine& e) {
         Node node;
         node.name = "n1";
         node.annotations["hami.io/node-nvidia-register"] = "nonsense";
         EXPECT_FALSE(e.set_node(node));
       },
       gpu_pod("p", 1000, 10)},
      {"A node's other family cannot be read",
       [](Engine& e) {
         Node node = gpu_node("n1", 1);
         node.annotations["hami.io/node-dcu-register"] = "nonsense";
         EXPECT_FALSE(e.set_node(node));
       },
       device_pod("p", {{"hygon.com/dcunum", "1"}})},
      {"What a pod on the node holds cannot be read",
       [](Engine& e) {
         has(e, gpu_node("n1", 1));
         Pod broken = gpu_pod("a", 1000, 10);
         broken.node = "n1";
         broken.annotations["hami.io/vgpu-devices-allocated"] = "GPU-n1-0,NVIDIA,-5,x:;";
         EXPECT_FALSE(e.set_pod(broken));
       },
       gpu_pod("p", 1000, 10)},
      {"What pods say of a device contradicts itself",
       [](Engine& e) {
         has(e, mig_node("n1", 1));
         Pod held = gpu_pod("a", 1000, 10);
         held.node = "n1";
         held.annotations["hami.io/vgpu-devices-allocated"] = "GPU-n1-0,NVIDIA,1000,10:;";
         EXPECT_TRUE(e.set_pod(held));
       },
       gpu_pod("p", 1000, 10)},
      {"Three nodes refuse for three reasons",
       [](Engine& e) {
         has(e, gpu_node("n1", 1, [](RegisteredDevice& device) { device.healthy = false; }));
         has(e, gpu_node("n2", 1, [](RegisteredDevice& device) { device.memory = MiB{8192}; }));
         has(e, capacity_node("n3", {{"kunlunxin.com/xpu", 8}}));
       },
       gpu_pod("p", 10000, 10)},
  };
}

}  // namespace

std::vector<ExplainCase> explain_cases() {
  std::vector<ExplainCase> all;
  for (auto* part : {amounts, names, groups, sizes, pods_and_namespaces, nodes})
    for (ExplainCase& one : part()) all.push_back(std::move(one));
  return all;
}

NodeSet candidates_of(const Engine& engine, const ExplainCase& one) {
  NodeSet set;
  for (const std::string& name : one.candidates)
    if (const auto index = engine.find_node(name)) set.add(*index);
  return set;
}

}  // namespace kiboko
