// NVML as nvidia-smi and monitoring libraries ask it, from inside a share.
#include <unistd.h>

#include <gmock/gmock.h>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  return {std::istream_iterator<std::string>(in), {}};
}
std::uint64_t word(const std::string& line, unsigned index) {
  const auto words = words_of(line);
  return index < words.size() ? std::strtoull(words[index].c_str(), nullptr, 10) : 0;
}

class Nvml : public OnDriver {
 protected:
  void SetUp() override {
    OnDriver::SetUp();
    if (!IsSkipped() && ::access((std::string(GetParam().folder) + "/libnvidia-ml.so.1").c_str(), F_OK) != 0)
      GTEST_SKIP() << "no libnvidia-ml.so.1 in " << GetParam().folder << " (not built)";
  }
  std::vector<std::string> ask(std::vector<std::string> script) {
    const Ended ended = tenant.probe_run(std::move(script));
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    return lines_of(ended.out);
  }
};

TEST_P(Nvml, MemoryIsThatOfTheShareAndAddsUp) {
  tenant.grant({{0, 2 * kGiB}});
  const auto lines = ask({"init", "context", "0", "alloc", std::to_string(kGiB), "info", "nvml-init", "nvml-memory",
                          "0", "nvml-memory2", "2", "0"});
  const std::uint64_t free = word(lines.at(3), 2), used = 2 * kGiB - free;
  const std::string figures = std::to_string(2 * kGiB) + " " + std::to_string(used) + " " + std::to_string(free);
  EXPECT_GE(used, kGiB);
  EXPECT_EQ(lines.at(5), "nvml-memory 0 " + figures) << "as cuMemGetInfo says: " << lines.at(3);
  EXPECT_EQ(lines.at(6), "nvml-memory2 0 " + figures + " 0");
}

TEST_P(Nvml, AskingNeverStartsCudaNorClaimsASlot) {
  tenant.grant({{0, 2 * kGiB}});
  EXPECT_EQ(ask({"nvml-init", "nvml-memory", "0"}).at(1), "nvml-memory 0 2147483648 0 2147483648");
  Process process(tenant.probe({"init", "context", "0", "alloc", std::to_string(kGiB), "await"}));
  while (process.read_line() != "await") {
  }
  const auto lines =
      ask({"nvml-init", "nvml-memory", "0", "nvml-list2", "nvmlDeviceGetComputeRunningProcesses_v3", "8", "0"});
  EXPECT_GE(word(lines.at(1), 3), kGiB);
  ASSERT_EQ(words_of(lines.at(2)).size(), 4u) << lines.at(2);
  EXPECT_THAT(words_of(lines.at(2)).at(3), StartsWith(std::to_string(process.pid()) + ":"));
  process.write_line("go");
  process.wait();
}

TEST_P(Nvml, WithoutAGrantNothingIsChanged) {
  const std::vector<std::string> script = {"nvml-init",
                                           "nvml-devices",
                                           "nvml-memory",
                                           "0",
                                           "nvml-memory2",
                                           "2",
                                           "0",
                                           "nvml-memory2",
                                           "9",
                                           "0",
                                           "nvml-list2",
                                           "nvmlDeviceGetComputeRunningProcesses_v3",
                                           "0",
                                           "0"};
  const auto with = ask(script);
  tenant.with_shim(false);
  EXPECT_EQ(with, ask(script));
}

TEST_P(Nvml, AGrantWithoutAMemoryLimitShowsPhysicalMemory) {
  tenant.with_shim(false);
  const auto physical = ask({"nvml-init", "nvml-memory", "0"});
  tenant.with_shim(true);
  tenant.grant({{0, 0, 30}});
  EXPECT_EQ(ask({"nvml-init", "nvml-memory", "0"}), physical);
}

TEST_P(Nvml, OnlyTheGrantsDevicesAreCountedInItsOrder) {
  tenant.grant({{2, kGiB}, {0, 2 * kGiB}});
  const auto& devices = tenant.devices();
  const auto lines = ask({"nvml-init", "nvml-devices", "nvml-memory", "0", "nvml-memory", "1"});
  const auto words = words_of(lines.at(1));
  ASSERT_EQ(words.size(), 6u) << lines.at(1);
  EXPECT_EQ(words[1] + " " + words[2], "0 2");
  EXPECT_EQ(words[3], "0=" + devices.at(2).uuid);
  EXPECT_EQ(words[4], "1=" + devices.at(0).uuid);
  EXPECT_EQ(words[5], "beyond=2");
  EXPECT_EQ(word(lines.at(2), 2), kGiB);
  EXPECT_EQ(word(lines.at(3), 2), 2 * kGiB);
}

struct List {
  const char* name;
  const char* verb;
};
const List kCompute[] = {{"nvmlDeviceGetComputeRunningProcesses", "nvml-list1"},
                         {"nvmlDeviceGetComputeRunningProcesses_v2", "nvml-list2"},
                         {"nvmlDeviceGetComputeRunningProcesses_v3", "nvml-list2"}};

TEST_P(Nvml, EveryVersionOfTheProcessListHasTheGrantsOwnWithTheirCharges) {
  tenant.grant({{0, 2 * kGiB}});
  for (const List& list : kCompute) {
    const auto lines = ask(
        {"init", "context", "0", "alloc", std::to_string(kGiB), "info", "nvml-init", list.verb, list.name, "8", "0"});
    const std::uint64_t used = 2 * kGiB - word(lines.at(3), 2);
    EXPECT_EQ(lines.at(5), "nvml-list 0 1 self:" + std::to_string(used)) << list.name;
  }
}

TEST_P(Nvml, ABufferThatIsTooSmallIsToldTheCount) {
  tenant.grant({{0, 2 * kGiB}});
  for (const List& list : kCompute) {
    const auto lines = ask({"nvml-init", list.verb, list.name, "0", "0", "init", "context", "0", "alloc", "1024",
                            list.verb, list.name, "0", "0"});
    EXPECT_EQ(lines.at(1), "nvml-list 0 0") << "nobody yet";
    EXPECT_EQ(lines.at(5), "nvml-list 7 1") << list.name;
  }
}

TEST_P(Nvml, NoListShowsAnybodyElse) {
  tenant.grant({{0, 2 * kGiB}});
  const std::vector<List> lists = {{"nvmlDeviceGetGraphicsRunningProcesses", "nvml-list1"},
                                   {"nvmlDeviceGetGraphicsRunningProcesses_v2", "nvml-list2"},
                                   {"nvmlDeviceGetGraphicsRunningProcesses_v3", "nvml-list2"},
                                   {"nvmlDeviceGetMPSComputeRunningProcesses", "nvml-list1"},
                                   {"nvmlDeviceGetMPSComputeRunningProcesses_v2", "nvml-list2"},
                                   {"nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvml-list2"}};
  for (const List& list : lists) {
    const std::string line =
        ask({"init", "context", "0", "alloc", "1024", "nvml-init", list.verb, list.name, "8", "0"}).at(4);
    EXPECT_THAT(line, AllOf(StartsWith("nvml-list 0 "), Not(HasSubstr("4242")), Not(HasSubstr(" 99:")))) << list.name;
  }
  const auto lines = ask({"init", "context", "0", "alloc", "1024", "nvml-init", "nvml-details", "8", "0",
                          "nvml-utilization", "0", "nvml-utilization-info", "0"});
  EXPECT_THAT(lines.at(4), StartsWith("nvml-details 0 1 self:"));
  for (const std::size_t line : {5u, 6u}) EXPECT_THAT(lines.at(line), Not(HasSubstr("4242"))) << lines.at(line);
}

TEST_P(Nvml, StructVersionsThatWeDoNotKnowAreRefusedWhileALimitIsSet) {
  tenant.grant({{0, 2 * kGiB}});
  const auto lines = ask({"nvml-init", "nvml-memory2", "9", "0", "nvml-details", "99", "0"});
  EXPECT_EQ(words_of(lines.at(1)).at(1), "25");
  EXPECT_EQ(words_of(lines.at(2)).at(1), "25");
}

TEST_P(Nvml, HamisVariablesLimitBeforeAnyProgramHasStartedCuda) {
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT_0"] = "1g";
  tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.region_path();
  EXPECT_EQ(ask({"nvml-init", "nvml-memory", "0"}).at(1), "nvml-memory 0 1073741824 0 1073741824");
  Process process(tenant.probe({"init", "context", "0", "alloc", std::to_string(256 * kMiB), "await"}));
  while (process.read_line() != "await") {
  }
  const std::string line = ask({"nvml-init", "nvml-memory", "0"}).at(1);
  EXPECT_EQ(word(line, 2), kGiB);
  EXPECT_GE(word(line, 3), 256 * kMiB);
  process.write_line("go");
  process.wait();
}

TEST_P(Nvml, BeforeItIsStartedTheDriversOwnErrorComesBack) {
  tenant.grant({{0, 2 * kGiB}});
  const std::vector<std::string> script = {"nvml-open", "nvml-memory", "0"};
  const auto with = ask(script);
  tenant.with_shim(false);
  EXPECT_EQ(with, ask(script));
}

KIBOKO_ON_EVERY_DRIVER(Nvml);

}  // namespace
}  // namespace kiboko::shim_test
