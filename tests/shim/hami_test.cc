// A container under HAMi's variables, with no page of ours: what its variables mean when its processes see different
// devices, and whether HAMi's monitor reads and writes the region as it would HAMi-core's.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>

#include "hami_reader.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::uint64_t word(const std::string& line, unsigned index) {
  std::istringstream in(line);
  std::string text;
  for (unsigned i = 0; i <= index; ++i) in >> text;
  return text.empty() ? 0 : std::strtoull(text.c_str(), nullptr, 10);
}

std::string total(std::uint64_t bytes) { return "total 0 " + std::to_string(bytes); }

class Hami : public OnDriver {
 protected:
  void SetUp() override {
    OnDriver::SetUp();
    tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.region_path();
  }
  void limit(const std::vector<const char*>& limits) {
    for (std::size_t i = 0; i < limits.size(); ++i)
      tenant.environment["CUDA_DEVICE_MEMORY_LIMIT_" + std::to_string(i)] = limits[i];
  }
  // What `script` prints, as a process that sees these devices.
  std::vector<std::string> seeing(const std::string& devices, std::vector<std::string> script) {
    tenant.environment["CUDA_VISIBLE_DEVICES"] = devices;
    const Ended ended = tenant.probe_run(std::move(script));
    tenant.environment.erase("CUDA_VISIBLE_DEVICES");
    EXPECT_EQ(ended.err, "");
    return lines_of(ended.out);
  }
  // A process that has done `script` and holds what it got.
  Process holding(std::vector<std::string> script) {
    script.emplace_back("await");
    Process process(tenant.probe(std::move(script)));
    std::string line;
    while ((line = process.read_line()) != "await" && !line.empty()) {
    }
    return process;
  }
  HamiRegionView region() const {
    const auto view = read_hami_region(tenant.region_path());
    if (!view) ADD_FAILURE() << "the monitor would not read " << tenant.region_path();
    return view.value_or(HamiRegionView{});
  }
};

// The minimal stand-in always shows all its devices, and its kernels take no time.
class HamiDevices : public Hami {};
class HamiKernels : public Hami {};

TEST_P(HamiDevices, MayBeShownToEachProcessInPartAndInAnyOrder) {
  limit({"1g", "2g", "3g"});
  EXPECT_THAT(seeing("0,1,2", {"init", "total", "0", "total", "1", "total", "2"}),
              ElementsAre("init 0", total(kGiB), total(2 * kGiB), total(3 * kGiB)));
  EXPECT_THAT(seeing("1", {"init", "total", "0"}), ElementsAre("init 0", total(2 * kGiB)));
  EXPECT_THAT(seeing("2,0", {"init", "total", "0", "total", "1"}), ElementsAre("init 0", total(3 * kGiB), total(kGiB)));
  EXPECT_EQ(region().devices.size(), 3u);
}

TEST_P(HamiDevices, AreNumberedAsTheContainersProcessesFirstSawThem) {
  limit({"1g", "2g", "3g"});
  EXPECT_THAT(seeing("1", {"init", "total", "0"}), ElementsAre("init 0", total(kGiB)));
  EXPECT_THAT(seeing("0,1", {"init", "total", "0", "total", "1"}), ElementsAre("init 0", total(2 * kGiB), total(kGiB)));
  const auto devices = region().devices;
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0].uuid, tenant.devices().at(1).uuid);
  EXPECT_EQ(devices[1].uuid, tenant.devices().at(0).uuid);
  EXPECT_EQ(devices[0].memory_limit, kGiB);
  EXPECT_EQ(devices[1].memory_limit, 2 * kGiB);
}

TEST_P(HamiDevices, AreNumberedAsNvidiaVisibleDevicesListsThem) {
  const auto& all = tenant.devices();
  tenant.environment["NVIDIA_VISIBLE_DEVICES"] = all.at(2).uuid + "," + all.at(0).uuid + "," + all.at(1).uuid;
  limit({"1g", "2g", "3g"});
  EXPECT_THAT(seeing("1", {"init", "total", "0"}), ElementsAre("init 0", total(3 * kGiB)));
  EXPECT_THAT(seeing("0,2", {"init", "total", "0", "total", "1"}), ElementsAre("init 0", total(2 * kGiB), total(kGiB)));
  const auto devices = region().devices;
  ASSERT_EQ(devices.size(), 3u);
  EXPECT_EQ(devices[0].uuid, all.at(2).uuid);
  EXPECT_EQ(devices[0].memory_limit, kGiB);
}

TEST_P(HamiDevices, AreNotNumberedByAListThatIsNotOfUuids) {
  limit({"1g", "2g", "3g"});
  for (const std::string list : {"all", "2,1,0", "GPU-1234"}) {
    tenant.environment["NVIDIA_VISIBLE_DEVICES"] = list;
    EXPECT_THAT(seeing("0,1", {"init", "total", "0", "total", "1"}),
                ElementsAre("init 0", total(kGiB), total(2 * kGiB)))
        << list;
    ::unlink(tenant.region_path().c_str());
  }
}

TEST_P(HamiDevices, ShareOneAccountWhateverTheirNumberInAProcess) {
  limit({"4g", "4g", "4g"});
  tenant.environment["CUDA_VISIBLE_DEVICES"] = "1";
  Process holder = holding({"init", "context", "0", "alloc", std::to_string(3 * kGiB)});
  const auto lines = seeing(
      "2,1", {"init", "context", "1", "alloc", std::to_string(kGiB), "context", "0", "alloc", std::to_string(kGiB)});
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[2], "alloc 2") << "device 1 is nearly full";
  EXPECT_EQ(lines[4], "alloc 0") << "device 2 is not";
  const auto view = region();
  ASSERT_EQ(view.devices.size(), 2u);
  EXPECT_GE(view.devices[0].used, 3 * kGiB);
  EXPECT_EQ(view.devices[1].used, 0u);
  tenant.environment["NVIDIA_VISIBLE_DEVICES"] = "all";
  const auto nvml = lines_of(tenant.probe_run({"nvml-init", "nvml-memory", "0", "nvml-memory", "1"}).out);
  ASSERT_EQ(nvml.size(), 3u);
  EXPECT_EQ(word(nvml[1], 3), 0u);
  EXPECT_GE(word(nvml[2], 3), 3 * kGiB);
}

// ---- the monitor's view

TEST_P(Hami, MonitorReadsProcessesDevicesAndSlots) {
  limit({"4g", "5g"});
  tenant.environment["CUDA_DEVICE_SM_LIMIT"] = "30";
  tenant.environment["CUDA_TASK_PRIORITY"] = "3";
  Process first = holding({"init", "context", "0", "alloc", std::to_string(kGiB)});
  Process second = holding({"init", "context", "1", "alloc", std::to_string(2 * kGiB)});
  Process third = holding({"init"});
  const auto view = region();
  EXPECT_EQ(view.owner_pid, 0u);
  EXPECT_EQ(view.priority, 3);
  EXPECT_EQ(view.utilization_switch, 1);
  EXPECT_EQ(view.slot_count, 3);
  const auto& known = tenant.devices();
  ASSERT_EQ(view.devices.size(), known.size());
  for (std::size_t i = 0; i < known.size(); ++i) {
    EXPECT_EQ(view.devices[i].uuid, known[i].uuid);
    EXPECT_EQ(view.devices[i].sm_limit, 30u);
  }
  EXPECT_EQ(view.devices[0].memory_limit, 4 * kGiB);
  EXPECT_EQ(view.devices[1].memory_limit, 5 * kGiB);
  ASSERT_EQ(view.processes.size(), 3u);
  EXPECT_EQ(view.processes[0].pid, first.pid());
  EXPECT_EQ(view.processes[1].pid, second.pid());
  EXPECT_EQ(view.processes[2].pid, third.pid());
  EXPECT_EQ(view.processes[0].status, 1);
  EXPECT_EQ(view.processes[0].devices[0].data, kGiB);
  EXPECT_EQ(view.processes[0].devices[1].total, 0u);
  EXPECT_EQ(view.processes[1].devices[1].data, 2 * kGiB);
  for (const HamiProcess& process : view.processes)
    for (const HamiUse& use : process.devices)
      EXPECT_EQ(use.context + use.module + use.data + use.offset, use.total) << process.slot;
  EXPECT_EQ(view.devices[0].used, view.processes[0].devices[0].total);
}

TEST_P(Hami, MonitorSeesNothingOfAProcessThatWasTakenBack) {
  limit({"4g"});
  Process first = holding({"init", "context", "0", "alloc", std::to_string(kGiB)});
  {
    Process killed = holding({"init", "context", "0", "alloc", std::to_string(kGiB)});
    EXPECT_EQ(region().slot_count, 2);
  }
  Process third = holding({"init", "context", "0", "alloc", std::to_string(kMiB)});
  const auto view = region();
  ASSERT_EQ(view.processes.size(), 2u);
  EXPECT_EQ(view.processes[1].pid, third.pid());
  EXPECT_EQ(view.processes[1].slot, 1u) << "the slot is used again";
  EXPECT_LT(view.devices[0].used, 2 * kGiB);
  first.write_line("go");
  EXPECT_EQ(first.wait().exit_code, 0);
  const auto later = region();
  EXPECT_EQ(later.slot_count, 2) << "slots stay where they are";
  ASSERT_EQ(later.processes.size(), 1u);
  EXPECT_EQ(later.processes[0].slot, 1u);
  EXPECT_LT(later.devices[0].used, kGiB);
}

TEST_P(Hami, TheDeadAreTakenBackByAProgramThatOnlyAsksNvmlToo) {
  if (::access((std::string(GetParam().folder) + "/libnvidia-ml.so.1").c_str(), F_OK) != 0)
    GTEST_SKIP() << "no libnvidia-ml.so.1 (not built)";
  limit({"4g"});
  { Process killed = holding({"init", "context", "0", "alloc", std::to_string(kGiB)}); }
  EXPECT_EQ(region().processes.size(), 1u) << "nobody is there to notice";
  const auto lines = lines_of(tenant.probe_run({"nvml-init", "nvml-memory", "0"}).out);
  EXPECT_EQ(lines.at(1), "nvml-memory 0 4294967296 0 4294967296");
  EXPECT_THAT(region().processes, IsEmpty());
  EXPECT_EQ(region().devices.at(0).used, 0u);
}

TEST_P(Hami, ALimitThatTheMonitorLowersHoldsAtOnceAndOneThatItRaisesDoesNot) {
  limit({"4g"});
  Process process(tenant.probe({"init", "context", "0", "await", "info", "await", "info"}));
  while (process.read_line() != "await") {
  }
  set_hami_memory_limit(tenant.region_path(), 0, 2 * kGiB);
  process.write_line("lower");
  EXPECT_EQ(word(process.read_line(), 3), 2 * kGiB);
  process.read_line();
  set_hami_memory_limit(tenant.region_path(), 0, 8 * kGiB);
  process.write_line("higher");
  EXPECT_EQ(word(process.read_line(), 3), 4 * kGiB);
}

TEST_P(HamiKernels, AreSeenByTheMonitorAsOftenAsTheIntervalSays) {
  tenant.environment["CUDA_DEVICE_SM_LIMIT"] = "50";
  for (const char* interval : {"", "1", "86400"}) {
    ::unlink(tenant.region_path().c_str());
    tenant.environment["RECORD_KERNEL_INTERVAL"] = interval;
    const std::time_t before = std::time(nullptr) - 1;
    Process process = holding({"init", "context", "0", "launch", "2000", "await", "launch", "2000"});
    const auto first = region();
    EXPECT_GE(first.last_kernel_time, before);
    EXPECT_LE(first.last_kernel_time, std::time(nullptr));
    EXPECT_EQ(first.recent_kernel, 2);
    set_hami_recent_kernel(tenant.region_path(), 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(2100));
    process.write_line("again");
    EXPECT_EQ(process.read_line(), "launch 0");
    process.read_line();
    const auto second = region();
    EXPECT_EQ(second.recent_kernel, 2);
    if (std::string(interval) == "86400") {
      EXPECT_EQ(second.last_kernel_time, first.last_kernel_time);
    } else {
      EXPECT_GT(second.last_kernel_time, first.last_kernel_time) << interval;
    }
  }
}

TEST_P(Hami, ARestartedContainerTakesOverTheFileOfHamiCore) {
  limit({"2g", "3g"});
  const auto& known = tenant.devices();
  leave_hami_region(tenant.region_path(), {known.at(1).uuid, known.at(0).uuid}, ::getpid(), 7 * kGiB);
  tenant.environment["NVIDIA_VISIBLE_DEVICES"] = known.at(0).uuid + "," + known.at(1).uuid;
  Process process = holding({"init", "total", "0", "total", "1", "context", "0", "alloc", std::to_string(kGiB)});
  const auto view = region();
  ASSERT_GE(view.devices.size(), 2u);
  EXPECT_EQ(view.devices[0].uuid, known.at(1).uuid) << "devices stay where HAMi-core had them";
  EXPECT_EQ(view.devices[0].memory_limit, 3 * kGiB);
  EXPECT_EQ(view.devices[1].memory_limit, 2 * kGiB);
  EXPECT_EQ(view.devices[0].used, 0u);
  ASSERT_EQ(view.processes.size(), 1u);
  EXPECT_EQ(view.processes[0].pid, process.pid());
  process.write_line("go");
  EXPECT_THAT(lines_of(process.wait().out),
              ElementsAre("init 0", total(2 * kGiB), total(3 * kGiB), "context 0", "alloc 0", "await"));
}

// ---- variables

TEST_P(Hami, WithoutALimitCudaStartsWhereTheRegionCannotBeWrittenAndOneLineSaysSo) {
  tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.path("no/such/region");
  const std::uint64_t bytes = tenant.devices().at(0).bytes;
  const Ended ended =
      tenant.probe_run({"init", "init", "total", "0", "context", "0", "alloc", "1048576", "launch", "10"});
  EXPECT_THAT(lines_of(ended.out), ElementsAre("init 0", "init 0", total(bytes), "context 0", "alloc 0", "launch 0"));
  EXPECT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_THAT(ended.err, AllOf(HasSubstr("no limit is asked for"), HasSubstr("no/such/region")));
}

TEST_P(Hami, WithALimitCudaDoesNotStartWhereTheRegionCannotBeWritten) {
  tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.path("no/such/region");
  for (const char* name : {"CUDA_DEVICE_MEMORY_LIMIT_1", "CUDA_DEVICE_SM_LIMIT"}) {
    tenant.environment[name] = "50";
    const Ended ended = tenant.probe_run({"init"});
    EXPECT_THAT(lines_of(ended.out), ElementsAre("init 304"));
    EXPECT_THAT(ended.err, HasSubstr("CUDA is refused"));
    tenant.environment.erase(name);
  }
}

TEST_P(Hami, ALimitForADeviceThatCannotBeIsRefused) {
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT_16"] = "1g";
  const Ended ended = tenant.probe_run({"init"});
  EXPECT_THAT(lines_of(ended.out), ElementsAre("init 304"));
  EXPECT_THAT(ended.err, HasSubstr("CUDA_DEVICE_MEMORY_LIMIT_16 is for a device that cannot be"));
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT_16"] = "";
  EXPECT_THAT(lines_of(tenant.probe_run({"init"}).out), ElementsAre("init 0"));
}

TEST_P(Hami, WordsThatAreNotUnderstoodAreNamedOnlyWhenAsked) {
  tenant.environment["CUDA_TASK_PRIORITY"] = "-2";
  tenant.environment["GPU_CORE_UTILIZATION_POLICY"] = "sometimes";
  tenant.environment["RECORD_KERNEL_INTERVAL"] = "soon";
  EXPECT_EQ(tenant.probe_run({"init"}).err, "");
  EXPECT_EQ(region().priority, 1);
  tenant.environment["LIBCUDA_LOG_LEVEL"] = "1";
  const std::string err = tenant.probe_run({"init"}).err;
  EXPECT_EQ(lines_of(err).size(), 3u) << err;
  EXPECT_THAT(err, AllOf(HasSubstr("CUDA_TASK_PRIORITY is '-2'"), HasSubstr("GPU_CORE_UTILIZATION_POLICY"),
                         HasSubstr("RECORD_KERNEL_INTERVAL")));
}

TEST_P(Hami, LimitsAreToldAtTheStartOnlyWhenAsked) {
  limit({"1g"});
  tenant.environment["CUDA_DEVICE_SM_LIMIT"] = "30";
  for (const char* level : {"", "0", "1", "2", "loud"}) {
    tenant.environment["LIBCUDA_LOG_LEVEL"] = level;
    EXPECT_EQ(tenant.probe_run({"init", "context", "0"}).err, "") << level;
  }
  tenant.environment["LIBCUDA_LOG_LEVEL"] = "3";
  const auto lines = lines_of(tenant.probe_run({"init", "context", "0", "launch", "10"}).err);
  ASSERT_EQ(lines.size(), tenant.devices().size());
  EXPECT_EQ(lines[0], "kiboko: slot 0, device 0 " + tenant.devices().at(0).uuid +
                          ": memory limit 1073741824 bytes, compute limit 30%");
}

KIBOKO_ON_EVERY_DRIVER(Hami);
#define ON_THE_SIMULATED_DRIVER(suite)                                 \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::Values(drivers().back()), \
                           [](const auto& row) { return std::string(row.param.name); })
ON_THE_SIMULATED_DRIVER(HamiDevices);
ON_THE_SIMULATED_DRIVER(HamiKernels);

}  // namespace
}  // namespace kiboko::shim_test
