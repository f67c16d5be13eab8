// The launch gate as programs meet it: every way to launch is counted and held, whoever may hold it can let it go
// again, and nothing of ours gets into a program's graph.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <optional>

#include <gmock/gmock.h>

#include "region/os.h"
#include "region/snapshot.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::ElementsAre;

constexpr std::uint64_t kSecond = 1'000'000'000;

class Compute : public OnDriver {
 protected:
  bool simulated() const { return std::string(GetParam().name) == "sim"; }
  Start work(std::vector<std::string> words) const {
    words.insert(words.begin(), program("shim_compute"));
    return tenant.start(std::move(words));
  }
  std::unique_ptr<region::RegionSnapshot> region() const {
    auto snapshot = std::make_unique<region::RegionSnapshot>();
    const int fd = ::open(tenant.region_path().c_str(), O_RDONLY | O_CLOEXEC);
    region::PageError error{};
    EXPECT_TRUE(region::read_snapshot(fd, region::SnapshotCover::Skip, snapshot.get(), &error)) << error.text;
    ::close(fd);
    return snapshot;
  }
  // Of all slots, on the first device.
  region::SnapshotCounters counters() const {
    const auto snapshot = region();
    region::SnapshotCounters sum{};
    for (unsigned i = 0; i < snapshot->slot_count; ++i) {
      sum.launches += snapshot->slots[i].counters[0].launches;
      sum.throttled_ns += snapshot->slots[i].counters[0].throttled_ns;
    }
    return sum;
  }
};

// Writes what another party writes: the agent into the page, HAMi's monitor into the region.
template <class File>
class Mapped {
 public:
  Mapped(const std::string& path, std::size_t offset = 0) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    bytes_ = static_cast<char*>(::mmap(nullptr, offset + sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    offset_ = offset;
    ::close(fd);
  }
  ~Mapped() { ::munmap(bytes_, offset_ + sizeof(File)); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  File* operator->() const { return reinterpret_cast<File*>(bytes_ + offset_); }
  File& operator*() const { return *operator->(); }

 private:
  char* bytes_;
  std::size_t offset_;
};

void skip_await(Process& process) { ASSERT_EQ(process.read_line(), "await"); }

TEST_P(Compute, EveryKindOfLaunchIsCounted) {
  tenant.grant({{0, 2 * kGiB, 90}});
  std::uint64_t launched = 0;
  for (const char* kind : {"cuLaunchKernel", "cuLaunchKernel_ptsz", "cuLaunchKernelEx", "cuLaunchKernelEx_ptsz",
                           "cuLaunchCooperativeKernel", "cuLaunchCooperativeKernel_ptsz", "graph"}) {
    Process process(work({kind, "40", "1000", "await"}));
    EXPECT_EQ(process.read_line(), std::string(kind) + " 0");
    skip_await(process);
    launched = counters().launches;
    EXPECT_EQ(launched, 40u) << kind;
    process.write_line("end");
    EXPECT_EQ(process.wait().exit_code, 0);
  }
}

TEST_P(Compute, MoreStreamsThanAreKeptAreHeldAsWell) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  tenant.grant({{0, 2 * kGiB, 20}});
  Process process(work({"streams", "300", "1000000", "await"}));
  EXPECT_EQ(process.read_line(), "streams 0");
  skip_await(process);
  EXPECT_GT(counters().throttled_ns, kSecond / 4) << "300 ms of work at 20 %";
}

TEST_P(Compute, WaitsAreCountedByTheirLength) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  tenant.grant({{0, 2 * kGiB, 20}});
  Process process(work({"cuLaunchKernel", "100", "1000000", "await"}));
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  const auto snapshot = region();
  const auto& waits = snapshot->devices[0].waits;
  std::uint64_t least = 0, most = 0;
  for (unsigned i = 0; i < region::kWaitLengths; ++i) {
    const std::uint64_t bound = region::kShortestWaitNs << i;
    least += i == 0 ? 0 : waits[i] * (bound / 2);
    most += waits[i] * (i + 1 < region::kWaitLengths ? bound : 60 * kSecond);
  }
  EXPECT_GT(counters().throttled_ns, 0U);
  EXPECT_LE(least, counters().throttled_ns);
  EXPECT_GE(most, counters().throttled_ns);
}

TEST_P(Compute, ABlockOfTheAgentHoldsLaunchesUntilItIsTakenBack) {
  tenant.grant({{0, 2 * kGiB}});
  Process process(work({"await", "cuLaunchKernel", "5", "1000"}));
  skip_await(process);
  const Mapped<region::GrantPage> page(tenant.page_path());
  page->live.devices[0].blocked_until_ns = region::os::now_ns() + 20 * kSecond;
  page->live.devices[0].blocked = 1;
  process.write_line("go");
  EXPECT_EQ(process.read_line(300), "") << "it must not get through";
  page->live.devices[0].blocked = 0;
  region::wake_waiters(*page);
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
}

TEST_P(Compute, ABlockOfAnAgentThatDiedEndsByItself) {
  tenant.grant({{0, 2 * kGiB}});
  Process process(work({"await", "cuLaunchKernel", "5", "1000"}));
  skip_await(process);
  const Mapped<region::GrantPage> page(tenant.page_path());
  page->live.devices[0].blocked_until_ns = region::os::now_ns() + kSecond / 2;
  page->live.devices[0].blocked = 1;
  process.write_line("go");
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  EXPECT_GE(region::os::now_ns(), page->live.devices[0].blocked_until_ns.load());
}

TEST_P(Compute, ABlockForTooLongIsNobodysWord) {
  tenant.grant({{0, 2 * kGiB}});
  Process process(work({"await", "cuLaunchKernel", "5", "1000"}));
  skip_await(process);
  const Mapped<region::GrantPage> page(tenant.page_path());
  page->live.devices[0].blocked_until_ns = region::os::now_ns() + 3600 * kSecond;
  page->live.devices[0].blocked = 1;
  process.write_line("go");
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
}

TEST_P(Compute, LittleIsInFlightWhereAHigherPriorityMayCome) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  tenant.grant({{0, 2 * kGiB}});
  // Known work first; then as much as may usually be in flight at once.
  Process process(work({"cuLaunchKernel", "40", "1000000", "await", "cuLaunchKernel", "12", "1000000", "await",
                        "cuLaunchKernel", "12", "1000000", "await"}));
  const Mapped<region::GrantPage> page(tenant.page_path());
  page->live.heartbeat_ns = region::os::now_ns() + 3600 * kSecond;
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  const std::uint64_t before = counters().throttled_ns;
  process.write_line("go");
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  EXPECT_EQ(counters().throttled_ns, before) << "nobody else is there";
  page->live.devices[0].in_flight_us = 2000;
  process.write_line("go");
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  EXPECT_GT(counters().throttled_ns, before) << "it must have waited for its own work";
}

TEST_P(Compute, LittleInFlightIsNotWhatADeadAgentAsksFor) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  tenant.grant({{0, 2 * kGiB, 0}});
  Process process(work({"cuLaunchKernel", "40", "1000000", "await", "cuLaunchKernel", "12", "1000000", "await"}));
  const Mapped<region::GrantPage> page(tenant.page_path());
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  page->live.heartbeat_ns = region::os::now_ns() - 6 * kSecond;
  page->live.devices[0].in_flight_us = 2000;
  const std::uint64_t before = counters().throttled_ns;
  process.write_line("go");
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  EXPECT_EQ(counters().throttled_ns, before);
}

TEST_P(Compute, SaysUntilWhenItWorks) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  tenant.grant({{0, 2 * kGiB}});
  Process process(work({"await", "cuLaunchKernel", "1", "500000000", "await"}));
  skip_await(process);
  const Mapped<region::Extension> region(tenant.region_path(), region::kExtensionOffset);
  const auto& word = region->devices[0].busy_until_ns[0];
  EXPECT_EQ(word, 0u);
  const std::uint64_t went = region::os::now_ns();
  process.write_line("go");
  for (int look = 0; look < 60'000 && word == 0; ++look) region::os::sleep_ns(1'000'000);
  EXPECT_GT(word, went);
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  EXPECT_GT(word, went);
  EXPECT_LE(word, region::os::now_ns()) << "it has ended, and that was seen";
}

// What the agent says of a grant as a whole.
class Suspended : public Compute {
 protected:
  void suspend() {
    page()->live.heartbeat_ns = region::os::now_ns();
    page()->live.suspended = 1;
  }
  void resume() {
    page()->live.suspended = 0;
    region::wake_waiters(*page());
  }
  // Starts the program, which waits for a line.
  void start(std::vector<std::string> words) {
    tenant.grant({{0, 2 * kGiB}});
    words.insert(words.begin(), "await");
    process_.emplace(work(std::move(words)));
    skip_await(*process_);
    page_.emplace(tenant.page_path());
  }
  Process& process() { return *process_; }
  Mapped<region::GrantPage>& page() { return *page_; }

 private:
  std::optional<Process> process_;
  std::optional<Mapped<region::GrantPage>> page_;
};

TEST_P(Suspended, LaunchesWaitAndAreShownUntilTheGrantIsResumed) {
  start({"cuLaunchKernel", "5", "1000", "await"});
  const Mapped<region::HamiRegion> hami(tenant.region_path());
  const Mapped<region::Extension> ours(tenant.region_path(), region::kExtensionOffset);
  suspend();
  process().write_line("go");
  EXPECT_EQ(process().read_line(300), "") << "it must not get through";
  EXPECT_EQ(hami->slots[0].status, 2);
  EXPECT_NE(ours->slots[0].flags & region::kSlotSuspended, 0u);
  EXPECT_EQ(ours->devices[0].waiting, 0u) << "it wants nothing of the device";
  EXPECT_EQ(ours->devices[0].busy_until_ns[0], 0u) << "and has nothing in flight";
  resume();
  EXPECT_EQ(process().read_line(), "cuLaunchKernel 0");
  skip_await(process());
  EXPECT_EQ(hami->slots[0].status, 1);
  EXPECT_EQ(ours->slots[0].flags & region::kSlotSuspended, 0u);
}

TEST_P(Suspended, CopiesAndSetsOfAStreamWait) {
  if (!simulated()) GTEST_SKIP() << "the stand-in does not copy";
  for (const char* kind : {"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2_ptsz", "cuMemcpyDtoDAsync_v2",
                           "cuMemcpyAsync_ptsz", "cuMemsetD8Async", "cuMemsetD2D32Async"}) {
    start({kind, "1", "0"});
    suspend();
    process().write_line("go");
    EXPECT_EQ(process().read_line(100), "") << kind;
    resume();
    EXPECT_EQ(process().read_line(), std::string(kind) + " 0");
    EXPECT_EQ(process().wait().exit_code, 0);
  }
}

TEST_P(Suspended, AMinuteAfterTheAgentsLastWordItIsOver) {
  start({"cuLaunchKernel", "5", "1000"});
  suspend();
  page()->live.heartbeat_ns = region::os::now_ns() - 59 * kSecond;
  process().write_line("go");
  EXPECT_EQ(process().read_line(200), "");
  EXPECT_EQ(process().read_line(), "cuLaunchKernel 0");
  EXPECT_GE(region::os::now_ns(), page()->live.heartbeat_ns + 60 * kSecond);
}

TEST_P(Suspended, AProgramThatWaitsCanBeEnded) {
  start({"cuLaunchKernel", "5", "1000"});
  suspend();
  process().write_line("go");
  EXPECT_EQ(process().read_line(100), "");
  ::kill(process().pid(), SIGTERM);
  EXPECT_EQ(process().wait().exit_code, 128 + SIGTERM);
  Process next(work({"await", "cuLaunchKernel", "5", "1000"}));
  skip_await(next);
  next.write_line("go");
  resume();
  EXPECT_EQ(next.read_line(), "cuLaunchKernel 0");
}

class HamiMonitor : public Compute {
 protected:
  void SetUp() override {
    Compute::SetUp();
    tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.region_path();
    tenant.environment["CUDA_DEVICE_SM_LIMIT"] = "20";
  }
};

TEST_P(HamiMonitor, BlocksAndUnblocksByTheRecentKernelWord) {
  Process process(work({"await", "cuLaunchKernel", "5", "1000", "await"}));
  skip_await(process);
  const Mapped<region::HamiRegion> hami(tenant.region_path());
  hami->recent_kernel = -1;
  process.write_line("go");
  EXPECT_EQ(process.read_line(300), "") << "it must not get through";
  EXPECT_EQ(hami->recent_kernel, -1) << "who is blocked has not launched";
  hami->recent_kernel = 0;
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  EXPECT_EQ(hami->recent_kernel, 2);
  EXPECT_NE(hami->last_kernel_time, 0);
}

TEST_P(HamiMonitor, SwitchesTheLimitOnAndOff) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  Process process(
      work({"await", "cuLaunchKernel", "60", "1000000", "await", "cuLaunchKernel", "60", "1000000", "await"}));
  skip_await(process);
  const Mapped<region::HamiRegion> hami(tenant.region_path());
  hami->utilization_switch = 0;
  process.write_line("free");
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  const std::uint64_t before = counters().throttled_ns;
  hami->utilization_switch = 1;
  process.write_line("limited");
  EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
  skip_await(process);
  EXPECT_GT(counters().throttled_ns - before, kSecond / 10) << "60 ms of work at 20 %";
}

TEST_P(HamiMonitor, PoliciesAreReadInAnyCase) {
  if (!simulated()) GTEST_SKIP() << "the stand-in's kernels take no time";
  for (const auto& [policy, held] : {std::pair{"FORCE", true}, std::pair{"Disable", false}}) {
    tenant.environment["GPU_CORE_UTILIZATION_POLICY"] = policy;
    tenant.environment["CUDA_DEVICE_SM_LIMIT"] = "2";
    ::unlink(tenant.region_path().c_str());
    Process process(work({"await", "cuLaunchKernel", "60", "1000000", "await"}));
    skip_await(process);
    const Mapped<region::HamiRegion> hami(tenant.region_path());
    hami->utilization_switch = held ? 0 : 1;  // what it would be by default is the other way round
    process.write_line("go");
    EXPECT_EQ(process.read_line(), "cuLaunchKernel 0");
    skip_await(process);
    // 60 ms of work at 2 % are three seconds.
    EXPECT_EQ(counters().throttled_ns > kSecond, held) << policy << ' ' << counters().throttled_ns;
  }
}

TEST_P(Compute, ACaptureHoldsOnlyWhatTheProgramPutIn) {
  if (!simulated()) GTEST_SKIP() << "the stand-in does not record";
  tenant.with_shim(false);
  // Known work first: what is not known is measured launch by launch.
  const std::vector<std::string> words = {"cuLaunchKernel", "40", "1000", "capture"};
  const Ended without = shim_test::run(work(words));
  tenant.with_shim(true);
  tenant.grant({{0, 2 * kGiB, 50}});
  const Ended with = shim_test::run(work(words));
  EXPECT_THAT(lines_of(without.out), ElementsAre("cuLaunchKernel 0", "capture 0 nodes 2"));
  EXPECT_EQ(with.out, without.out);
}

KIBOKO_ON_EVERY_DRIVER(Compute);
KIBOKO_ON_EVERY_DRIVER(Suspended);
KIBOKO_ON_EVERY_DRIVER(HamiMonitor);

}  // namespace
}  // namespace kiboko::shim_test
