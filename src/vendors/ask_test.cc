// What pods ask for, family by family. The tables are worked out by hand.
#include "vendors/ask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vendors/catalog.h"

namespace kiboko::vendors {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Limits = std::map<std::string, std::string, std::less<>>;

const Catalog& catalog() {
  static const Catalog kCatalog = Catalog::shipped().value();
  return kCatalog;
}

Result<Admission> admitted(std::string_view family, Limits limits, const Annotations& pod = {}) {
  return admit(*catalog().find(family), {"main", std::move(limits), {}}, pod);
}

DeviceAsk asked(std::string_view family, Limits limits, const Annotations& pod = {}) {
  const auto admission = admitted(family, std::move(limits), pod);
  EXPECT_TRUE(admission) << admission.error().message;
  if (!admission || !admission->ask) return {};
  return *admission->ask;
}

std::string refusal(std::string_view family, Limits limits, const Annotations& pod = {}) {
  const auto admission = admitted(family, std::move(limits), pod);
  return admission ? "admitted" : admission.error().message;
}

MemoryAsk mib(std::int64_t amount, bool whole = false) { return {MemoryAsk::Kind::Amount, amount, whole}; }
const MemoryAsk kWhole{};
MemoryAsk percent(std::int64_t amount) { return {MemoryAsk::Kind::Percent, amount, false}; }
CoresAsk units(std::int64_t amount) { return {CoresAsk::Kind::Units, amount}; }

TEST(NvidiaAsk, MemoryAloneImpliesOneSharedGpu) {
  const auto admission = admitted("NVIDIA", {{"nvidia.com/gpumem", "3000"}}).value();
  EXPECT_EQ(admission.ask->count, 1U);
  EXPECT_EQ(admission.ask->memory, mib(3000));
  EXPECT_EQ(admission.ask->cores, units(0));
  EXPECT_THAT(admission.limits, ElementsAre(std::pair("nvidia.com/gpu", 1)));
}

TEST(NvidiaAsk, AGpuAndNothingElseIsExclusive) {
  const auto admission = admitted("NVIDIA", {{"nvidia.com/gpu", "1"}}).value();
  EXPECT_EQ(admission.ask->memory, kWhole);
  EXPECT_EQ(admission.ask->cores, units(100));
  EXPECT_EQ(admission.limits.at("nvidia.com/gpucores"), 100);
}

TEST(NvidiaAsk, PercentagesAreOfTheDevice) {
  const auto ask =
      asked("NVIDIA", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem-percentage", "50"}, {"nvidia.com/gpucores", "30"}});
  EXPECT_EQ(ask.memory, percent(50));
  EXPECT_EQ(memory_on(ask, MiB{32510}), MiB{16255});
  EXPECT_EQ(ask.cores, units(30));
  EXPECT_EQ(asked("NVIDIA", {{"nvidia.com/gpumem-percentage", "100"}}).cores, units(100));
  EXPECT_EQ(asked("NVIDIA", {{"nvidia.com/gpumem-percentage", "50"}}).cores, units(0));
  EXPECT_EQ(asked("NVIDIA", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpucores", "300"}}).cores, units(100));
}

TEST(NvidiaAsk, MemoryWinsOverAPercentage) {
  EXPECT_EQ(asked("NVIDIA", {{"nvidia.com/gpumem", "3k"}, {"nvidia.com/gpumem-percentage", "50"}}).memory, mib(3000));
}

TEST(NvidiaAsk, AnnotationsSelectDevices) {
  const auto ask = asked("NVIDIA", {{"nvidia.com/gpu", "1"}},
                         {{"nvidia.com/use-gputype", "A100, H100"},
                          {"nvidia.com/nouse-gpuuuid", "GPU-1"},
                          {"nvidia.com/use-gpuuuid", " "},
                          {"nvidia.com/numa-bind", "T"},
                          {"nvidia.com/vgpu-mode", "mig"}});
  EXPECT_THAT(ask.use_types, ElementsAre("A100", "H100"));
  EXPECT_THAT(ask.no_use_uuids, ElementsAre("GPU-1"));
  EXPECT_TRUE(ask.use_uuids.empty());
  EXPECT_TRUE(ask.numa_bind);
  EXPECT_EQ(ask.modes, "mig");
  EXPECT_FALSE(asked("NVIDIA", {{"nvidia.com/gpu", "1"}}, {{"nvidia.com/numa-bind", "perhaps"}}).numa_bind);
}

TEST(NvidiaAsk, PriorityBecomesAVariable) {
  EXPECT_EQ(
      admitted("NVIDIA", {{"nvidia.com/gpu", "1"}, {"nvidia.com/priority", "1"}}).value().env.at("CUDA_TASK_PRIORITY"),
      "1");
}

TEST(NvidiaAsk, WhatMakesNoSenseIsRefusedInsteadOfForgotten) {
  EXPECT_THAT(
      refusal("NVIDIA", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "16Gi"}}),
      HasSubstr("container main: nvidia.com/gpumem 17179869184 (in units of 1 MiB) is more than any device has; "
                "if bytes were meant, write 16384"));
  EXPECT_THAT(refusal("NVIDIA", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "-1"}}), HasSubstr("'-1' is negative"));
  EXPECT_THAT(refusal("NVIDIA", {{"nvidia.com/gpu", "1"}, {"nvidia.com/gpumem", "500m"}}),
              HasSubstr("nvidia.com/gpumem"));
  EXPECT_THAT(refusal("NVIDIA", {{"nvidia.com/gpumem-percentage", "101"}}), HasSubstr("101 is not within 0 and 100"));
  EXPECT_THAT(refusal("NVIDIA", {{"nvidia.com/gpu", "3000000000"}}), HasSubstr("is not within"));
}

TEST(NvidiaAsk, NothingAskedIsNothingAsked) {
  const auto none = admitted("NVIDIA", {{"cpu", "1"}}).value();
  EXPECT_FALSE(none.claimed);
  EXPECT_FALSE(none.ask);
  EXPECT_FALSE(admitted("NVIDIA", {{"nvidia.com/gpu", "0"}}).value().ask);
}

TEST(NvidiaAsk, LimitsWinOverRequests) {
  const Container container{"c", {{"nvidia.com/gpu", "1"}}, {{"nvidia.com/gpu", "2"}, {"nvidia.com/gpumem", "7"}}};
  const auto ask = *admit(*catalog().find("NVIDIA"), container, {}).value().ask;
  EXPECT_EQ(ask.count, 1U);
  EXPECT_EQ(ask.memory, mib(7));
}

TEST(AmdAsk, PercentBecomesComputeUnitsAtLeastOne) {
  const auto cores = [](const char* asked_percent, std::int64_t units_of_device) {
    return cores_on(asked("AMD", {{"amd.com/gpu", "1"}, {"amd.com/gpucores", asked_percent}}),
                    CoreUnits{units_of_device})
        .count;
  };
  EXPECT_EQ(cores("25", 304), 76);
  EXPECT_EQ(cores("1", 304), 3);
  EXPECT_EQ(cores("5", 8), 1);
  const auto whole = asked("AMD", {{"amd.com/gpu", "1"}});
  EXPECT_EQ(cores_on(whole, CoreUnits{304}).count, 304);
  EXPECT_EQ(memory_on(whole, MiB{196608}), MiB{196608});
  EXPECT_THAT(refusal("AMD", {{"amd.com/gpu", "1"}, {"amd.com/gpucores", "101"}}), HasSubstr("not within 1 and 100"));
  EXPECT_THAT(refusal("AMD", {{"amd.com/gpu", "1"}, {"amd.com/gpucores", "0"}}), HasSubstr("not within 1 and 100"));
}

TEST(AmdAsk, MemoryAloneGetsADevice) {
  EXPECT_EQ(asked("AMD", {{"amd.com/gpumem", "2000"}}).count, 1U);
  const Container requests{"c", {}, {{"amd.com/gpu", "1"}}};
  EXPECT_FALSE(admit(*catalog().find("AMD"), requests, {}).value().claimed);
}

TEST(AscendAsk, MemoryGoesUpTheLadderOfTemplates) {
  struct Row {
    const char* asked;
    std::int64_t given;
    const char* name;
    bool whole;
  };
  const Row rows[] = {{"1", 3072, "vir01", false},      {"3072", 3072, "vir01", false}, {"3073", 6144, "vir02", false},
                      {"12288", 12288, "vir04", false}, {"13000", 21527, "", true},     {"24576", 21527, "", true}};
  for (const Row& row : rows) {
    const auto admission =
        admitted("Ascend310P", {{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", row.asked}}).value();
    EXPECT_EQ(admission.ask->memory, mib(row.given, row.whole)) << row.asked;
    EXPECT_EQ(admission.ask->template_name, row.name) << row.asked;
    EXPECT_EQ(admission.limits.at("huawei.com/Ascend310P-memory"), row.given);
  }
  EXPECT_THAT(refusal("Ascend310P", {{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", "24577"}}),
              HasSubstr("more than the 24576 MiB"));
}

TEST(AscendAsk, SeveralDevicesAreWhole) {
  EXPECT_THAT(refusal("Ascend310P", {{"huawei.com/Ascend310P", "2"}, {"huawei.com/Ascend310P-memory", "3072"}}),
              HasSubstr("several devices are given whole only"));
  const auto ask = asked("Ascend310P", {{"huawei.com/Ascend310P", "2"}});
  EXPECT_EQ(ask.count, 2U);
  EXPECT_EQ(ask.memory, mib(21527, true));
}

TEST(AscendAsk, DiesOf910CComeInPairs) {
  const auto count = [](const char* dies) { return asked("Ascend910C", {{"huawei.com/Ascend910C", dies}}).count; };
  EXPECT_EQ(count("1"), 2U);
  EXPECT_EQ(count("2"), 2U);
  EXPECT_THAT(refusal("Ascend910C", {{"huawei.com/Ascend910C", "3"}}), HasSubstr("no multiple of 2"));
  // One die with a slice would have become two sliced dies.
  EXPECT_THAT(refusal("Ascend910C", {{"huawei.com/Ascend910C", "1"}, {"huawei.com/Ascend910C-memory", "16384"}}),
              HasSubstr("several devices are given whole only"));
}

TEST(AscendAsk, ASoftShareTakesAmountsAsTheyAre) {
  const Annotations soft = {{"huawei.com/vnpu-mode", "hami-core"}};
  const auto ask = asked("Ascend910B3",
                         {{"huawei.com/Ascend910B3", "1"},
                          {"huawei.com/Ascend910B3-memory", "5000"},
                          {"huawei.com/Ascend910B3-core", "40"}},
                         soft);
  EXPECT_EQ(ask.memory, mib(5000));
  EXPECT_EQ(ask.cores, units(40));
  EXPECT_THAT(refusal("Ascend910B3", {{"huawei.com/Ascend910B3", "1"}, {"huawei.com/Ascend910B3-core", "40"}}),
              HasSubstr("annotate the pod with huawei.com/vnpu-mode=hami-core"));
}

TEST(AscendAsk, ATemplateTakesItsCoresToo) {
  const auto ask = asked("Ascend310P", {{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", "6000"}});
  EXPECT_EQ(ask.template_cores, CoreUnits{2});
  EXPECT_EQ(step_of(*catalog().find("Ascend310P"), MiB{6144})->cpus, 2);
}

TEST(MluAsk, MemoryIsIn256MiBAndComputeIsWholeUnlessSaid) {
  const auto ask = asked(
      "MLU",
      {{"cambricon.com/vmlu", "1"}, {"cambricon.com/mlu.smlu.vmemory", "20"}, {"cambricon.com/mlu.smlu.vcore", "10"}});
  EXPECT_EQ(ask.memory, mib(5120));
  EXPECT_EQ(ask.cores, units(10));
  const auto whole = asked("MLU", {{"cambricon.com/vmlu", "1"}});
  EXPECT_EQ(whole.memory, kWhole);
  EXPECT_EQ(whole.cores, units(100));
  EXPECT_THAT(refusal("MLU", {{"cambricon.com/vmlu", "2"}, {"cambricon.com/mlu.smlu.vmemory", "20"}}),
              HasSubstr("a share is of one device"));
  EXPECT_EQ(asked("MLU", {{"cambricon.com/vmlu", "2"}}).count, 2U);
}

TEST(DcuAsk, ComputeIsWholeUnlessSaid) {
  const auto ask = asked("DCU", {{"hygon.com/dcunum", "1"}, {"hygon.com/dcumem", "2000"}});
  EXPECT_EQ(ask.memory, mib(2000));
  EXPECT_EQ(ask.cores, units(100));
}

TEST(IluvatarAsk, SeveralAreWhole) {
  const auto admission = admitted("MR-V100", {{"iluvatar.ai/MR-V100-vgpu", "2"}}).value();
  EXPECT_EQ(admission.limits.at("iluvatar.ai/MR-V100.vCore"), 200);
  EXPECT_EQ(admission.ask->cores, units(100));
  EXPECT_EQ(admission.ask->memory, kWhole);
  EXPECT_EQ(admission.env.at("SOL_CONTINER_NAME"), "main");
  const auto ask = asked("BI-V150", {{"iluvatar.ai/BI-V150-vgpu", "1"}, {"iluvatar.ai/BI-V150.vMem", "64"}});
  EXPECT_EQ(ask.memory, mib(16384));
  EXPECT_EQ(ask.cores, units(0));
}

TEST(MetaxAsk, ABareNumberIsGiBAndASuffixedOneIsBytes) {
  const auto memory = [](const char* text) {
    return asked("Metax-SGPU", {{"metax-tech.com/sgpu", "1"}, {"metax-tech.com/vmemory", text}}).memory;
  };
  EXPECT_EQ(memory("4"), mib(4096));
  EXPECT_EQ(memory("2048Mi"), mib(2048));
  EXPECT_EQ(memory("1Gi"), mib(1024));
  EXPECT_EQ(asked("Metax-SGPU", {{"metax-tech.com/sgpu", "1"}}).cores, units(100));
}

TEST(MetaxAsk, ClassAndPolicyAreChecked) {
  const Limits one = {{"metax-tech.com/sgpu", "1"}};
  const auto admission = admitted("Metax-SGPU", one).value();
  EXPECT_EQ(admission.annotate.at("metax-tech.com/sgpu-qos-policy"), "best-effort");
  EXPECT_EQ(admission.ask->traits.at("qos"), "best-effort");
  const auto online = admitted("Metax-SGPU", one, {{"metax-tech.com/sgpu-app-class", "online"}}).value();
  EXPECT_TRUE(online.annotate.empty());
  EXPECT_EQ(online.ask->traits.at("appClass"), "online");
  EXPECT_THAT(refusal("Metax-SGPU", {{"metax-tech.com/sgpu", "2"}}, {{"metax-tech.com/sgpu-app-class", "offline"}}),
              HasSubstr("one metax-tech.com/sgpu"));
  EXPECT_THAT(refusal("Metax-SGPU", one, {{"metax-tech.com/sgpu-app-class", "batch"}}),
              HasSubstr("use one of online, offline"));
  EXPECT_THAT(refusal("Metax-SGPU", one, {{"metax-tech.com/sgpu-qos-policy", "fast"}}), HasSubstr("fixed-share"));
}

TEST(MthreadsAsk, SeveralCardsAreWholeAndDividedAgain) {
  const auto admission = admitted("Mthreads", {{"mthreads.com/vgpu", "2"}}).value();
  EXPECT_EQ(admission.limits.at("mthreads.com/sgpu-core"), 32);
  EXPECT_EQ(admission.limits.at("mthreads.com/sgpu-memory"), 192);
  EXPECT_EQ(admission.annotate.at("mthreads.com/request-gpu-num"), "2");
  EXPECT_EQ(admission.ask->memory, mib(49152));
  EXPECT_EQ(admission.ask->cores, units(16));
  EXPECT_EQ(asked("Mthreads", {{"mthreads.com/vgpu", "1"}}).memory, mib(49152));
  EXPECT_EQ(asked("Mthreads", {{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-memory", "4"}}).memory, mib(2048));
  EXPECT_THAT(refusal("Mthreads", {{"mthreads.com/vgpu", "1"}, {"mthreads.com/sgpu-memory", "3"}}),
              HasSubstr("must be one of 2, 4, 8"));
  EXPECT_THAT(refusal("Mthreads", {{"mthreads.com/vgpu", "0"}}), HasSubstr("mthreads.com/vgpu 0"));
}

TEST(XpuAsk, MemoryIsAQuarterAHalfOrAll) {
  const std::tuple<const char*, std::int64_t, std::int64_t> rows[] = {
      {"0", 24576, 25}, {"24576", 24576, 25}, {"30000", 49152, 50}, {"49153", 98304, 100}};
  for (const auto& [text, memory, cores] : rows) {
    const auto ask = asked("XPU", {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", text}});
    EXPECT_EQ(ask.memory.value, memory) << text;
    EXPECT_EQ(ask.cores, units(cores)) << text;
  }
  EXPECT_THAT(refusal("XPU", {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "200000"}}),
              HasSubstr("more than the 98304"));
  const auto whole = asked("XPU", {{"kunlunxin.com/vxpu", "1"}});
  EXPECT_EQ(whole.memory.value, 98304);
  EXPECT_EQ(whole.cores, units(100));
}

TEST(KunlunAsk, ACountThatCanNeverFitIsRefused) {
  EXPECT_EQ(asked("kunlun", {{"kunlunxin.com/xpu", "4"}}).count, 4U);
  EXPECT_THAT(refusal("kunlun", {{"kunlunxin.com/xpu", "3"}}), HasSubstr("only 1, 2, 4, 8 can be had"));
}

TEST(EnflameAsk, ASliceOrItsMemoryAndCompute) {
  EXPECT_EQ(asked("Enflame", {{"enflame.com/drs-gcu", "3"}}).memory, (MemoryAsk{MemoryAsk::Kind::Slices, 3, false}));
  const auto spec = asked("Enflame", {{"enflame.com/gcu-memory", "20"}, {"enflame.com/gcu-core", "40"}});
  EXPECT_EQ(spec.memory, (MemoryAsk{MemoryAsk::Kind::Spec, 20, false}));
  EXPECT_EQ(spec.cores, units(40));
  EXPECT_THAT(refusal("Enflame", {{"enflame.com/drs-gcu", "0"}}), HasSubstr("must be more than 0"));
  EXPECT_THAT(refusal("Enflame", {{"enflame.com/gcu-core", "101"}}), HasSubstr("not within 1 and 100"));
  EXPECT_EQ(asked("GCU", {{"enflame.com/gcu", "2"}}).cores, units(100));
}

TEST(NeuronAsk, DevicesOrCores) {
  const auto devices = asked("AWSNeuron", {{"aws.amazon.com/neuron", "4"}, {"aws.amazon.com/neuroncore", "1"}});
  EXPECT_EQ(devices.count, 4U);
  EXPECT_EQ(devices.cores.kind, CoresAsk::Kind::All);
  const auto cores = asked("AWSNeuron", {{"aws.amazon.com/neuroncore", "2"}});
  EXPECT_EQ(cores.cores, (CoresAsk{CoresAsk::Kind::Divided, 2}));
  EXPECT_EQ(cores.traits.at("resource"), "aws.amazon.com/neuroncore");
}

TEST(WholeDeviceAsk, BirenVastaiAndMetaxTakeACount) {
  EXPECT_EQ(asked("Biren", {{"birentech.com/gpu", "2"}}).memory, kWhole);
  EXPECT_EQ(asked("Vastai", {{"vastaitech.com/va", "2"}}).cores, units(0));
  EXPECT_EQ(asked("Metax-GPU", {{"metax-tech.com/gpu", "2"}}).cores, units(100));
}

// Admission writes its result into the pod; the scheduler reads that again.
TEST(Ask, WhatAdmissionWroteAsksForTheSame) {
  const std::pair<const char*, Limits> rows[] = {
      {"NVIDIA", {{"nvidia.com/gpumem", "3000"}}},
      {"NVIDIA", {{"nvidia.com/gpu", "1"}}},
      {"Ascend310P", {{"huawei.com/Ascend310P", "1"}, {"huawei.com/Ascend310P-memory", "13000"}}},
      {"Ascend910C", {{"huawei.com/Ascend910C", "1"}}},
      {"XPU", {{"kunlunxin.com/vxpu", "1"}, {"kunlunxin.com/vxpu-memory", "30000"}}},
      {"Mthreads", {{"mthreads.com/vgpu", "2"}}},
      {"MR-V100", {{"iluvatar.ai/MR-V100-vgpu", "2"}}},
      {"Metax-SGPU", {{"metax-tech.com/sgpu", "1"}, {"metax-tech.com/vmemory", "4"}}},
  };
  for (const auto& [family, limits] : rows) {
    const auto first = admitted(family, limits).value();
    Limits written = limits;
    for (const auto& [resource, value] : first.limits) written[resource] = std::to_string(value);
    EXPECT_EQ(asked(family, written), *first.ask) << family;
  }
}

// Somebody's profile may compute what no device can be asked for.
TEST(Ask, AmountsThatAProfileMakesImpossibleAreRefusedByName) {
  const Limits limits = {{"nvidia.com/gpu", "2"}, {"nvidia.com/gpumem", "3000"}, {"nvidia.com/gpucores", "30"}};
  const std::pair<const char*, const char*> rows[] = {
      {R"(admission: [{set: {count: "count - 2"}}])", "sets count to 'count - 2', which is 0: not within 1 and"},
      {R"(admission: [{set: {memory: "0 - 9223372036854775807"}}])", "sets memory to"},
      {R"(admission: [{set: {cores: "0 - cores"}}])", "which is -30: not within 0 and"},
      {R"(admission: [{set: {memoryPercent: "101"}}])", "which is 101: not within 0 and 100"},
      {R"(resources: {cores: {name: nvidia.com/gpucores, fromMemory: "memory - 4000"}})", "is -2500: not within 0"},
  };
  for (const auto& [change, why] : rows) {
    Catalog changed = catalog();
    const auto added = changed.add({"p.yaml", fmt::format("extends: NVIDIA\n{}\n", change)});
    ASSERT_TRUE(added) << added.error().message;
    ASSERT_TRUE(changed.add({"q.yaml", "extends: NVIDIA\nresources: {memory: {perDevice: false}}\n"}));
    const auto admission = admit(*changed.find("NVIDIA"), {"main", limits, {}}, {});
    ASSERT_FALSE(admission) << change;
    EXPECT_THAT(admission.error().message, testing::AllOf(HasSubstr("container main: NVIDIA"), HasSubstr(why)));
  }
}

TEST(HiddenEnv, HidesOnlyWhatNobodyOfTheGroupAskedFor) {
  Catalog changed = catalog();
  for (const char* word : {"Ascend910A", "Ascend310P"})
    ASSERT_TRUE(changed.add({"c", fmt::format("extends: {}\nhideEnv: {{ASCEND_VISIBLE_DEVICES: ''}}\n", word)}));
  std::vector<const Family*> all;
  for (const Family& family : changed.families()) all.push_back(&family);
  EXPECT_EQ(hidden_env(all, {}).count("ASCEND_VISIBLE_DEVICES"), 1U);
  EXPECT_TRUE(hidden_env(all, {changed.find("Ascend910A")}).empty());
  EXPECT_EQ(hidden_env(all, {changed.find("NVIDIA")}).size(), 1U);
}

}  // namespace
}  // namespace kiboko::vendors
