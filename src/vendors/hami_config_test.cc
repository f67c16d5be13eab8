#include "vendors/hami_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vendors/ask.h"

namespace kiboko::vendors {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

struct Imported {
  Catalog catalog;
  std::vector<std::string> ignored;
};

Imported imported(std::string_view text) {
  Imported result{Catalog::shipped().value(), {}};
  auto made = import_hami_config(result.catalog, text, "device-config.yaml");
  EXPECT_TRUE(made) << made.error().message;
  if (!made) return result;
  for (const ProfileText& profile : made->profiles) {
    const auto added = result.catalog.add(profile);
    EXPECT_TRUE(added) << added.error().message << "\n" << profile.text;
  }
  result.ignored = made->ignored;
  return result;
}

// As the chart writes it, with every section.
constexpr const char* kWhole = R"(nvidia:
  resourceCountName: nvidia.com/gpu
  resourceMemoryName: nvidia.com/gpumem
  resourceMemoryPercentageName: nvidia.com/gpumem-percentage
  resourceCoreName: nvidia.com/gpucores
  resourcePriorityName: nvidia.com/priority
  overwriteEnv: false
  defaultMemory: 0
  defaultCores: 0
  defaultGPUNum: 1
  preConfiguredDeviceMemory: 0
  memoryFactor: 1
  deviceSplitCount: 10
  deviceMemoryScaling: 1
  deviceCoreScaling: 1
  enableNumaTopology: false
  gpuCorePolicy: default
  libCudaLogLevel: 1
  runtimeClassName: ""
  migProfileAllowlist:
  - models: [ "A30" ]
    profiles: [ "1g.6gb", "2g.12gb", "4g.24gb" ]
cambricon: {resourceCountName: cambricon.com/vmlu, resourceMemoryName: cambricon.com/mlu.smlu.vmemory, resourceCoreName: cambricon.com/mlu.smlu.vcore}
hygon: {resourceCountName: hygon.com/dcunum, resourceMemoryName: hygon.com/dcumem, resourceCoreName: hygon.com/dcucores, memoryFactor: 1}
metax: {resourceCountName: metax-tech.com/gpu, resourceVCountName: metax-tech.com/sgpu, resourceVMemoryName: metax-tech.com/vmemory, resourceVCoreName: metax-tech.com/vcore, sgpuTopologyAware: false}
enflame: {resourceNameGCU: enflame.com/gcu, resourceNameDRSGCU: enflame.com/drs-gcu, resourceNameGCUMemory: enflame.com/gcu-memory, resourceNameGCUCore: enflame.com/gcu-core}
mthreads: {resourceCountName: mthreads.com/vgpu, resourceMemoryName: mthreads.com/sgpu-memory, resourceCoreName: mthreads.com/sgpu-core}
iluvatars:
- {chipName: MR-V100, commonWord: MR-V100, resourceCountName: iluvatar.ai/MR-V100-vgpu, resourceMemoryName: iluvatar.ai/MR-V100.vMem, resourceCoreName: iluvatar.ai/MR-V100.vCore}
kunlun: {resourceCountName: kunlunxin.com/xpu, resourceVCountName: kunlunxin.com/vxpu, resourceVMemoryName: kunlunxin.com/vxpu-memory}
awsneuron: {resourceCountName: aws.amazon.com/neuron, resourceCoreName: aws.amazon.com/neuroncore}
amd: {resourceCountName: amd.com/gpu, resourceCoreName: amd.com/gpucores, resourceMemoryName: amd.com/gpumem}
vastai: {resourceCountName: vastaitech.com/va}
biren: {resourceCountName: birentech.com/gpu}
vnpus:
  hamiVnpuCore: false
  configs:
  - chipName: 310P3
    commonWord: Ascend310P
    resourceName: huawei.com/Ascend310P
    resourceMemoryName: huawei.com/Ascend310P-memory
    resourceCoreName: huawei.com/Ascend310P-core
    memoryAllocatable: 21527
    memoryCapacity: 24576
    memoryFactor: 1
    aiCore: 8
    aiCPU: 7
    runtimeClassName: ""
    overwriteEnv: false
    templates:
      - {name: vir01, memory: 3072, aiCore: 1, aiCPU: 1}
      - {name: vir02, memory: 6144, aiCore: 2, aiCPU: 2}
      - {name: vir04, memory: 12288, aiCore: 4, aiCPU: 4}
)";

TEST(HamiConfig, TheUsualFileChangesNothingAndLosesNothing) {
  const Imported result = imported(kWhole);
  EXPECT_THAT(result.ignored, ElementsAre());
  EXPECT_EQ(result.catalog.families().size(), 25U);
  const auto ask = admit(*result.catalog.find("Ascend310P"),
                         {"c", {{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", "3073"}}, {}}, {})
                       .value()
                       .ask;
  EXPECT_EQ(ask->template_name, "vir02");
  EXPECT_EQ(result.catalog.find("NVIDIA")->options.at("migProfileAllowlist"), "A30:1g.6gb,2g.12gb,4g.24gb");
}

TEST(HamiConfig, NamesAndDefaultsAreTakenOver) {
  const Imported result = imported(R"(nvidia:
  resourceCountName: my.org/gpu
  resourceMemoryName: my.org/mem
  memoryFactor: 1024
  defaultMemory: 4096
  defaultCores: 20
  defaultGPUNum: 2
  gpuCorePolicy: force
  overwriteEnv: true
  runtimeClassName: nvidia
  resourcePriorityName: my.org/priority
)");
  EXPECT_TRUE(result.ignored.empty());
  const Family& family = *result.catalog.find("NVIDIA");
  EXPECT_EQ(family.hide_env.at("NVIDIA_VISIBLE_DEVICES"), "none");
  const auto admission = admit(family, {"c", {{"my.org/mem", "3"}, {"my.org/priority", "1"}}, {}}, {}).value();
  EXPECT_EQ(admission.ask->count, 2U);
  EXPECT_EQ(admission.ask->memory.value, 3072);
  EXPECT_EQ(admission.ask->cores.value, 20);
  EXPECT_EQ(admission.runtime_class, "nvidia");
  EXPECT_EQ(admission.env.at("GPU_CORE_UTILIZATION_POLICY"), "force");
  EXPECT_EQ(admission.env.at("CUDA_TASK_PRIORITY"), "1");
  // A default is an amount: the device is shared, not exclusive.
  const auto alone = admit(family, {"c", {{"my.org/gpu", "1"}}, {}}, {}).value().ask;
  EXPECT_EQ(alone->memory, (MemoryAsk{MemoryAsk::Kind::Amount, 4096, false}));
  EXPECT_EQ(alone->cores.value, 20);
}

TEST(HamiConfig, WhatIsIgnoredIsNamedWithItsLine) {
  const Imported result = imported(
      "mthreads:\n  resourceCountName: mthreads.com/vgpu\n  memoryPerCard: [96]\nenflame:\n  resourceNameVGCU: "
      "enflame.com/vgcu\nnovendor:\n  x: 1\nhygon:\n  resourceCountName: \"\"\n");
  EXPECT_THAT(result.ignored, Contains(HasSubstr("device-config.yaml:3: mthreads.memoryPerCard is ignored")));
  EXPECT_THAT(result.ignored, Contains(HasSubstr("device-config.yaml:5: enflame.resourceNameVGCU is ignored")));
  EXPECT_THAT(result.ignored, Contains(HasSubstr("device-config.yaml:6: novendor is ignored")));
  EXPECT_THAT(result.ignored, Contains(HasSubstr("device-config.yaml:9: hygon.resourceCountName is ignored")));
  EXPECT_EQ(result.catalog.find("DCU")->resources.count.name, "hygon.com/dcunum");
}

TEST(HamiConfig, AChipThatWeDoNotShipIsMadeFromItsSection) {
  const Imported result = imported(R"(vnpus:
- chipName: 920X
  commonWord: Ascend920X
  resourceName: huawei.com/Ascend920X
  resourceMemoryName: huawei.com/Ascend920X-memory
  memoryAllocatable: 100000
  memoryCapacity: 110000
  superPod: true
  overwriteEnv: true
  templates:
    - {name: big, memory: 50000, aiCore: 10}
    - {name: small, memory: 20000, aiCore: 5}
iluvatars:
- {chipName: X9, commonWord: X9, resourceCountName: iluvatar.ai/X9-vgpu, resourceMemoryName: iluvatar.ai/X9.vMem, resourceCoreName: iluvatar.ai/X9.vCore}
)");
  EXPECT_EQ(result.catalog.families().size(), 27U);
  const Family& chip = *result.catalog.find("Ascend920X");
  EXPECT_EQ(chip.resources.memory.ladder.front().name, "small");
  EXPECT_EQ(chip.selection.strategy, "pairPack");
  EXPECT_EQ(chip.discovery.key, "hami.io/node-register-Ascend920X");
  EXPECT_EQ(chip.hide_env.count("ASCEND_VISIBLE_DEVICES"), 1U);
  EXPECT_EQ(admit(chip, {"c", {{"huawei.com/Ascend920X", "1"}}, {}}, {}).value().ask->memory.value, 100000);
  EXPECT_EQ(result.catalog.find("X9")->selectors.use_uuid.front(), "hami.io/use-X9-uuid");
}

TEST(HamiConfig, WhatIsNoSuchFileIsRefused) {
  const Catalog base = Catalog::shipped().value();
  const auto fault = [&](std::string_view text) {
    const auto made = import_hami_config(base, text, "f");
    return made ? std::string("imported") : made.error().message;
  };
  EXPECT_THAT(fault(""), HasSubstr("no device-config.yaml"));
  EXPECT_THAT(fault("apiVersion: v1\n"), HasSubstr("has none of its sections"));
  EXPECT_THAT(fault("nvidia: [1]\n"), AllOf(HasSubstr("f:1"), HasSubstr("must be a map")));
  EXPECT_THAT(fault("vnpus: [{chipName: x}]\n"), HasSubstr("vnpus[0]: commonWord is missing"));
}

}  // namespace
}  // namespace kiboko::vendors
