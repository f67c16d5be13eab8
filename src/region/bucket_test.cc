#include "region/bucket.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace kiboko::region {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kNow = 1'000'000 * kMs;
constexpr std::int64_t kDepth = 5 * kMs;
constexpr Rate kThirty{3000}, kHalf{5000};
constexpr std::uint64_t kBit = kCoverBitNs;

class Bucket : public testing::Test {
 protected:
  std::unique_ptr<DeviceWords> owned_ = std::make_unique<DeviceWords>();
  DeviceWords& words_ = *owned_;
};

TEST_F(Bucket, LetsTheFirstWorkStartAtOnce) { EXPECT_LE(ready_at(words_, kThirty, kNow, kDepth), kNow); }

TEST_F(Bucket, HasItsDepthAsCreditAndNoMoreHoweverLongItWasIdle) {
  charge_time(words_, kThirty, kNow, 5 * kMs, kDepth);
  EXPECT_EQ(ready_at(words_, kThirty, kNow, kDepth), kNow);
  charge_time(words_, kThirty, kNow, 3 * kMs, kDepth);
  EXPECT_EQ(ready_at(words_, kThirty, kNow, kDepth), kNow + 10 * kMs);
}

TEST_F(Bucket, OfManyWhoWaitForTheSameMomentOneGoesAhead) {
  ASSERT_TRUE(try_charge_time(words_, kThirty, kNow, 100 * kMs, kDepth));
  const std::int64_t ready = ready_at(words_, kThirty, kNow, kDepth);
  EXPECT_FALSE(try_charge_time(words_, kThirty, ready - 1, 100 * kMs, kDepth));
  std::atomic<int> through{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] { through += try_charge_time(words_, kThirty, ready, 100 * kMs, kDepth) ? 1 : 0; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(through, 1);
  EXPECT_EQ(words_.charged_ns, 200 * kMs);
}

// A program that always has work of `unit` ns; returns the device time it got in `total` ns.
std::int64_t run(DeviceWords& words, Rate rate, std::int64_t unit, std::int64_t estimate, std::int64_t total) {
  std::int64_t now = kNow, got = 0;
  while (now < kNow + total) {
    const std::int64_t ready = ready_at(words, rate, now, kDepth);
    if (ready > now) now = ready;
    charge_time(words, rate, now, estimate, kDepth);
    now += unit;
    correct_time(words, rate, now, unit - estimate, kDepth);
    got += unit;
  }
  return got;
}

struct Share {
  std::uint32_t permyriad;
  std::int64_t unit, estimate;
};
class BucketShare : public testing::TestWithParam<Share> {};
TEST_P(BucketShare, ComesOutAsAskedOverTenSeconds) {
  auto words = std::make_unique<DeviceWords>();
  const std::int64_t total = 10'000 * kMs;
  const std::int64_t got = run(*words, Rate{GetParam().permyriad}, GetParam().unit, GetParam().estimate, total);
  const std::int64_t asked = total / 10'000 * GetParam().permyriad;
  EXPECT_NEAR(static_cast<double>(got), static_cast<double>(asked),
              static_cast<double>(kDepth + GetParam().unit + total / 1000));
}
INSTANTIATE_TEST_SUITE_P(Rates, BucketShare,
                         testing::Values(Share{1000, kMs, kMs}, Share{3000, 15'000, 10'000},
                                         Share{5000, 50 * kMs, 10'000}, Share{7000, 100'000, kMs},
                                         Share{9000, 10 * kMs, 20 * kMs}));

TEST_F(Bucket, GivesBackWhatWasChargedTooMuchButNoMoreThanItsDepth) {
  charge_time(words_, kHalf, kNow, 9 * kMs, kDepth);
  correct_time(words_, kHalf, kNow, -4 * kMs, kDepth);
  EXPECT_EQ(ready_at(words_, kHalf, kNow, kDepth), kNow);
  correct_time(words_, kHalf, kNow, -100 * kMs, kDepth);
  EXPECT_EQ(words_.tat_ns, kNow);
}

TEST_F(Bucket, DoesNotRaiseAnOldArrivalWhenThereIsNothingToGiveBack) {
  words_.tat_ns = kNow - 50 * kMs;
  correct_time(words_, kThirty, kNow, -kMs, kDepth);
  EXPECT_EQ(words_.tat_ns, kNow - 50 * kMs);
}

TEST_F(Bucket, KeepsNoDebtBeyondTwoSecondsOrOneUnit) {
  correct_time(words_, kThirty, kNow, 3'000'000 * kMs, kDepth);
  EXPECT_EQ(ready_at(words_, kThirty, kNow, kDepth), kNow + 2000 * kMs);
  words_.longest_unit_ns = 3'000'000'000;
  correct_time(words_, kThirty, kNow, 3'000'000 * kMs, kDepth);
  EXPECT_EQ(ready_at(words_, kThirty, kNow, kDepth), kNow + 10'000 * kMs);
}

TEST_F(Bucket, CountsWhatItChargedAndCorrected) {
  charge_time(words_, kThirty, kNow, 9 * kMs, kDepth);
  correct_time(words_, kThirty, kNow, -4 * kMs, kDepth);
  EXPECT_EQ(words_.charged_ns, 5'000'000u);
}

TEST_F(Bucket, IgnoresWorkThatIsNone) {
  charge_time(words_, kThirty, kNow, 0, kDepth);
  charge_time(words_, kThirty, kNow, -5, kDepth);
  EXPECT_EQ(words_.tat_ns, 0);
}

TEST_F(Bucket, StaysInRangeWhateverTheWordsAndArgumentsAre) {
  constexpr std::int64_t kOdd[] = {INT64_MIN, INT64_MIN + 1, -kNow, -1, 0, 1, kNow, INT64_MAX - 1, INT64_MAX};
  for (const std::int64_t tat : kOdd)
    for (const std::int64_t now : kOdd)
      for (const std::int64_t amount : kOdd)
        for (const std::uint32_t rate : {0u, 1u, 10'000u, UINT32_MAX}) {
          words_.tat_ns = tat;
          words_.longest_unit_ns = static_cast<std::uint64_t>(amount);
          words_.charged_ns = UINT64_MAX;
          (void)ready_at(words_, Rate{rate}, now, amount);
          charge_time(words_, Rate{rate}, now, amount, amount);
          words_.tat_ns = tat;
          correct_time(words_, Rate{rate}, now, amount, amount);
          (void)cover(words_, static_cast<std::uint64_t>(tat), static_cast<std::uint64_t>(amount));
        }
}

TEST_F(Bucket, HealsFromAnArrivalInTheFarFuture) {
  words_.tat_ns = INT64_MAX;
  EXPECT_LE(ready_at(words_, kThirty, kNow, kDepth), kNow + 2000 * kMs);
  correct_time(words_, kThirty, kNow, -kMs, kDepth);
  EXPECT_LE(words_.tat_ns, kNow + 3000 * kMs);
}

TEST_F(Bucket, LosesNoChargeOfSeveralThreads) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) charge_time(words_, Rate{10'000}, kNow, 10, kDepth);
    });
  threads.clear();
  EXPECT_EQ(words_.tat_ns, kNow + 400'000);
}

// ---- the timeline -------------------------------------------------------------------------------------------------

using Cover = Bucket;

TEST_F(Cover, CountsAnIntervalOnce) {
  EXPECT_EQ(cover(words_, 100 * kBit, 200 * kBit), 100 * kBit);
  EXPECT_EQ(cover(words_, 100 * kBit, 200 * kBit), 0u);
  EXPECT_EQ(cover(words_, 150 * kBit, 250 * kBit), 50 * kBit);
  EXPECT_EQ(words_.covered_ns, 150 * kBit);
}

TEST_F(Cover, IsNothingForAnEmptyOrBackwardInterval) {
  EXPECT_EQ(cover(words_, 5, 5), 0u);
  EXPECT_EQ(cover(words_, 6 * kBit, 5 * kBit), 0u);
}

TEST_F(Cover, ShowsItsBits) {
  cover(words_, 48 * kBit, 51 * kBit);
  EXPECT_EQ(covered_bits(words_, 48 * kBit), 7u);
  EXPECT_EQ(covered_bits(words_, 47 * kBit), 0u);
  EXPECT_EQ(covered_bits(words_, 48 * kBit + kCoverWords * kCoverWordNs), 0u);
}

TEST_F(Cover, OfShortIntervalsIsRightOnAverage) {
  std::mt19937_64 random(1);
  std::uint64_t now = 1'000 * kBit, real = 0, counted = 0;
  for (int i = 0; i < 100'000; ++i) {
    now += 20'000 + random() % 60'000;
    counted += cover(words_, now, now + 15'000);
    now += 15'000;
    real += 15'000;
  }
  EXPECT_NEAR(static_cast<double>(counted), static_cast<double>(real), static_cast<double>(real) * 0.02);
}

TEST_F(Cover, CountsWhatIsOlderThanTheRingInFull) {
  const std::uint64_t second = 1'000'000'000;
  EXPECT_EQ(cover(words_, 10 * second + 7, 12 * second), 2 * second - 7);
  EXPECT_EQ(cover(words_, 10 * second, 10 * second + 5 * kBit), 5 * kBit);
  EXPECT_EQ(cover(words_, 10 * second, 10 * second + 5 * kBit), 5 * kBit);
}

TEST_F(Cover, ForgetsWhatTheRingHadBefore) {
  const std::uint64_t turn = kCoverWords * kCoverWordNs;
  cover(words_, turn, turn + 40 * kBit);
  EXPECT_EQ(cover(words_, 2 * turn, 2 * turn + 40 * kBit), 40 * kBit);
  EXPECT_EQ(cover(words_, 65'000 * turn, 65'000 * turn + 40 * kBit), 40 * kBit);
  EXPECT_EQ(cover(words_, 65'000 * turn, 65'000 * turn + 40 * kBit), 0u);
}

TEST_F(Cover, OfSeveralThreadsIsTheirUnion) {
  std::atomic<std::uint64_t> sum{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (std::uint64_t at = 1000; at < 11'000; at += 5) sum += cover(words_, at * kBit, (at + 8) * kBit);
    });
  threads.clear();
  EXPECT_EQ(sum, words_.covered_ns);
  EXPECT_EQ(sum, 10'003 * kBit);
}

}  // namespace
}  // namespace kiboko::region
