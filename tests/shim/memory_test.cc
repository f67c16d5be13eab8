// Device memory through the interposer: what is charged is what the driver took, after every call; and the driver never
// gives more than the limit. The work is done by memory_program.cc in a process of its own.
#include <gmock/gmock.h>
#include <signal.h>

#include <filesystem>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

constexpr std::uint64_t kBeyondTheDevice = 1ULL << 40;  // a limit all the same: the checked path is taken

class Memory : public OnDriver {
 protected:
  Ended walk(std::vector<std::string> scenario, unsigned ordinal = 0) {
    scenario.insert(scenario.begin(), {program("shim_memory_program"), region_path(), std::to_string(ordinal)});
    return tenant.run(scenario);
  }
  std::string region_path() const { return tenant.region_path(); }
  void expect_agreement(const std::vector<std::string>& scenario, unsigned ordinal = 0) {
    const Ended ended = walk(scenario, ordinal);
    EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  }
};
KIBOKO_ON_EVERY_DRIVER(Memory);

TEST_P(Memory, AnySequenceOfCallsLeavesChargedWhatTheDriverTook) {
  tenant.grant({{0, kBeyondTheDevice}});
  for (const char* seed : {"1", "2", "3", "4"}) expect_agreement({"walk", seed, "1500"});
}

TEST_P(Memory, IsCountedWithoutALimitToo) {
  tenant.grant({{0, 0}});
  expect_agreement({"walk", "5", "1500"});
}

TEST_P(Memory, BelongsToTheDeviceThatItIsTakenFromAndNotToTheFirst) {
  tenant.grant({{1, kBeyondTheDevice}});
  expect_agreement({"walk", "6", "1500"}, 1);
}

TEST_P(Memory, NeverExceedsTheLimitWhateverIsCalled) {
  tenant.grant({{0, kGiB}});
  for (const char* seed : {"11", "12", "13"}) expect_agreement({"within", seed, "2500", std::to_string(kGiB)});
}

TEST_P(Memory, IsCountedRightWhenThreadsShareThePools) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"threads", "3", "1000"});
}

TEST_P(Memory, OfAContextGoesWithIt) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"contexts"});
}

TEST_P(Memory, ThatAContextKeepsForItsLimitsIsChargedWhileTheyAreRaised) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"limits"});
  tenant.grant({{0, kGiB}});
  expect_agreement({"limits-beyond", std::to_string(kGiB)});
}

TEST_P(Memory, OfCodeIsChargedWhenItIsFirstUsed) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"lazy-libraries"});
  expect_agreement({"first-launches"});
}

TEST_P(Memory, OfThePrimaryContextIsChargedOnceAndRefundedAtTheEnd) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"primary"});
}

TEST_P(Memory, OfAParentIsNotTouchedByItsChild) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"fork"});
}

TEST_P(Memory, OfTheDeadIsFreeForTheLiving) {
  tenant.grant({{0, kGiB}});
  const std::string most = std::to_string(600 * kMiB);
  EXPECT_EQ(walk({"crash", most}).exit_code, 128 + SIGKILL);
  expect_agreement({"whole", most});
}

TEST_P(Memory, HeldByAPoolForNothingIsGivenBackBeforeAnybodyIsRefused) {
  tenant.grant({{0, kGiB}});
  expect_agreement({"reclaim", std::to_string(kGiB)});
}

TEST_P(Memory, OfADestroyedPoolIsHeldUntilItsLastPointerGoes) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"orphans"});
}

TEST_P(Memory, OfAContextMadeUnseenIsFoundWhenItIsUsed) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"unseen"});
}

TEST_P(Memory, FreedUnseenIsRefundedWhenItsAddressComesBack) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"given-again"});
}

TEST_P(Memory, IsChargedWhereItIsAndNotWhereTheThreadIs) {
  tenant.grant({{0, kBeyondTheDevice}, {1, kBeyondTheDevice}});
  expect_agreement({"elsewhere"});
}

TEST_P(Memory, OfGraphsIsChargedToo) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"graphs"});
}

TEST_P(Memory, OfGraphsIsRefusedBeforeTheLimitIsPassed) {
  tenant.grant({{0, kGiB}});
  expect_agreement({"graph-limit", std::to_string(kGiB)});
}

TEST_P(Memory, OfAGraphIsReckonedAlongItsPaths) {
  tenant.grant({{0, kGiB}});
  expect_agreement({"graph-paths", std::to_string(kGiB)});
}

TEST_P(Memory, OfGraphsThatAreLaunchedInTurnsIsCountedOnce) {
  tenant.grant({{0, kGiB}});
  expect_agreement({"graph-again", std::to_string(kGiB)});
}

TEST_P(Memory, OfGraphsIsCountedRightWhenThreadsLaunchThem) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"graph-threads", "4", "100"});
}

TEST_P(Memory, IsToldAsTheShareAlsoToWhoAsksForHalf) {
  tenant.grant({{0, kGiB}});
  expect_agreement({"half-asked", std::to_string(kGiB)});
}

TEST_P(Memory, OfAContextGoesWithItsLastHolder) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"attached"});
}

TEST_P(Memory, ByHandleIsChargedInTheGranulesOfTheDriver) {
  tenant.environment["STANDIN_GRANULE"] = "65536";
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"granules", std::string(GetParam().name) == "standin" ? "65536" : std::to_string(kMiB)});
}

TEST_P(Memory, MappedFarApartIsFoundWhenTheWholeRangeGoes) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"holes"});
}

TEST_P(Memory, BoundToAMulticastObjectOutlivesItsHandle) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"multicast"});
}

TEST_P(Memory, OfTheNarrowInterfaceIsChargedToo) {
  tenant.grant({{0, kGiB}});
  expect_agreement({"narrow"});
}

TEST_P(Memory, ComesOutOfThePoolThatTookADevicesPlace) {
  tenant.grant({{0, kBeyondTheDevice}});
  expect_agreement({"replaced-pools"});
}

TEST_P(Memory, OfADeviceThatWasNotGrantedIsRefused) {
  tenant.grant({{1, kGiB}});
  expect_agreement({"not-granted"}, 0);
}

TEST_P(Memory, IsRefusedByNameWhenAContextAloneIsTooMuch) {
  tenant.grant({{0, 4 * kMiB}});
  const Ended ended = walk({"whole", "1048576"});
  EXPECT_EQ(ended.exit_code, 1) << ended.out;
}

// A driver that fails on demand. Only the simulated one does.
class MemoryOfAFailingDriver : public OnDriver {
 protected:
  void expect_agreement(const std::string& scenario, const std::string& faults) {
    tenant.grant({{0, kBeyondTheDevice}});
    tenant.environment["KIBOKO_SIM_FAULT"] = faults;
    const Ended ended = tenant.run({program("shim_memory_program"), tenant.region_path(), "0", scenario});
    EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  }
};
INSTANTIATE_TEST_SUITE_P(, MemoryOfAFailingDriver, testing::Values(drivers().back()),
                         [](const testing::TestParamInfo<Driver>& row) { return std::string(row.param.name); });

// Memory that one process makes and another one has open. Only on the simulated device is any memory shared.
class SharedMemory : public OnDriver {
 protected:
  // The maker ends, told to or killed, while the holder has its memory.
  void expect_carried(const std::string& way, bool killed) {
    constexpr std::uint64_t kBytes = 600 * kMiB, kAsk = 700 * kMiB;
    // Shared memory lies in files named after the device set, beside those of other tests.
    const std::filesystem::path folder = std::filesystem::path(tenant.region_path()).parent_path();
    tenant.environment["KIBOKO_SIM"] = folder / folder.filename();
    tenant.grant({{0, 1536 * kMiB}});
    const auto begin = [&](const std::string& part) {
      return Process(tenant.start({program("shim_memory_program"), tenant.region_path(), "0", part + "-" + way,
                                   std::to_string(kBytes), std::to_string(kAsk)}));
    };
    Process maker = begin("maker");
    const std::string what = maker.read_line();
    ASSERT_FALSE(what.empty()) << maker.wait().out;
    Process holder = begin("holder");
    holder.write_line(what);
    ASSERT_EQ(holder.read_line(), "opened") << what;
    if (killed)
      ::kill(maker.pid(), SIGKILL);
    else
      maker.write_line("enough");
    EXPECT_EQ(maker.wait().exit_code, killed ? 128 + SIGKILL : 0);
    holder.write_line("it is gone");
    const Ended ended = holder.wait();
    EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  }
};
INSTANTIATE_TEST_SUITE_P(, SharedMemory, testing::Values(drivers().back()),
                         [](const testing::TestParamInfo<Driver>& row) { return std::string(row.param.name); });

TEST_P(SharedMemory, IsCarriedByItsHolderWhenItsMakerHasEnded) { expect_carried("ipc", false); }
TEST_P(SharedMemory, IsCarriedByItsHolderWhenItsMakerWasKilled) { expect_carried("ipc", true); }
TEST_P(SharedMemory, ByHandleIsCarriedByItsHolderWhenItsMakerHasEnded) { expect_carried("handle", false); }
TEST_P(SharedMemory, ByHandleIsCarriedByItsHolderWhenItsMakerWasKilled) { expect_carried("handle", true); }

TEST_P(MemoryOfAFailingDriver, IsNotChargedWhenTheDriverRefusesIt) {
  expect_agreement("refused",
                   "cuMemAlloc_v2:1=2,cuMemAllocPitch_v2:1=2,cuMemAllocManaged:1=2,cuMemAllocAsync:1=2,"
                   "cuMemAllocFromPoolAsync:1=2,cuMemCreate:1=2,cuArrayCreate_v2:1=2,cuArray3DCreate_v2:1=2,"
                   "cuMipmappedArrayCreate:1=2,cuModuleLoadData:1=2,cuLibraryLoadData:1=2,cuCtxCreate_v2:2=2,"
                   "cuDevicePrimaryCtxRetain:1=2,cuGraphLaunch:1=2");
}

TEST_P(MemoryOfAFailingDriver, IsNotChargedWhenItIsNothing) {
  expect_agreement("nothing",
                   "cuMemAlloc_v2:1=null,cuMemAllocPitch_v2:1=null,cuMemAllocManaged:1=null,cuMemAllocAsync:1=null,"
                   "cuMemCreate:1=null,cuArrayCreate_v2:1=null,cuModuleLoadData:1=null");
}

TEST_P(MemoryOfAFailingDriver, StaysChargedWhenItIsNotFreed) {
  expect_agreement("kept",
                   "cuMemFree_v2:1=999,cuMemFreeAsync:1=999,cuMemRelease:1=999,cuMemUnmap:1=999,cuArrayDestroy:1=999,"
                   "cuModuleUnload:1=999,cuCtxDestroy_v2:1=999,cuMemPoolDestroy:1=999,cuDeviceGraphMemTrim:1=999");
}

TEST_P(MemoryOfAFailingDriver, IsCountedWhenAPoolDoesNotTellWhatItHolds) {
  expect_agreement("untold", "cuMemPoolGetAttribute:1=999");
}

}  // namespace
}  // namespace kiboko::shim_test
