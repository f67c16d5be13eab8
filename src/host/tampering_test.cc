#include "host/tampering.h"

#include <gmock/gmock.h>

#include "host/library_check.h"
#include "host/testing.h"

namespace kiboko {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing_host::a_grant;
using testing_host::Child;

constexpr std::uint64_t kSecond = 1'000'000'000;

// One grant of 4 GiB on device 0, whose one program is this test; a survey and a look each second.
class TamperTest : public testing::Test {
 protected:
  TamperTest() {
    region_.slots.push_back({identify_self().value(), ::getpid(), {1_GiB}, 1});
    region_.covered_ns = {0};
    region_.limits = {{4_GiB, 30}};
    region_.nonce = 7;
    driver_says(1_GiB);
  }
  void driver_says(Bytes used) { survey_.samples[0].processes = {{::getpid(), used, std::nullopt}}; }
  std::vector<Tampering> look() {
    now_ += kSecond;
    ++serial_;
    return watch_.look({grant_, region_, generation_, &survey_, serial_, now_, [this](pid_t) { return belongs_; }});
  }
  // What is certain after so many looks.
  std::vector<Tampering> looks(int count) {
    for (int i = 0; i < count; ++i) look();
    return watch_.found();
  }

  Grant grant_ = a_grant("g-0");
  RegionView region_;
  Survey survey_ = survey_of(1);
  std::uint64_t generation_ = 0, serial_ = 0, now_ = 100 * kSecond;
  bool belongs_ = true;
  TamperWatch watch_;
};

TEST_F(TamperTest, WhatAgreesIsNotReported) { EXPECT_THAT(looks(10), IsEmpty()); }

TEST_F(TamperTest, MemoryBeyondTheChargesIsReportedOnceAndWhileItLasts) {
  driver_says(1_GiB + 64_MiB + 128_MiB + 1_MiB);
  EXPECT_THAT(look(), IsEmpty());
  EXPECT_THAT(look(), IsEmpty());
  EXPECT_THAT(look(), IsEmpty()) << "two seconds are not more than two";
  const auto fresh = look();
  ASSERT_THAT(fresh, SizeIs(1));
  EXPECT_EQ(fresh[0].pid, ::getpid());
  EXPECT_THAT(fresh[0].sentence, HasSubstr("charged 1.0 GiB"));
  EXPECT_THAT(look(), IsEmpty());
  EXPECT_THAT(watch_.found(), SizeIs(1));
  driver_says(1_GiB);
  EXPECT_THAT(looks(1), IsEmpty());
}

TEST_F(TamperTest, WhatContextsAndCodeMayTakeIsNotReported) {
  driver_says(1_GiB + 64_MiB + 128_MiB);
  EXPECT_THAT(looks(10), IsEmpty());
}

TEST_F(TamperTest, AProgramThatAllocatesAndFreesAllTheTimeIsNotReported) {
  for (int i = 0; i < 20; ++i) {
    driver_says(i % 2 == 0 ? 3_GiB : 1_GiB);  // the survey and the region are of different instants
    region_.slots[0].charged[0] = i % 4 < 2 ? 3_GiB : 1_GiB;
    EXPECT_THAT(looks(1), IsEmpty());
  }
}

TEST_F(TamperTest, TheSlotOfTheProgramBeforeCountsForTheOneExecutedAnew) {
  region_.slots.push_back({identify_self().value(), ::getpid(), {2_GiB}, 2});
  driver_says(3_GiB);
  EXPECT_THAT(looks(10), IsEmpty());
}

TEST_F(TamperTest, MemoryOfAnotherProcessIsHeldAgainstTheLimit) {
  region_.slots[0].imports = true;
  driver_says(4_GiB);
  EXPECT_THAT(looks(10), IsEmpty());
  driver_says(6_GiB);
  EXPECT_THAT(looks(10), SizeIs(1));
}

TEST_F(TamperTest, AProcessOfAContainerIsFoundByWhatItIsInside) {
  region_.slots[0] = {identify_from_inside(::getpid()).value(), 0, {1_GiB}, 1};
  driver_says(3_GiB);
  EXPECT_THAT(looks(10), SizeIs(1));
}

TEST_F(TamperTest, OneSurveyLookedAtOftenIsOneLook) {
  driver_says(3_GiB);
  for (int i = 0; i < 10; ++i) {
    --serial_;
    EXPECT_THAT(looks(1), IsEmpty());
  }
}

TEST_F(TamperTest, AnotherRegionUnderALivingProcessIsReportedUntilItEnds) {
  Child program;
  region_.slots[0] = {identify_process(program.pid()).value(), program.pid(), {1_GiB}, 1};
  EXPECT_THAT(looks(2), IsEmpty());
  region_.nonce = 8;
  region_.slots.clear();
  const auto fresh = look();
  ASSERT_THAT(fresh, SizeIs(1));
  EXPECT_EQ(fresh[0].kind, Tampering::Kind::Region);
  EXPECT_THAT(fresh[0].sentence, HasSubstr(std::to_string(program.pid())));
  EXPECT_THAT(looks(3), SizeIs(1));
  program.end();
  EXPECT_THAT(looks(1), IsEmpty());
}

TEST_F(TamperTest, AnotherRegionWhenNobodyIsLeftIsNotReported) {
  {
    const Child program;
    region_.slots[0] = {identify_process(program.pid()).value(), program.pid(), {1_GiB}, 1};
    EXPECT_THAT(looks(2), IsEmpty());
  }
  region_.nonce = 8;
  region_.slots.clear();
  EXPECT_THAT(looks(3), IsEmpty());
}

TEST_F(TamperTest, ASlotOfSomebodyElsesProcessIsReported) {
  grant_.owner.uid = ::geteuid() + 1;
  EXPECT_THAT(looks(3), IsEmpty()) << "of another user, but it belongs to the grant";
  belongs_ = false;
  EXPECT_THAT(looks(1), IsEmpty());
  const auto fresh = look();
  ASSERT_THAT(fresh, SizeIs(1));
  EXPECT_EQ(fresh[0].kind, Tampering::Kind::Slot);
}

TEST_F(TamperTest, LimitWordsBeyondThePageAreReported) {
  for (const RegionLimits words : {RegionLimits{5_GiB, 30}, {{}, 30}, {4_GiB, 31}, {4_GiB, 0}}) {
    region_.limits = {words};
    EXPECT_THAT(looks(1), IsEmpty()) << "whoever copies the page has begun perhaps";
    EXPECT_THAT(looks(1), SizeIs(1));
    region_.limits = {{4_GiB, 30}};
    EXPECT_THAT(looks(1), IsEmpty());
  }
  region_.limits = {{1_GiB, 10}};  // a lower one is honoured
  EXPECT_THAT(looks(5), IsEmpty());
}

TEST_F(TamperTest, LimitWordsOfThePageBeforeAreNotReported) {
  generation_ = 1;
  region_.limits = {{8_GiB, 90}};
  EXPECT_THAT(looks(5), IsEmpty());
}

TEST(LibraryCheck, FindsTheLibraryByItsNames) {
  EXPECT_TRUE(maps_the_library("7f00-7f01 r-xp 0 00:00 12   /usr/local/lib/libkiboko.so\n"));
  EXPECT_TRUE(maps_the_library("7f00-7f01 r-xp 0 00:00 12   /usr/local/vgpu/libvgpu.so (deleted)\n"));
  EXPECT_FALSE(maps_the_library("7f00-7f01 r-xp 0 00:00 12   /usr/lib/libcuda.so.1\n"));
}

TEST(LibraryCheck, ReadsFewMapsAtATimeAndAllInTheEnd) {
  std::vector<Child> children(LibraryCheck::kReadsPerRound + 2);
  LibraryCheck check;
  const auto lacking = [&] {
    return std::ranges::count_if(
        children, [&](const Child& child) { return check.lacks_library(identify_process(child.pid()).value()); });
  };
  check.begin_round();
  EXPECT_EQ(lacking(), 0) << "not looked at yet";
  check.begin_round();
  EXPECT_EQ(lacking(), LibraryCheck::kReadsPerRound);
  check.begin_round();
  EXPECT_EQ(lacking(), std::ssize(children));
}

}  // namespace
}  // namespace kiboko
