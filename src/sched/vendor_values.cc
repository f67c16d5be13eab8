#include "sched/vendor_values.h"

namespace kiboko::testing_values {

std::vector<FamilySample> family_samples() {
  const auto units = [](std::int64_t cores, std::int32_t slots) {
    return [cores, slots](RegisteredDevice& device) {
      device.cores = CoreUnits{cores};
      device.slots = slots;
    };
  };
  return {
      {"NVIDIA", gpu_node("nvidia", 8), {{"nvidia.com/gpumem", "3000"}}},
      {"AMD",
       plugin_node("amd", "hami.io/node-amd-register", "AMD Instinct MI300X", 8, units(304, 10)),
       {{"amd.com/gpu", "1"}, {"amd.com/gpumem", "1000"}, {"amd.com/gpucores", "25"}}},
      {"Ascend910B3",
       plugin_node("ascend", "hami.io/node-register-Ascend910B3", "Ascend910B3", 8, units(20, 4)),
       {{"huawei.com/Ascend910B3", "1"}, {"huawei.com/Ascend910B3-memory", "10000"}}},
      {"Ascend910C",
       plugin_node("pairs", "hami.io/node-register-Ascend910C", "Ascend910C", 8, units(20, 4)),
       {{"huawei.com/Ascend910C", "4"}}},
      {"AWSNeuron",
       capacity_node("neuron", {{"aws.amazon.com/neuron", 4}, {"aws.amazon.com/neuroncore", 8}}),
       {{"aws.amazon.com/neuroncore", "1"}}},
      {"Biren",
       plugin_node("biren", "hami.io/node-biren-register", "Biren106", 8, units(0, 1)),
       {{"birentech.com/gpu", "2"}}},
      {"MLU",
       capacity_node("mlu", {{"cambricon.com/vmlu", 200},
                             {"cambricon.com/mlu.smlu.vcore", 200},
                             {"cambricon.com/mlu.smlu.vmemory", 400}}),
       {{"cambricon.com/vmlu", "1"}, {"cambricon.com/mlu.smlu.vmemory", "20"}, {"cambricon.com/mlu.smlu.vcore", "10"}}},
      {"GCU", capacity_node("gcu", {{"enflame.com/gcu", 2}}), {{"enflame.com/gcu", "1"}}},
      {"Enflame",
       annotated_node("drs", "enflame.com/gcu-drs-capacity",
                      R"({"devices":[{"index":"0","minor":"5","capacity":6}],)"
                      R"("profiles":{"1g.8gb":"p1","2g.16gb":"p2","3g.24gb":"p3","6g.48gb":"p6"}})"),
       {{"enflame.com/drs-gcu", "3"}}},
      {"DCU",
       plugin_node("dcu", "hami.io/node-dcu-register", "DCU-K100", 8, units(100, 4)),
       {{"hygon.com/dcunum", "1"}, {"hygon.com/dcumem", "2000"}, {"hygon.com/dcucores", "60"}}},
      {"MR-V100",
       plugin_node("iluvatar", "hami.io/node-MR-V100-register", "MR-V100", 8, units(100, 4)),
       {{"iluvatar.ai/MR-V100-vgpu", "1"}, {"iluvatar.ai/MR-V100.vMem", "64"}}},
      {"kunlun", capacity_node("kunlun", {{"kunlunxin.com/xpu", 8}}), {{"kunlunxin.com/xpu", "4"}}},
      {"XPU",
       plugin_node("xpu", "hami.io/node-register-xpu", "XPU-R200", 8,
                   [](RegisteredDevice& device) { device.memory = MiB{98304}; }),
       {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "24576"}}},
      {"Metax-GPU", capacity_node("metax", {{"metax-tech.com/gpu", 4}}), {{"metax-tech.com/gpu", "2"}}},
      {"Metax-SGPU",
       annotated_node("sgpu", "metax-tech.com/node-gpu-devices",
                      R"([{"uuid":"GPU-m","model":"MXC500","totalDevCount":16,"totalCompute":100,)"
                      R"("totalVRam":65536,"healthy":true}])"),
       {{"metax-tech.com/sgpu", "1"}, {"metax-tech.com/vmemory", "4"}, {"metax-tech.com/vcore", "30"}}},
      {"Mthreads",
       capacity_node("mthreads",
                     {{"mthreads.com/vgpu", 200}, {"mthreads.com/sgpu-core", 32}, {"mthreads.com/sgpu-memory", 192}}),
       {{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-core", "4"}, {"mthreads.com/sgpu-memory", "8"}}},
      {"Vastai",
       plugin_node("vastai", "hami.io/node-va-register", "Vastai", 8, units(0, 1)),
       {{"vastaitech.com/va", "1"}}},
  };
}

}  // namespace kiboko::testing_values
