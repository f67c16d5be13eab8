#include "host/pacing.h"

#include <gtest/gtest.h>

#include "region/layout.h"

namespace kiboko::host {
namespace {

constexpr std::uint64_t kAll = (std::uint64_t{1} << region::kCoverBits) - 1;
constexpr std::uint64_t kWordNs = region::kCoverWordNs;

GrantDemand limited(std::uint32_t percent, bool hungry = true) {
  return {.core_percent = percent, .active = true, .hungry = hungry, .used_percent = static_cast<double>(percent)};
}
GrantDemand open(bool hungry, double used) {
  return {.core_percent = 0, .active = true, .hungry = hungry, .used_percent = used};
}

TEST(Rates, LeaveLimitedGrantsToTheirOwnPercentage) {
  const GrantDemand grants[] = {limited(30), limited(60)};
  EXPECT_EQ(rates(grants), (std::vector<std::uint32_t>{0, 0}));
}

TEST(Rates, ShareEquallyBetweenTwoHungryGrantsWithoutALimit) {
  const GrantDemand grants[] = {open(true, 50), open(true, 50)};
  const auto result = rates(grants);
  EXPECT_EQ(result[0], result[1]);
  EXPECT_GE(result[0], 5000U);
  EXPECT_LE(result[0], 5200U);
}

TEST(Rates, GiveWhatALimitedGrantLeavesToOneWithoutALimit) {
  const GrantDemand grants[] = {limited(30), open(true, 70)};
  EXPECT_GE(rates(grants)[1], 7000U);
  EXPECT_LE(rates(grants)[1], 7400U);
}

TEST(Rates, LendWhatAContentGrantDoesNotUse) {
  const GrantDemand grants[] = {open(false, 10), open(true, 50)};
  EXPECT_GE(rates(grants)[1], 8000U);
}

GrantDemand elastic(std::uint32_t percent, bool hungry, double used) {
  return {.core_percent = percent, .elastic = true, .active = true, .hungry = hungry, .used_percent = used};
}

TEST(Rates, LendToAnElasticGrantWhatOthersLeave) {
  const GrantDemand grants[] = {elastic(30, true, 30), limited(60, false)};
  GrantDemand idle[] = {grants[0], grants[1]};
  idle[1].used_percent = 10;
  EXPECT_GE(rates(idle)[0], 8300U) << "60 were asked, 10 are used";
  EXPECT_EQ(rates(idle)[1], 0U);
}

TEST(Rates, TakeBackWhatWasLentAsSoonAsItIsWanted) {
  const GrantDemand grants[] = {elastic(30, true, 85), limited(60)};
  EXPECT_GE(rates(grants)[0], 3000U);
  EXPECT_LE(rates(grants)[0], 4000U) << "what nobody asked for stays";
}

TEST(Rates, NeverPutAnElasticGrantBelowItsFloor) {
  const GrantDemand grants[] = {elastic(40, true, 40), limited(60), open(true, 0)};
  EXPECT_GE(rates(grants)[0], 4000U);
  EXPECT_GE(rates(grants)[2], kLeastPermyriad);
}

TEST(Rates, ShareAmongElasticGrantsEqually) {
  const GrantDemand grants[] = {elastic(20, true, 20), elastic(30, true, 30)};
  const auto result = rates(grants);
  EXPECT_NEAR(result[0] - 2000.0, result[1] - 3000.0, 2);
  EXPECT_GE(result[0] + result[1], 9800U);
}

TEST(Rates, NeverStarveAnybody) {
  const GrantDemand grants[] = {limited(60), limited(40), open(true, 0)};
  EXPECT_GE(rates(grants)[2], kLeastPermyriad);
}

TEST(Rates, AreDividedAmongEqualsOnly) {
  GrantDemand grants[] = {open(true, 100), open(true, 0)};
  grants[1].priority = 1;
  EXPECT_EQ(rates(grants), (std::vector<std::uint32_t>{10000, 10000})) << "who may work when, the priorities say";
}

constexpr std::uint64_t kNow = 1'000'000'000'000;
constexpr std::uint64_t kMs = 1'000'000;

// Programs are there, and have launched of late.
Standing at(std::uint32_t priority, std::uint64_t busy_until) {
  return {.priority = priority, .busy_until_ns = busy_until, .has_processes = true, .active = true};
}

std::vector<bool> blocked(std::vector<Standing> grants) {
  std::vector<bool> result;
  for (const Precedence& verdict : precedence(grants, kNow)) result.push_back(verdict.blocked);
  return result;
}

TEST(Precedence, HoldsTheLowerBackWhileTheHigherIsAtWork) {
  EXPECT_EQ(blocked({at(0, kNow + kMs), at(1, kNow + kMs)}), (std::vector<bool>{false, true}));
}

TEST(Precedence, LetsTheLowerGoWhenTheHigherHasEnded) {
  EXPECT_EQ(blocked({at(0, kNow - kPauseNs), at(1, kNow + kMs)}), (std::vector<bool>{false, false}));
  EXPECT_EQ(blocked({at(0, 0), at(1, 0)}), (std::vector<bool>{false, false}));
}

TEST(Precedence, TakesAShortPauseForPartOfTheWork) {
  EXPECT_EQ(blocked({at(0, kNow - kPauseNs / 2), at(1, 0)}), (std::vector<bool>{false, true}));
}

// Every half millisecond a look at a program that works for `work_us` and pauses for `pause_us`, for a second.
Pauses watched(std::uint64_t work_us, std::uint64_t pause_us) {
  Pauses pauses;
  const std::uint64_t round = (work_us + pause_us) * 1000;
  for (std::uint64_t at = 0; at < 1000 * kMs; at += kMs / 2) {
    const std::uint64_t begun = kNow + at / round * round;
    pauses.look(begun + work_us * 1000, kNow + at);
  }
  return pauses;
}

TEST(Precedence, DoesNotWaitForWorkThatNeverComesSoon) {
  EXPECT_EQ(watched(500, 2000).worth_waiting_ns(), 0U) << "requests";
  EXPECT_EQ(watched(130, 60).worth_waiting_ns(), kPauseNs) << "kernels waited for one by one";
  EXPECT_EQ(watched(5000, 90).worth_waiting_ns(), kPauseNs) << "batches of kernels";
  EXPECT_EQ(Pauses().worth_waiting_ns(), kPauseNs) << "a program nobody knows yet";
  Standing requests = at(0, kNow - 1);
  requests.pause_ns = 0;
  EXPECT_EQ(blocked({requests, at(1, 0)}), (std::vector<bool>{false, false}));
}

TEST(Precedence, LeavesEqualsAlone) {
  for (const std::uint32_t priority : {0U, 1U}) {
    const Standing grants[] = {at(priority, kNow + kMs), at(priority, kNow + kMs)};
    EXPECT_EQ(precedence(grants, kNow), (std::vector<Precedence>(2)));
  }
}

TEST(Precedence, PutsEachBehindAllThatAreHigher) {
  EXPECT_EQ(blocked({at(2, 0), at(1, kNow + kMs), at(0, 0)}), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(blocked({at(2, 0), at(1, 0), at(0, kNow + kMs)}), (std::vector<bool>{true, true, false}));
}

TEST(Precedence, HoldsNobodyBackForAWordBeyondBelief) {
  for (const std::uint64_t word : {kNow + 3'600'000 * kMs, ~std::uint64_t{0}})
    EXPECT_EQ(blocked({at(0, word), at(1, 0)}), (std::vector<bool>{false, false})) << word;
}

TEST(Precedence, KeepsLittleInFlightWhereSomebodyHigherMayCome) {
  Standing idle = at(0, 0);
  idle.active = false;
  const Standing grants[] = {idle, at(1, 0), at(1, 0)};
  const std::vector<Precedence> verdicts = precedence(grants, kNow);
  EXPECT_EQ(verdicts[0].in_flight_us, 0U);
  EXPECT_EQ(verdicts[1].in_flight_us + verdicts[2].in_flight_us, kShyInFlightUs) << "of both together";
  EXPECT_TRUE(verdicts[0].watched);
  EXPECT_FALSE(verdicts[1].watched);
}

TEST(Precedence, CostsNobodyAnythingWhoIsAlone) {
  Standing gone = at(0, 0), idle = at(1, 0);
  gone.has_processes = gone.active = idle.active = false;
  const Standing without_programs[] = {gone, at(1, kNow + kMs)}, without_work[] = {at(0, kNow + kMs), idle};
  EXPECT_EQ(precedence(without_programs, kNow), (std::vector<Precedence>(2)));
  EXPECT_FALSE(precedence(without_work, kNow)[0].watched);
}

TEST(Attribute, GoesOnWhereItWasWhenGrantsComeAndGo) {
  TurnState state{.holder = 2, .left_ns = 5, .was_busy = 0b101, .bits = 9};
  state.held_until[0] = 3;
  state.held_until[2] = 9;
  const int was[] = {2, -1, 0};  // the second is gone, a new one came
  const TurnState next = reordered(state, was);
  EXPECT_EQ(next.holder, 0);
  EXPECT_EQ(next.left_ns, 5U);
  EXPECT_EQ(next.was_busy, 0b101U);
  EXPECT_EQ(next.held_until[0], 9U);
  EXPECT_EQ(next.held_until[1], 0U);
  EXPECT_EQ(next.held_until[2], 3U);
  const int without_holder[] = {0};
  EXPECT_EQ(reordered(state, without_holder).holder, -1);
}

TEST(Attribute, GivesNothingBackWhenNobodyOverlaps) {
  TurnState state;
  const Timeline timelines[] = {{.words = {kAll, 0}}, {.words = {0, kAll}}};
  EXPECT_EQ(attribute(timelines, state), (std::vector<std::uint64_t>{0, 0}));
}

TEST(Attribute, SplitsALongOverlapInHalf) {
  TurnState state;
  const std::vector<std::uint64_t> busy(100, kAll);
  const Timeline timelines[] = {{.words = busy}, {.words = busy}};
  const auto others = attribute(timelines, state);
  EXPECT_EQ(others[0] + others[1], 100 * kWordNs);
  EXPECT_NEAR(static_cast<double>(others[0]), 50.0 * kWordNs, kSliceNs);
}

TEST(Attribute, CountsTheProcessesOfAGrantAsSoManyTurns) {
  TurnState state;
  const std::vector<std::uint64_t> busy(200, kAll);
  const Timeline timelines[] = {{.words = busy, .processes = 3}, {.words = busy, .processes = 1}};
  const auto others = attribute(timelines, state);
  EXPECT_NEAR(static_cast<double>(others[0]), 50.0 * kWordNs, 4.0 * kSliceNs);
}

TEST(Attribute, LetsAShortKernelThatBeganInItsOwnTurnKeepAllOfIt) {
  TurnState state;
  std::vector<std::uint64_t> busy(8, kAll);
  std::vector<std::uint64_t> brief(8, 0);
  brief[4] = 0b1100;
  const Timeline timelines[] = {{.words = busy}, {.words = brief}};
  const auto others = attribute(timelines, state);
  EXPECT_EQ(others[1], 0U);
  EXPECT_EQ(others[0], 2 * region::kCoverBitNs);
}

// One bit is 20 µs, a turn 100 bits. The device goes round as a, c, b or as a, b, c; the timelines tell which: c and b
// began in that order, so after the brief a the device goes on with c.
TEST(Attribute, GoesRoundInTheOrderThatTheTimelinesShow) {
  constexpr std::size_t kBits = 10 * region::kCoverBits;
  std::vector<std::uint64_t> a(10, 0), first(10, 0), second(10, 0);
  const auto set = [](std::vector<std::uint64_t>& words, std::size_t from, std::size_t to) {
    for (std::size_t bit = from; bit < to; ++bit)
      words[bit / region::kCoverBits] |= std::uint64_t{1} << bit % region::kCoverBits;
  };
  set(first, 0, 310);       // its turn until 100, and 60 more after a
  set(second, 100, kBits);  // its turn until 200, and again from 310
  set(a, 200, 250);
  for (const bool swapped : {false, true}) {
    TurnState state;
    const Timeline timelines[] = {
        {.words = a}, {.words = swapped ? second : first}, {.words = swapped ? first : second}};
    const auto others = attribute(timelines, state);
    EXPECT_EQ(others[0], 0U);
    EXPECT_EQ(others[swapped ? 2 : 1], 150 * region::kCoverBitNs);
    EXPECT_EQ(others[swapped ? 1 : 2], 110 * region::kCoverBitNs);
  }
}

TEST(Attribute, GivesTheSameAnswerInOneStretchOrInMany) {
  std::vector<std::uint64_t> a, b;
  std::uint64_t random = 12345;
  for (int i = 0; i < 64; ++i) {
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    a.push_back(random >> 16 & kAll);
    b.push_back(random >> 8 & kAll);
  }
  TurnState whole;
  const Timeline both[] = {{.words = a}, {.words = b}};
  const auto expected = attribute(both, whole);
  TurnState parts;
  std::vector<std::uint64_t> sum(2, 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const Timeline one[] = {{.words = {a[i]}}, {.words = {b[i]}}};
    const auto step = attribute(one, parts);
    sum[0] += step[0];
    sum[1] += step[1];
  }
  EXPECT_EQ(sum, expected);
}

}  // namespace
}  // namespace kiboko::host
