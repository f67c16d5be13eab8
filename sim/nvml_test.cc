// The simulated management library as a client sees it, over devices whose load the test makes itself.
#include <dlfcn.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <set>
#include <vector>

#include "nvml_abi.h"
#include "test_load.h"

using namespace nvml;

extern "C" {
Return nvmlInit_v2();
Return nvmlShutdown();
const char* nvmlErrorString(Return);
Return nvmlSystemGetDriverVersion(char*, unsigned);
Return nvmlSystemGetCudaDriverVersion(int*);
Return nvmlSystemGetProcessName(unsigned, char*, unsigned);
Return nvmlDeviceGetCount_v2(unsigned*);
Return nvmlDeviceGetHandleByIndex_v2(unsigned, Handle*);
Return nvmlDeviceGetHandleByUUID(const char*, Handle*);
Return nvmlDeviceGetHandleBySerial(const char*, Handle*);
Return nvmlDeviceGetHandleByPciBusId_v2(const char*, Handle*);
Return nvmlDeviceGetIndex(Handle, unsigned*);
Return nvmlDeviceGetName(Handle, char*, unsigned);
Return nvmlDeviceGetUUID(Handle, char*, unsigned);
Return nvmlDeviceGetSerial(Handle, char*, unsigned);
Return nvmlDeviceGetPciInfo_v3(Handle, PciInfo*);
Return nvmlDeviceGetMemoryInfo(Handle, Memory*);
Return nvmlDeviceGetMemoryInfo_v2(Handle, MemoryV2*);
Return nvmlDeviceGetComputeRunningProcesses(Handle, unsigned*, ProcessInfoV1*);
Return nvmlDeviceGetComputeRunningProcesses_v3(Handle, unsigned*, ProcessInfoV2*);
Return nvmlDeviceGetRunningProcessDetailList(Handle, ProcessDetailList*);
Return nvmlDeviceGetUtilizationRates(Handle, Utilization*);
Return nvmlDeviceGetProcessUtilization(Handle, ProcessSample*, unsigned*, Ull);
Return nvmlDeviceGetProcessesUtilizationInfo(Handle, ProcessesUtilization*);
Return nvmlDeviceGetPowerUsage(Handle, unsigned*);
Return nvmlDeviceGetTemperature(Handle, unsigned, unsigned*);
Return nvmlDeviceGetClockInfo(Handle, unsigned, unsigned*);
Return nvmlDeviceGetFanSpeed(Handle, unsigned*);
Return nvmlDeviceGetEccMode(Handle, unsigned*, unsigned*);
Return nvmlDeviceGetMigMode(Handle, unsigned*, unsigned*);
Return nvmlDeviceGetFieldValues(Handle, int, FieldValue*);
Return nvmlDeviceGetNvLinkRemotePciInfo_v2(Handle, unsigned, PciInfo*);
Return nvmlDeviceGetTopologyCommonAncestor(Handle, Handle, unsigned*);
Return nvmlEventSetCreate(EventSet*);
Return nvmlEventSetFree(EventSet);
Return nvmlDeviceRegisterEvents(Handle, Ull, EventSet);
Return nvmlEventSetWait_v2(EventSet, EventData*, unsigned);
Return nvmlVgpuTypeGetName();
}

namespace {

using sim::kMiB;
using sim::test::eventually;
using sim::test::Load;

class Nvml : public sim::test::DeviceSet {
 protected:
  void TearDown() override {
    while (nvmlShutdown() == kSuccess) {
    }
    DeviceSet::TearDown();
  }
  Handle device(unsigned index) {
    Handle handle = nullptr;
    EXPECT_EQ(nvmlDeviceGetHandleByIndex_v2(index, &handle), kSuccess);
    return handle;
  }
  sim::ManagementState& management() {
    std::string error;
    return *sim::attach_management(name(), error);
  }
};

TEST_F(Nvml, AnswersUninitializedUntilInitialisedAndAfterTheLastShutdown) {
  unsigned count = 0;
  EXPECT_EQ(nvmlDeviceGetCount_v2(&count), kUninitialized);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  ASSERT_EQ(nvmlShutdown(), kSuccess);
  EXPECT_EQ(nvmlDeviceGetCount_v2(&count), kSuccess);
  ASSERT_EQ(nvmlShutdown(), kSuccess);
  EXPECT_EQ(nvmlDeviceGetCount_v2(&count), kUninitialized);
  EXPECT_EQ(nvmlShutdown(), kUninitialized);
}

TEST_F(Nvml, CountsAllDevicesWhateverTheVisibilityVariableSays) {
  setenv("CUDA_VISIBLE_DEVICES", "0", 1);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  unsigned count = 0;
  EXPECT_EQ(nvmlDeviceGetCount_v2(&count), kSuccess);
  EXPECT_EQ(count, 3U);
  unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST_F(Nvml, FindsADeviceByItsIndexIdentifierSerialAndBusAddress) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  char uuid[96], serial[32], name[96];
  PciInfo pci;
  Handle found = nullptr;
  ASSERT_EQ(nvmlDeviceGetUUID(device(1), uuid, sizeof uuid), kSuccess);
  ASSERT_EQ(nvmlDeviceGetSerial(device(1), serial, sizeof serial), kSuccess);
  ASSERT_EQ(nvmlDeviceGetPciInfo_v3(device(1), &pci), kSuccess);
  ASSERT_EQ(nvmlDeviceGetName(device(1), name, sizeof name), kSuccess);
  EXPECT_STREQ(name, "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(sim::uuid_text(shared().devices[1].uuid), uuid);
  for (const Return code : {nvmlDeviceGetHandleByUUID(uuid, &found), nvmlDeviceGetHandleBySerial(serial, &found),
                            nvmlDeviceGetHandleByPciBusId_v2(pci.busId, &found),
                            nvmlDeviceGetHandleByPciBusId_v2(pci.busIdLegacy, &found)}) {
    EXPECT_EQ(code, kSuccess);
    EXPECT_EQ(found, device(1));
  }
  EXPECT_EQ(nvmlDeviceGetHandleByUUID("GPU-00000000-0000-0000-0000-000000000000", &found), kNotFound);
  EXPECT_EQ(nvmlDeviceGetHandleByIndex_v2(3, &found), kInvalidArgument);
}

TEST_F(Nvml, RefusesABufferThatIsTooShortAndAHandleThatIsNone) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  char name[4];
  unsigned index = 0;
  EXPECT_EQ(nvmlDeviceGetName(device(0), name, sizeof name), kInsufficientSize);
  EXPECT_EQ(nvmlDeviceGetIndex(nullptr, &index), kInvalidArgument);
  EXPECT_EQ(nvmlDeviceGetIndex(reinterpret_cast<Handle>(&index), &index), kInvalidArgument);
}

TEST_F(Nvml, ShowsTheMemoryThatTheDeviceHasGivenOut) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  Load load(shared(), 0);
  ASSERT_TRUE(load.take(1000 * kMiB));
  MemoryV2 v2{};
  v2.version = version_of<MemoryV2>(2);
  Memory v1{};
  ASSERT_EQ(nvmlDeviceGetMemoryInfo_v2(device(0), &v2), kSuccess);
  ASSERT_EQ(nvmlDeviceGetMemoryInfo(device(0), &v1), kSuccess);
  EXPECT_EQ(v2.total, 81559 * kMiB);
  EXPECT_EQ(v2.used, 1000 * kMiB);
  EXPECT_EQ(v2.total, v2.used + v2.free + v2.reserved);
  EXPECT_EQ(v1.used, v2.used + v2.reserved);
  EXPECT_EQ(v1.free, v2.free);
  v2.version = version_of<MemoryV2>(1);
  EXPECT_EQ(nvmlDeviceGetMemoryInfo_v2(device(0), &v2), kVersionMismatch);
}

TEST_F(Nvml, TakesBackTheMemoryOfAnEndedProcessOnce) {
  const int channel = sim::claim_channel(shared(), 0);
  ASSERT_TRUE(sim::charge(shared(), channel, 1 << 30));
  sim::release_channel(shared(), channel);
  sim::refund(shared(), channel, 1 << 20);  // a thread of it that was in the middle of a free
  EXPECT_FALSE(sim::charge(shared(), channel, 1 << 20));
  EXPECT_EQ(sim::memory_use(shared(), 0).used, 0U);
}

TEST_F(Nvml, ListsProcessesByTheBufferProtocolInEveryVersion) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  unsigned count = 0;
  EXPECT_EQ(nvmlDeviceGetComputeRunningProcesses_v3(device(0), &count, nullptr), kSuccess);
  EXPECT_EQ(count, 0U);
  Load load(shared(), 0);
  ASSERT_TRUE(load.take(7 * kMiB));
  EXPECT_EQ(nvmlDeviceGetComputeRunningProcesses_v3(device(0), &count, nullptr), kInsufficientSize);
  ASSERT_EQ(count, 1U);
  ProcessInfoV2 info{};
  ProcessInfoV1 old{};
  ProcessDetail detail{};
  ProcessDetailList list{version_of<ProcessDetailList>(1), 0, 1, &detail};
  EXPECT_EQ(nvmlDeviceGetComputeRunningProcesses_v3(device(0), &count, &info), kSuccess);
  EXPECT_EQ(nvmlDeviceGetComputeRunningProcesses(device(0), &count, &old), kSuccess);
  EXPECT_EQ(nvmlDeviceGetRunningProcessDetailList(device(0), &list), kSuccess);
  EXPECT_THAT((std::vector{info.pid, old.pid, detail.pid}), testing::Each(static_cast<unsigned>(getpid())));
  EXPECT_THAT((std::vector{info.usedGpuMemory, old.usedGpuMemory, detail.usedGpuMemory}), testing::Each(7 * kMiB));
  EXPECT_EQ(info.gpuInstanceId, kNoInstance);
  list.version = 0;
  EXPECT_EQ(nvmlDeviceGetRunningProcessDetailList(device(0), &list), kVersionMismatch);
}

TEST_F(Nvml, HidesAllProcessesWhenAskedToBehaveLikeADriverThatDoes) {
  setenv("KIBOKO_SIM_NVML_PIDS", "none", 1);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  Load load(shared(), 0);
  unsigned count = 5;
  EXPECT_EQ(nvmlDeviceGetComputeRunningProcesses_v3(device(0), &count, nullptr), kSuccess);
  EXPECT_EQ(count, 0U);
}

TEST_F(Nvml, ShowsAProcessOfAnotherPidNamespaceOnlyInTheHostView) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  Load load(shared(), 0);
  shared().channels[load.channel()].pid_namespace += 1;
  shared().channels[load.channel()].start_time += 1;
  unsigned count = 1;
  ProcessInfoV2 info{};
  EXPECT_EQ(nvmlDeviceGetComputeRunningProcesses_v3(device(0), &count, &info), kSuccess);
  EXPECT_EQ(count, 0U);
  setenv("KIBOKO_SIM_NVML_PIDS", "host", 1);
  count = 1;
  EXPECT_EQ(nvmlDeviceGetComputeRunningProcesses_v3(device(0), &count, &info), kSuccess);
  EXPECT_EQ(count, 1U);
}

TEST_F(Nvml, ShowsTheLoadOfTheLastWindowAndThenItsEnd) {
  setenv("KIBOKO_SIM_NVML_WINDOW_MS", "50", 1);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  const auto utilization = [&] {
    Utilization use{};
    EXPECT_EQ(nvmlDeviceGetUtilizationRates(device(0), &use), kSuccess);
    return use.gpu;
  };
  unsigned clock = 0;
  EXPECT_EQ(utilization(), 0U);
  {
    Load load(shared(), 0);
    load.submit(600'000'000'000);
    EXPECT_TRUE(eventually([&] { return utilization() == 100; }));
    EXPECT_EQ(nvmlDeviceGetClockInfo(device(0), 1, &clock), kSuccess);
    EXPECT_EQ(clock, 1980U);
  }
  EXPECT_TRUE(eventually([&] { return utilization() == 0; }));
}

TEST_F(Nvml, SamplesAProcessOncePerWindow) {
  setenv("KIBOKO_SIM_NVML_WINDOW_MS", "500", 1);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  unsigned count = 0;
  EXPECT_EQ(nvmlDeviceGetProcessUtilization(device(0), nullptr, &count, 0), kNotFound);
  Load load(shared(), 0);
  load.submit(600'000'000'000);
  ProcessSample sample{};
  ASSERT_TRUE(eventually([&] {
    count = 1;
    return nvmlDeviceGetProcessUtilization(device(0), &sample, &count, 0) == kSuccess && sample.smUtil == 100;
  }));
  EXPECT_EQ(sample.pid, static_cast<unsigned>(getpid()));
  ProcessSample later{};
  ASSERT_TRUE(eventually([&] {
    count = 1;
    return nvmlDeviceGetProcessUtilization(device(0), &later, &count, sample.timeStamp) == kSuccess;
  }));
  EXPECT_GE(later.timeStamp, sample.timeStamp + 400'000);

  ProcessUtilization info{};
  ProcessesUtilization request{version_of<ProcessesUtilization>(1), 1, 0, &info};
  EXPECT_EQ(nvmlDeviceGetProcessesUtilizationInfo(device(0), &request), kSuccess);
  EXPECT_EQ(info.smUtil, 100U);
  request.version = 7;
  EXPECT_EQ(nvmlDeviceGetProcessesUtilizationInfo(device(0), &request), kVersionMismatch);
}

TEST_F(Nvml, DrawsMorePowerAndGetsWarmerUnderLoad) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  unsigned idle_power = 0, idle_heat = 0, power = 0, heat = 0;
  ASSERT_EQ(nvmlDeviceGetPowerUsage(device(0), &idle_power), kSuccess);
  ASSERT_EQ(nvmlDeviceGetTemperature(device(0), 0, &idle_heat), kSuccess);
  Load load(shared(), 0);
  load.submit(600'000'000'000);
  EXPECT_TRUE(eventually([&] {
    return nvmlDeviceGetPowerUsage(device(0), &power) == kSuccess && power > 2 * idle_power &&
           nvmlDeviceGetTemperature(device(0), 0, &heat) == kSuccess && heat > idle_heat;
  }));
  EXPECT_LE(power, 700'000U);
}

TEST_F(Nvml, GivesFansOnlyToGamingCardsAndErrorCorrectionOnlyToTheOthers) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  unsigned value = 0, pending = 0;
  EXPECT_EQ(nvmlDeviceGetFanSpeed(device(0), &value), kNotSupported);
  EXPECT_EQ(nvmlDeviceGetFanSpeed(device(2), &value), kSuccess);
  EXPECT_EQ(nvmlDeviceGetEccMode(device(0), &value, &pending), kSuccess);
  EXPECT_EQ(nvmlDeviceGetEccMode(device(2), &value, &pending), kNotSupported);
}

TEST_F(Nvml, JoinsDevicesOfOneKindByLinks) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  PciInfo peer, other;
  ASSERT_EQ(nvmlDeviceGetNvLinkRemotePciInfo_v2(device(0), 5, &peer), kSuccess);
  ASSERT_EQ(nvmlDeviceGetPciInfo_v3(device(1), &other), kSuccess);
  EXPECT_STREQ(peer.busId, other.busId);
  unsigned same = 9, apart = 0;
  EXPECT_EQ(nvmlDeviceGetTopologyCommonAncestor(device(0), device(0), &same), kSuccess);
  EXPECT_EQ(nvmlDeviceGetTopologyCommonAncestor(device(0), device(2), &apart), kSuccess);
  EXPECT_LT(same, apart);
}

TEST_F(Nvml, AnswersFieldsOneByOne) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  FieldValue fields[2] = {};
  fields[0].fieldId = 189;  // default power limit
  fields[1].fieldId = 60000;
  ASSERT_EQ(nvmlDeviceGetFieldValues(device(0), 2, fields), kSuccess);
  EXPECT_EQ(fields[0].nvmlReturn, kSuccess);
  EXPECT_EQ(fields[0].value.uiVal, 700'000U);
  EXPECT_EQ(fields[1].nvmlReturn, kNotSupported);
}

TEST_F(Nvml, DeliversAnXidToAWaitingSetButNotWhatHappenedBefore) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  EventSet set = nullptr;
  EventData event{};
  ASSERT_EQ(nvmlEventSetCreate(&set), kSuccess);
  sim::post_event(management(), 1, sim::kEventXid, 13);
  ASSERT_EQ(nvmlDeviceRegisterEvents(device(1), sim::kEventXid, set), kSuccess);
  EXPECT_EQ(nvmlEventSetWait_v2(set, &event, 1), kTimeout);
  sim::post_event(management(), 0, sim::kEventXid, 31);  // a device that is not registered
  sim::post_event(management(), 1, sim::kEventXid, 48);
  ASSERT_EQ(nvmlEventSetWait_v2(set, &event, 60'000), kSuccess);
  EXPECT_EQ(event.device, device(1));
  EXPECT_EQ(event.eventType, sim::kEventXid);
  EXPECT_EQ(event.eventData, 48U);
  EXPECT_EQ(nvmlEventSetWait_v2(set, &event, 0), kTimeout);
  EXPECT_EQ(nvmlEventSetFree(set), kSuccess);
}

TEST_F(Nvml, WakesAWaiterWhenAnotherProcessReportsAnXid) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  EventSet set = nullptr;
  EventData event{};
  ASSERT_EQ(nvmlEventSetCreate(&set), kSuccess);
  ASSERT_EQ(nvmlDeviceRegisterEvents(device(0), sim::kEventXid, set), kSuccess);
  sim::ManagementState& state = management();
  const pid_t child = fork();
  if (child == 0) {
    sim::test::sleep_ms(50);
    sim::post_event(state, 0, sim::kEventXid, 79);
    _exit(0);
  }
  EXPECT_EQ(nvmlEventSetWait_v2(set, &event, 60'000), kSuccess);
  EXPECT_EQ(event.eventData, 79U);
  waitpid(child, nullptr, 0);
  nvmlEventSetFree(set);
}

TEST_F(Nvml, KnowsALostDeviceByNameButNotItsMemory) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  char uuid[96];
  Memory memory;
  management().devices[0].lost = 1;
  EXPECT_EQ(nvmlDeviceGetUUID(device(0), uuid, sizeof uuid), kSuccess);
  EXPECT_EQ(nvmlDeviceGetMemoryInfo(device(0), &memory), kGpuIsLost);
  EXPECT_EQ(nvmlDeviceGetMemoryInfo(device(1), &memory), kSuccess);
  management().devices[0].lost = 0;
  EXPECT_EQ(nvmlDeviceGetMemoryInfo(device(0), &memory), kSuccess);
}

TEST_F(Nvml, FailsAndPausesWhereAFaultIsAskedFor) {
  setenv("KIBOKO_SIM_NVML_FAULT", "nvmlDeviceGetMemoryInfo=hang:60ms,nvmlDeviceGetUUID=999@2,nvmlSystem*=17", 1);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  char text[96];
  Memory memory;
  const std::uint64_t start = sim::now_ns();
  EXPECT_EQ(nvmlDeviceGetMemoryInfo(device(0), &memory), kSuccess);
  EXPECT_GE(sim::now_ns() - start, 60'000'000U);
  EXPECT_EQ(nvmlDeviceGetUUID(device(0), text, sizeof text), kSuccess);
  EXPECT_EQ(nvmlDeviceGetUUID(device(0), text, sizeof text), 999U);
  EXPECT_EQ(nvmlDeviceGetUUID(device(0), text, sizeof text), kSuccess);
  EXPECT_EQ(nvmlSystemGetDriverVersion(text, sizeof text), 17U);
}

TEST_F(Nvml, ClaimsTheDriverThatTheEnvironmentAsksFor) {
  setenv("KIBOKO_SIM_DRIVER", "12020", 1);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  char text[80];
  int cuda = 0;
  ASSERT_EQ(nvmlSystemGetDriverVersion(text, sizeof text), kSuccess);
  ASSERT_EQ(nvmlSystemGetCudaDriverVersion(&cuda), kSuccess);
  EXPECT_STREQ(text, "535.183.06");
  EXPECT_EQ(cuda, 12020);
}

TEST_F(Nvml, NamesProcessesAndErrors) {
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  char text[256];
  EXPECT_EQ(nvmlSystemGetProcessName(static_cast<unsigned>(getpid()), text, sizeof text), kSuccess);
  EXPECT_THAT(std::string(text), testing::HasSubstr("sim_nvml_test"));
  EXPECT_EQ(nvmlSystemGetProcessName(0x7fffffff, text, sizeof text), kNotFound);
  EXPECT_STREQ(nvmlErrorString(kGpuIsLost), "GPU is lost");
  EXPECT_STREQ(nvmlErrorString(12345), "Unknown Error");
}

TEST_F(Nvml, SaysNotSupportedForWhatItDoesNotModel) {
  unsigned current = 0, pending = 0;
  EXPECT_EQ(nvmlVgpuTypeGetName(), kUninitialized);
  ASSERT_EQ(nvmlInit_v2(), kSuccess);
  EXPECT_EQ(nvmlVgpuTypeGetName(), kNotSupported);
  EXPECT_EQ(nvmlDeviceGetMigMode(device(0), &current, &pending), kNotSupported);
}

TEST_F(Nvml, SaysThatThereIsNoDriverWhenTheDevicesCannotBeMade) {
  setenv("KIBOKO_SIM", (name() + "-other").c_str(), 1);
  setenv("KIBOKO_SIM_DEVICES", "1xABACUS", 1);
  testing::internal::CaptureStderr();
  EXPECT_EQ(nvmlInit_v2(), kDriverNotLoaded);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("ABACUS"));
}

TEST(NvmlLibrary, ExportsExactlyTheNamesOfTheList) {
  std::set<std::string> wanted, exported;
#define NVML(name) wanted.insert(#name);
#include "nvml_functions.def"
#undef NVML
  FILE* nm = popen("nm -D --defined-only " NVML_LIBRARY, "r");
  char address[64], kind[8], symbol[256];
  while (fscanf(nm, "%63s %7s %255s", address, kind, symbol) == 3) exported.insert(symbol);
  pclose(nm);
  if (exported.empty()) GTEST_SKIP() << "no nm on this machine";
  EXPECT_EQ(exported, wanted);
}

}  // namespace
