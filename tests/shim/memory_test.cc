// Device memory through the interposer: what is charged is what the driver took, after every call; and the driver never
// gives more than the limit. The work is done by memory_program.cc in a process of its own.
#include <gmock/gmock.h>

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

TEST_P(Memory, OfADeviceThatWasNotGrantedIsRefused) {
  tenant.grant({{1, kGiB}});
  expect_agreement({"not-granted"}, 0);
}

TEST_P(Memory, IsRefusedByNameWhenAContextAloneIsTooMuch) {
  tenant.grant({{0, 4 * kMiB}});
  const Ended ended = walk({"whole", "1048576"});
  EXPECT_EQ(ended.exit_code, 1) << ended.out;
}

}  // namespace
}  // namespace kiboko::shim_test
