// How busy a share is, as HAMi's monitor reads it in the region and as NVML's clients ask for it.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include <gmock/gmock.h>

#include "region/snapshot.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::HasSubstr;

class Use : public OnDriver {
 protected:
  bool simulated() const { return std::string(GetParam().name) == "sim"; }
  Start work(std::vector<std::string> words) const {
    words.insert(words.begin(), program("shim_compute"));
    return tenant.start(std::move(words));
  }
  std::vector<std::string> ask(std::vector<std::string> script) {
    const Ended ended = tenant.probe_run(std::move(script));
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    return lines_of(ended.out);
  }
  unsigned rate() {
    const std::string line = ask({"nvml-init", "nvml-rates", "0"}).at(1);
    EXPECT_EQ(line.rfind("nvml-rates 0 ", 0), 0U) << line;
    return static_cast<unsigned>(std::strtoul(line.c_str() + 13, nullptr, 10));
  }
  // The figure of a slot's process, on the first device.
  std::uint64_t shown(unsigned slot) const {
    const int fd = ::open(tenant.region_path().c_str(), O_RDONLY | O_CLOEXEC);
    std::uint64_t percent = 999;
    EXPECT_EQ(::pread(fd, &percent, sizeof percent,
                      static_cast<off_t>(offsetof(region::HamiRegion, slots) + slot * sizeof(region::HamiSlot) +
                                         offsetof(region::HamiSlot, util) + offsetof(region::HamiUtil, sm))),
              8);
    ::close(fd);
    return percent;
  }
  std::uint64_t shown() const {
    std::uint64_t most = 0;
    for (unsigned slot = 0; slot < region::kMaxSlots; ++slot) most = std::max(most, shown(slot));
    return most;
  }
};

void skip_await(Process& process) {
  while (process.read_line() != "await") {
  }
}

TEST_P(Use, IsShownToHamisMonitorOnceASecond) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  tenant.grant({{0, 2 * kGiB, 50}});
  Process process(work({"cuLaunchKernel", "20", "1000000", "await", "cuLaunchKernel", "3000", "1000000", "await"}));
  skip_await(process);
  EXPECT_EQ(shown(), 0U) << "no second has passed";
  process.write_line("go");
  skip_await(process);
  EXPECT_GE(shown(), 25U);
  EXPECT_LE(shown(), 100U);
  process.write_line("end");
  process.wait();
  EXPECT_EQ(shown(), 0U) << "nobody is left";
}

TEST_P(Use, OfAProcessThatHasStoppedIsClearedByOneThatWorks) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  tenant.grant({{0, 2 * kGiB}});
  Process first(work({"cuLaunchKernel", "3000", "1000000", "await"}));
  skip_await(first);
  std::vector<unsigned> busy;
  for (unsigned slot = 0; slot < region::kMaxSlots; ++slot)
    if (shown(slot) != 0) busy.push_back(slot);
  ASSERT_EQ(busy.size(), 1U);
  Process second(work({"cuLaunchKernel", "6000", "1000000", "await"}));
  skip_await(second);
  EXPECT_EQ(shown(busy[0]), 0U);
}

TEST_P(Use, OfTheDeviceIsTheDriversUnlessTheSharesIsAskedFor) {
  if (!simulated()) {
    tenant.grant({{0, 2 * kGiB, 50}});
    EXPECT_EQ(rate(), 90U);
    tenant.environment["KIBOKO_NVML_UTILIZATION"] = "share";
    EXPECT_EQ(rate(), 0U) << "nothing runs";
    return;
  }
  tenant.grant({{0, 2 * kGiB, 20}});
  Process process(work({"cuLaunchKernel", "20", "1000000", "await", "cuLaunchKernel", "400", "1000000", "await"}));
  skip_await(process);
  process.write_line("go");
  tenant.environment["KIBOKO_NVML_UTILIZATION"] = "share";
  unsigned most = 0;  // 400 ms at 20 % are two seconds, all of which read as 100 %
  for (int i = 0; i < 400 && most < 60; ++i) most = std::max(most, rate());
  EXPECT_GE(most, 60U);
  process.wait();
}

TEST_P(Use, AccountingNamesTheGrantsOwnAlone) {
  tenant.environment["KIBOKO_SIM_NVML_ACCOUNTING"] = "1";
  Tenant other{GetParam()};
  other.environment["KIBOKO_SIM"] = tenant.environment["KIBOKO_SIM"];
  other.environment["KIBOKO_SIM_NVML_ACCOUNTING"] = "1";
  Process stranger(other.probe({"init", "context", "0", "await"}));
  while (stranger.read_line() != "await") {
  }
  tenant.grant({{0, 2 * kGiB}});
  const std::string pid = std::to_string(stranger.pid());
  const auto lines =
      ask({"init", "context", "0", "nvml-init", "nvml-accounting", "8", "0", "0", "nvml-accounting", "0", pid, "0"});
  EXPECT_EQ(lines.at(3), "nvml-accounting 0 1 self stats 0");
  EXPECT_EQ(lines.at(4), "nvml-accounting 7 1 stats 6");
  tenant.environment.erase("KIBOKO_GRANT");
  const auto without = ask({"init", "context", "0", "nvml-init", "nvml-accounting", "8", pid, "0"});
  EXPECT_THAT(without.at(3), HasSubstr("nvml-accounting 0 2 ")) << "nothing is changed without a grant";
  stranger.write_line("go");
  stranger.wait();
}

TEST_P(Use, OfALaunchOnSeveralDevicesIsThatOfEachDevice) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  tenant.grant({{0, 2 * kGiB, 50}, {1, 2 * kGiB, 50}});
  Process process(work({"multi-device", "40", "1000000", "await"}));
  EXPECT_EQ(process.read_line(), "multi-device 0");
  skip_await(process);
  auto snapshot = std::make_unique<region::RegionSnapshot>();
  const int fd = ::open(tenant.region_path().c_str(), O_RDONLY | O_CLOEXEC);
  region::PageError error{};
  ASSERT_TRUE(region::read_snapshot(fd, region::SnapshotCover::Skip, snapshot.get(), &error)) << error.text;
  ::close(fd);
  ASSERT_EQ(snapshot->slot_count, 1U);
  for (const unsigned device : {0U, 1U}) {
    EXPECT_EQ(snapshot->slots[0].counters[device].launches, 40U) << device;
    EXPECT_GE(snapshot->slots[0].counters[device].busy_ns, 40'000'000U) << device;
    EXPECT_GE(snapshot->devices[device].covered_ns, 39'000'000U) << device;
  }
  process.write_line("end");
  process.wait();
}

KIBOKO_ON_EVERY_DRIVER(Use);

}  // namespace
}  // namespace kiboko::shim_test
