#include "host/usage.h"

#include <gmock/gmock.h>

#include "host/testing.h"
#include "region/account.h"

namespace kiboko {
namespace {

using namespace testing_host;
using testing::HasSubstr;

constexpr std::uint64_t kSecond = 1'000'000'000;

RegionView one_slot(pid_t pid, Bytes charged, std::uint64_t covered_ns = 0) {
  return {{{identify_process(pid).value_or(ProcessId{}), pid, {charged}}}, {covered_ns}};
}

TEST(Usage, MemoryIsTheSumOverTheSlots) {
  UsageMeter meter;
  RegionView region = one_slot(::getpid(), 1_GiB);
  region.slots.push_back({{}, 0, {2_GiB}, 0});  // in a container: its pid says nothing here
  meter.read_share(a_grant("g-0"), region, {}, nullptr, kSecond);
  EXPECT_EQ(meter.usage().devices.at(0).used, 3_GiB);
  ASSERT_EQ(meter.usage().processes.size(), 1U);
  EXPECT_EQ(meter.usage().processes[0].used, 1_GiB);
  EXPECT_FALSE(meter.usage().processes[0].command.empty());
  EXPECT_TRUE(meter.has_slot(::getpid()));
  EXPECT_FALSE(meter.has_slot(0));
}

TEST(Usage, AProcessOfAContainerIsKnownByWhatItIsInside) {
  UsageMeter meter;
  meter.read_share(a_grant("g-0"), {{{identify_from_inside(::getpid()).value(), 0, {1_GiB}}}, {0}}, {}, nullptr,
                   kSecond);
  EXPECT_TRUE(meter.has_slot(::getpid()));
  EXPECT_FALSE(meter.has_slot(::getppid()));
}

TEST(Usage, ComputeIsWhatWasCoveredByTheTimeThatPassed) {
  UsageMeter meter;
  meter.read_share(a_grant("g-0"), one_slot(1, 1_GiB, 5 * kSecond), {}, nullptr, 10 * kSecond);
  EXPECT_EQ(meter.usage().devices[0].compute_percent, std::nullopt);  // not known after one look
  meter.read_share(a_grant("g-0"), one_slot(1, 1_GiB, 5 * kSecond + kSecond / 4), {}, nullptr, 11 * kSecond);
  EXPECT_EQ(meter.usage().devices[0].compute_percent, 25.0);
}

TEST(Usage, CountersOutliveTheProcessesThatCounted) {
  UsageMeter meter;
  RegionView region = one_slot(::getpid(), 1_GiB);
  region.slots[0].nonce = 1;
  region.slots[0].counters = {{.launches = 10, .throttled_ns = 500, .refusals = 1}};
  meter.read_share(a_grant("g-0"), region, {}, nullptr, kSecond);
  EXPECT_EQ(meter.usage().devices[0].counters->launches, 10U);
  region.slots[0].counters[0].launches = 14;
  meter.read_share(a_grant("g-0"), region, {}, nullptr, 2 * kSecond);
  EXPECT_EQ(meter.usage().devices[0].counters->launches, 14U);
  region.slots[0].nonce = 2;  // another process in the same slot
  region.slots[0].counters = {{.launches = 3, .throttled_ns = 0, .refusals = 2}};
  meter.read_share(a_grant("g-0"), region, {}, nullptr, 3 * kSecond);
  EXPECT_EQ(meter.usage().devices[0].counters->launches, 17U);
  EXPECT_EQ(meter.usage().devices[0].counters->throttled_ns, 500U);
  EXPECT_EQ(meter.usage().devices[0].counters->refusals, 3U);
  region.slots[0].counters[0].launches = 0;  // a tenant may turn it back
  meter.read_share(a_grant("g-0"), region, {}, nullptr, 4 * kSecond);
  EXPECT_EQ(meter.usage().devices[0].counters->launches, 17U);
}

TEST(Usage, TimeThatOthersHeldTheDeviceIsNotTheGrants) {
  Survey survey = survey_of(1);
  survey.samples[0].processes.push_back({7, 1_GiB, 40U});
  UsageMeter meter;
  RegionView region = one_slot(::getpid(), 1_GiB);
  region.slots[0].host_pid = 7;
  meter.read_share(a_grant("g-0"), region, {}, &survey, 10 * kSecond);
  region.covered_ns[0] = kSecond;
  meter.read_share(a_grant("g-0"), region, {}, &survey, 11 * kSecond);
  EXPECT_EQ(meter.usage().devices[0].compute_percent, 40.0);
}

TEST(Usage, ACounterThatTheTenantTurnedBackIsNotKnown) {
  UsageMeter meter;
  meter.read_share(a_grant("g-0"), one_slot(1, 1_GiB, 5 * kSecond), {}, nullptr, 10 * kSecond);
  meter.read_share(a_grant("g-0"), one_slot(1, 1_GiB, 1), {}, nullptr, 11 * kSecond);
  EXPECT_EQ(meter.usage().devices[0].compute_percent, std::nullopt);
  meter.read_share(a_grant("g-0"), one_slot(1, 1_GiB, 900 * kSecond), {}, nullptr, 12 * kSecond);
  EXPECT_EQ(meter.usage().devices[0].compute_percent, 100.0);
}

TEST(Usage, AMemberWithoutASlotIsListedWithoutAFigure) {
  UsageMeter meter;
  meter.read_share(a_grant("g-0"), {{}, {0}}, {identify_self().value()}, nullptr, kSecond);
  ASSERT_EQ(meter.usage().processes.size(), 1U);
  EXPECT_EQ(meter.usage().processes[0].used, std::nullopt);
  EXPECT_EQ(meter.usage().devices[0].used, Bytes{0});
}

TEST(Usage, WhatTheDriverDoesNotKnowOfAWholeDeviceIsNotZero) {
  Survey survey = survey_of(1);
  survey.samples[0].compute_percent.reset();
  survey.samples[0].processes.push_back({::getpid(), std::nullopt, std::nullopt});
  UsageMeter meter;
  meter.read_whole(a_grant("g-0"), {identify_self().value()}, survey);
  EXPECT_EQ(meter.usage().devices[0].used, std::nullopt);
  EXPECT_EQ(meter.usage().devices[0].compute_percent, std::nullopt);
}

class RegionFile : public testing::Test {
 protected:
  std::string path() const { return directory_ / "region.cache"; }
  void fill(unsigned devices = 1) {
    region::RegionSeed seed;
    seed.grant_id = "g-0";
    seed.device_count = devices;
    for (unsigned i = 0; i < devices; ++i) seed.uuids[i] = "GPU-0";
    region::PageError error{};
    ASSERT_TRUE(region_.open(path().c_str(), seed, &error)) << error.text;
  }
  Directory directory_;
  region::Mapping region_;
  RegionReader reader_;
};

TEST_F(RegionFile, ChargesOfALivingProcessAreSeen) {
  fill();
  region::Slot slot;
  region::PageError error{};
  ASSERT_TRUE(region::claim_slot(region_, region::ProcessIdentity::self(), 1, &slot, &error)) << error.text;
  region::Account(region_, slot).add(0, (3_MiB).count, region::ChargeKind::Data);
  const RegionView view = reader_.read(path(), a_grant("g-0")).value();
  ASSERT_EQ(view.slots.size(), 1U);
  EXPECT_EQ(view.slots[0].host_pid, ::getpid());
  EXPECT_EQ(view.slots[0].charged[0], 3_MiB);
}

TEST_F(RegionFile, AProcessThatAContainersSlotNamesIsNotBelieved) {
  fill();
  region::Slot slot;
  region::PageError error{};
  ASSERT_TRUE(region::claim_slot(region_, region::ProcessIdentity::self(), 1, &slot, &error)) << error.text;
  region::SlotIdentity& identity = region_.ext().slots[slot.index];
  identity.pid_ns.store(identity.pid_ns.load() + 1);
  identity.host_pid.store(static_cast<std::uint32_t>(::getppid()));
  const RegionView view = reader_.read(path(), a_grant("g-0")).value();
  ASSERT_EQ(view.slots.size(), 1U);
  EXPECT_EQ(view.slots[0].host_pid, 0);
}

TEST_F(RegionFile, TheSlotOfADeadProcessCountsForNothing) {
  fill();
  const pid_t child = ::fork();
  if (child == 0) {
    region::Slot slot;
    region::PageError error{};
    if (region::claim_slot(region_, region::ProcessIdentity::self(), 1, &slot, &error))
      region::Account(region_, slot).add(0, (3_MiB).count, region::ChargeKind::Data);
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(reader_.read(path(), a_grant("g-0"))->slots.empty());
}

TEST_F(RegionFile, WhatIsNoRegionOfTheGrantIsAnError) {
  EXPECT_EQ(reader_.read(path(), a_grant("g-0")).error().code, Errc::NotFound);
  ASSERT_TRUE(write_file_atomically(path(), "", 0600));
  EXPECT_THAT(reader_.read(path(), a_grant("g-0")).error().message, HasSubstr("not filled yet"));
  ASSERT_TRUE(write_file_atomically(path(), std::string(100'000, 'x'), 0600));
  EXPECT_FALSE(reader_.read(path(), a_grant("g-0")));
  std::filesystem::remove(path());
  fill(2);
  EXPECT_THAT(reader_.read(path(), a_grant("g-0")).error().message, HasSubstr("2 devices"));
}

}  // namespace
}  // namespace kiboko
