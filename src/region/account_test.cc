#include "region/account.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "region/fixture.h"
#include "region/memory_lock.h"

namespace kiboko::region {
namespace {

constexpr AccountView kHundredMi{100 * kMi, 0};

class AccountTest : public RegionTest {
 protected:
  void SetUp() override {
    RegionTest::SetUp();
    slot_ = claim(region_);
  }
  Account account() { return Account(region_, slot_); }
  const HamiUsage& mirror() const { return region_.hami().slots[slot_.index].used[0]; }
  Slot slot_;
};

TEST_F(AccountTest, AdmitsUpToTheLimitAndNotOneByteMore) {
  EXPECT_TRUE(account().charge(0, 60 * kMi, ChargeKind::Data, kHundredMi));
  EXPECT_TRUE(account().charge(0, 40 * kMi, ChargeKind::Data, kHundredMi));
  EXPECT_FALSE(account().charge(0, 1, ChargeKind::Data, kHundredMi));
  EXPECT_EQ(account().total(0), 100 * kMi);
}

TEST_F(AccountTest, AdmitsAgainAfterARefund) {
  account().charge(0, 100 * kMi, ChargeKind::Data, kHundredMi);
  account().refund(0, 30 * kMi, ChargeKind::Data);
  EXPECT_TRUE(account().charge(0, 30 * kMi, ChargeKind::Data, kHundredMi));
  EXPECT_FALSE(account().charge(0, 1, ChargeKind::Data, kHundredMi));
}

TEST_F(AccountTest, CountsWithoutALimitToo) {
  EXPECT_TRUE(account().charge(0, 500 * kMi, ChargeKind::Data, AccountView{}));
  EXPECT_EQ(account().total(0), 500 * kMi);
}

TEST_F(AccountTest, CountsARefusalOnTheSlot) {
  account().charge(0, 101 * kMi, ChargeKind::Data, kHundredMi);
  EXPECT_EQ(region_.ext().counters[slot_.index].device[0].oom_refusals, 1u);
}

TEST_F(AccountTest, AddsWhatOthersSawOnTheDeviceAndNeverTakesItOff) {
  EXPECT_FALSE(account().charge(0, 60 * kMi, ChargeKind::Data, AccountView{100 * kMi, 41 * kMi}));
  EXPECT_TRUE(account().charge(0, 60 * kMi, ChargeKind::Data, AccountView{100 * kMi, 40 * kMi}));
  EXPECT_FALSE(account().charge(0, 41 * kMi, ChargeKind::Data, AccountView{100 * kMi, -50 * static_cast<int>(kMi)}));
}

TEST_F(AccountTest, NeverRefundsMoreThanWasCharged) {
  account().charge(0, kMi, ChargeKind::Data, kHundredMi);
  account().refund(0, 5 * kMi, ChargeKind::Data);
  EXPECT_EQ(account().own(0), 0u);
  EXPECT_EQ(mirror().data, 0u);
}

TEST_F(AccountTest, ChargesWhatExistsEvenOverTheLimit) {
  account().add(0, 150 * kMi, ChargeKind::Context);
  EXPECT_EQ(account().total(0), 150 * kMi);
  EXPECT_FALSE(account().charge(0, 1, ChargeKind::Data, kHundredMi));
}

TEST_F(AccountTest, ShowsHamiWhatEachKindHolds) {
  account().charge(0, 5 * kMi, ChargeKind::Data, kHundredMi);
  account().charge(0, 3 * kMi, ChargeKind::Context, kHundredMi);
  account().charge(0, 2 * kMi, ChargeKind::Module, kHundredMi);
  account().refund(0, 1 * kMi, ChargeKind::Data);
  EXPECT_EQ(mirror().data, 4 * kMi);
  EXPECT_EQ(mirror().context, 3 * kMi);
  EXPECT_EQ(mirror().module, 2 * kMi);
  EXPECT_EQ(mirror().total, 9 * kMi);
}

TEST_F(AccountTest, RefusesSizesThatNoDeviceHasAndDevicesThatAreNotThere) {
  EXPECT_FALSE(account().charge(0, UINT64_MAX, ChargeKind::Data, AccountView{}));
  EXPECT_FALSE(account().charge(0, UINT64_MAX, ChargeKind::Data, AccountView{UINT64_MAX, 0}));
  EXPECT_FALSE(account().charge(kMaxDevices, 1, ChargeKind::Data, AccountView{}));
  account().add(kMaxDevices, 1, ChargeKind::Data);
  account().refund(kMaxDevices, 1, ChargeKind::Data);
  EXPECT_EQ(account().total(kMaxDevices), 0u);
  EXPECT_EQ(account().total(0), 0u);
}

TEST_F(AccountTest, SaturatesWhenASpoiledRegionHoldsHugeCharges) {
  for (auto& word : region_.ext().charges[0].charged[0]) word = UINT64_MAX - 1;
  region_.ext().header.slot_blocks = UINT64_MAX;
  EXPECT_EQ(account().total(0), UINT64_MAX);
  EXPECT_FALSE(account().charge(0, kMi, ChargeKind::Data, kHundredMi));
}

TEST_F(AccountTest, ForgetsADeadProcessBeforeItRefuses) {
  ASSERT_EQ(exit_code_of(start_child([&] {
              return Account(region_, claim(region_)).charge(0, 90 * kMi, ChargeKind::Data, kHundredMi) ? 0 : 1;
            })),
            0);
  EXPECT_EQ(account().total(0), 90 * kMi);
  EXPECT_TRUE(account().charge(0, 90 * kMi, ChargeKind::Data, kHundredMi));
  EXPECT_EQ(account().total(0), 90 * kMi);
}

TEST_F(AccountTest, TakesTheLockOverFromADeadHolder) {
  ASSERT_EQ(exit_code_of(start_child([&] {
              auto* held = new MemoryLock(region_, 0, claim(region_));
              return held == nullptr ? 1 : 0;
            })),
            0);
  ASSERT_NE(region_.ext().devices[0].memory_lock, 0u);
  EXPECT_TRUE(account().charge(0, 100 * kMi, ChargeKind::Data, kHundredMi));
  EXPECT_EQ(region_.ext().devices[0].memory_lock, 0u);
}

TEST_F(AccountTest, TakesTheLockOverFromAHolderThatIsStopped) {
  Slot other = claim(region_);
  auto held = std::make_unique<MemoryLock>(region_, 0, other);
  EXPECT_TRUE(account().charge(0, 100 * kMi, ChargeKind::Data, kHundredMi));
  held.reset();  // late: it is not its lock any more
  EXPECT_EQ(region_.ext().devices[0].memory_lock, 0u);
}

TEST_F(AccountTest, GoesOnWhenTheLockHoldsRubbish) {
  region_.ext().devices[0].memory_lock = UINT64_MAX;
  EXPECT_TRUE(account().charge(0, 100 * kMi, ChargeKind::Data, kHundredMi));
}

TEST(Slack, IsAnEighthOrSixtyFourMebibytes) {
  EXPECT_EQ(slack(0), 64 * kMi);
  EXPECT_EQ(slack(80 * kMi), 64 * kMi);
  EXPECT_EQ(slack(1024 * kMi), 128 * kMi);
}

TEST(Rounded, GoesUpAsDriversDo) {
  EXPECT_EQ(rounded(0), 0u);
  EXPECT_EQ(rounded(1), 512u);
  EXPECT_EQ(rounded(513), 1024u);
  EXPECT_EQ(rounded(kMi - 1), kMi);
  EXPECT_EQ(rounded(kMi), 2 * kMi);
  EXPECT_EQ(rounded(2 * kMi + 1), 4 * kMi);
  EXPECT_EQ(rounded(UINT64_MAX), UINT64_MAX);
}

// ---- several at once: threads with a slot each stand for processes ------------------------------------------------

class RaceOfThreads : public RegionTest, public testing::WithParamInterface<int> {};

TEST_P(RaceOfThreads, ForTheLastRoomIsWonByAsManyAsFit) {
  const int racers = GetParam();
  std::vector<Slot> slots;
  for (int i = 0; i < racers; ++i) slots.push_back(claim(region_));
  const std::uint64_t room = static_cast<std::uint64_t>((racers + 1) / 2);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> ready{0};
    std::atomic<std::uint64_t> winners{0};
    std::vector<std::jthread> threads;
    for (const Slot& slot : slots)
      threads.emplace_back([&, account = Account(region_, slot)]() mutable {
        for (ready.fetch_add(1); ready.load() < racers;) std::this_thread::yield();
        winners += account.charge(0, 2 * kMi, ChargeKind::Data, AccountView{room * 2 * kMi, 0});
      });
    threads.clear();
    ASSERT_EQ(winners, room);
    ASSERT_EQ(sum_of_all_charges(region_, 0), room * 2 * kMi);
    for (const Slot& slot : slots) Account(region_, slot).refund(0, 2 * kMi, ChargeKind::Data);
  }
}
INSTANTIATE_TEST_SUITE_P(Account, RaceOfThreads, testing::Values(2, 8, 32));

TEST_F(AccountTest, OfOneSlotIsExactUnderManyThreadsAndSoIsItsMirror) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 5000; ++round) {
        account().charge(0, 2 * kMi, ChargeKind::Data, AccountView{1ull << 40, 0});
        account().refund(0, kMi, ChargeKind::Data);
        account().refund(0, kMi, ChargeKind::Data);
      }
      account().charge(0, kMi, ChargeKind::Data, AccountView{1ull << 40, 0});
    });
  threads.clear();
  EXPECT_EQ(account().own(0), 4 * kMi);
  EXPECT_EQ(mirror().total, 4 * kMi);
  EXPECT_EQ(mirror().data, 4 * kMi);
}

}  // namespace
}  // namespace kiboko::region
