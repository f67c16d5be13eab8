// A process may be killed at any instruction: here it is, at each of those that the product library has for a claim, a
// charge, a refund, a reap, a resize and the bucket. kill_test.cc does the same to what takes long, at marked steps.
#include "region/single_step.h"

#include <sys/mman.h>

#include <functional>

#include "region/bucket.h"
#include "region/grant_page.h"
#include "region/killed.h"

namespace kiboko::region {
namespace {

#ifdef __x86_64__
constexpr bool kCanStep = true;
#else
constexpr bool kCanStep = false;  // where a store fails if an exception came since its load, loops never end
#endif
constexpr const char* kCannotStep = "single steps are possible on x86_64 alone, and where ptrace is allowed";

// With what is held already, this passes the mark from which charges go one at a time.
constexpr std::uint64_t kNear = 25 * kMi;

using Begin = std::function<void()>;

class KilledAtAnyInstruction : public Killed {
 protected:
  void SetUp() override {
    if (!kCanStep) GTEST_SKIP() << kCannotStep;
    Killed::SetUp();
    ASSERT_TRUE(region_.reserve_device(0));
  }
  // What processes in the first slots write: nobody here has another. The rest must not change.
  Watched watched() const {
    constexpr std::size_t kSlots = 8;
    HamiRegion& hami = region_.hami();
    Extension& ext = region_.ext();
    return Watched({{&hami, offsetof(HamiRegion, slots) + kSlots * sizeof(HamiSlot)},
                    {&hami.slot_count, sizeof hami - offsetof(HamiRegion, slot_count)},
                    {&ext.header, sizeof ext.header},
                    {&ext.devices[0], sizeof ext.devices[0]},
                    {ext.slots, kSlots * sizeof ext.slots[0]},
                    {ext.charges, sizeof ext.charges[0]},
                    {ext.counters, kSlots * sizeof ext.counters[0]}});
  }
  void kill_everywhere(const std::function<void(const Begin&)>& body, const std::function<void()>& check) {
    const std::string before = file_bytes(path());
    const long instructions = kill_at_every_instruction(watched(), body, check);
    if (instructions == 0) GTEST_SKIP() << kCannotStep;
    EXPECT_TRUE(HasFailure() || file_bytes(path()) == before) << "something was written that is not watched";
  }
  // Of one who holds a slot and a charge of 3 MiB in each column.
  void kill_in(const std::function<void(Account&)>& act) {
    kill_everywhere(
        [&](const Begin& begin) {
          Account account(region_, claim(region_));
          account.add(0, 3 * kMi, ChargeKind::Data);
          account.add(0, 3 * kMi, ChargeKind::Context);
          begin();
          act(account);
        },
        [&] { expect_sound(); });
  }
  std::uint64_t hold_of(const Slot& slot) const {
    return static_cast<std::uint64_t>(slot.index) << 48 | static_cast<std::uint64_t>(slot.generation & 0xffff) << 32 |
           0x7000'0000;
  }
};

TEST_F(KilledAtAnyInstruction, OfAClaimAndALeaveItLeavesNothing) {
  kill_everywhere(
      [&](const Begin& begin) {
        begin();
        release_slot(region_, claim(region_));
      },
      [&] { expect_sound(); });
}

TEST_F(KilledAtAnyInstruction, OfAChargeWithoutALimitItLeavesNothing) {
  kill_in([](Account& account) { account.charge(0, 2 * kMi, ChargeKind::Data, AccountView{}); });
}

TEST_F(KilledAtAnyInstruction, OfAChargeFarFromTheLimitItLeavesNothing) {
  kill_in([](Account& account) { account.charge(0, 2 * kMi, ChargeKind::Data, AccountView{1ull << 40, 0}); });
}

TEST_F(KilledAtAnyInstruction, OfAChargeNearTheLimitItLeavesNothing) {
  kill_in([](Account& account) { account.charge(0, kNear, ChargeKind::Data, kLimit); });
}

TEST_F(KilledAtAnyInstruction, OfAChargeThatIsRefusedItLeavesNothing) {
  kill_in([](Account& account) { account.charge(0, 95 * kMi, ChargeKind::Data, kLimit); });
}

TEST_F(KilledAtAnyInstruction, OfAContextsChargeItLeavesNothing) {
  kill_in([](Account& account) { account.charge(0, kNear, ChargeKind::Context, kLimit); });
}

TEST_F(KilledAtAnyInstruction, OfARefundItLeavesNothing) {
  kill_in([](Account& account) { account.refund(0, 2 * kMi, ChargeKind::Data); });
}

TEST_F(KilledAtAnyInstruction, OfAContextsRefundItLeavesNothing) {
  kill_in([](Account& account) { account.refund(0, 2 * kMi, ChargeKind::Context); });
}

TEST_F(KilledAtAnyInstruction, OfAChargeOfOneAloneItLeavesNothing) {
  release_slot(region_, own_);
  kill_everywhere(
      [&](const Begin& begin) {
        Account account(region_, claim(region_));
        begin();
        account.charge(0, 2 * kMi, ChargeKind::Data, AccountView{1ull << 40, 0});
        account.refund(0, 2 * kMi, ChargeKind::Data);
      },
      [&] {
        own_ = claim(region_);
        Account(region_, own_).add(0, 10 * kMi, ChargeKind::Data);
        expect_sound();
      });
}

TEST_F(KilledAtAnyInstruction, OfTakingALockOverFromTheDeadItLeavesNothing) {
  const pid_t corpse = start_child([&] {
    region_.ext().devices[0].memory_lock.store(hold_of(claim(region_)));
    return 0;
  });
  ASSERT_EQ(exit_code_of(corpse), 0);
  kill_in([](Account& account) { account.charge(0, kNear, ChargeKind::Data, kLimit); });
}

TEST_F(KilledAtAnyInstruction, OfTakingALockOverFromTheSlowItLeavesNothing) {
  region_.ext().devices[0].memory_lock.store(hold_of(own_));
  kill_in([](Account& account) { account.charge(0, kNear, ChargeKind::Data, kLimit); });
}

TEST_F(KilledAtAnyInstruction, OfAReapItLeavesTheRestToTheNextOne) {
  leave_corpse(false);
  const pid_t zombie = leave_corpse(true);
  kill_everywhere(
      [&](const Begin& begin) {
        begin();
        reap_dead_slots(region_);
      },
      [&] { expect_sound(); });
  wait_for(zombie);
}

TEST_F(KilledAtAnyInstruction, OfAClaimOverACorpseItLeavesNothing) {
  leave_corpse(false);
  kill_everywhere(
      [&](const Begin& begin) {
        begin();
        claim(region_);
      },
      [&] { expect_sound(); });
}

// ---- the bucket: what a dead process charged expires, and the others go on ----------------------------------------

constexpr Rate kHalf{5000};
constexpr std::int64_t kNow = 1'000'000'000'000, kDepth = 5'000'000, kCost = 2'000'000;

TEST_F(KilledAtAnyInstruction, OfAChargeOfTimeItLeavesTheBucketBeforeOrAfterIt) {
  DeviceWords& words = region_.ext().devices[0];
  kill_everywhere(
      [&](const Begin& begin) {
        begin();
        try_charge_time(words, kHalf, kNow, kCost, kDepth);
        correct_time(words, kHalf, kNow, kCost, kDepth);
      },
      [&] {
        const std::int64_t moved = words.tat_ns - (words.tat_ns != 0 ? kNow : 0);
        EXPECT_TRUE(moved == 0 || moved == 2 * kCost || moved == 4 * kCost) << moved;
        EXPECT_LE(words.charged_ns, static_cast<std::uint64_t>(moved) / 2);
        EXPECT_TRUE(try_charge_time(words, kHalf, kNow + moved, kCost, kDepth));
        EXPECT_EQ(words.tat_ns, kNow + moved + 2 * kCost);
      });
}

TEST_F(KilledAtAnyInstruction, OfCoveringTimeItLeavesAUnionThatCountsNothingTwice) {
  DeviceWords& words = region_.ext().devices[0];
  constexpr std::uint64_t kStart = 1000 * kCoverWordNs, kEnd = kStart + 3 * kCoverWordNs;
  kill_everywhere(
      [&](const Begin& begin) {
        begin();
        cover(words, kStart, kEnd);
      },
      [&] {
        std::uint64_t marked = 0;
        for (std::uint64_t at = kStart; at < kEnd; at += kCoverWordNs)
          marked += static_cast<std::uint64_t>(__builtin_popcountll(covered_bits(words, at))) * kCoverBitNs;
        EXPECT_LE(words.covered_ns, marked);
        EXPECT_EQ(cover(words, kStart, kEnd), kEnd - kStart - marked);
        EXPECT_LE(words.covered_ns, kEnd - kStart);
      });
}

// ---- the agent ----------------------------------------------------------------------------------------------------

TEST(AgentKilledAtAnyInstruction, OfAResizeLeavesTheOldLimitsOrTheNew) {
  if (!kCanStep) GTEST_SKIP() << kCannotStep;
  GrantSettings settings = {};
  settings.devices[0] = {kMi, 10, 0};
  GrantPage& page = shared_page(settings);
  settings.devices[0] = {2 * kMi, 20, 0};
  const long count = kill_at_every_instruction(
      Watched({{&page, sizeof page}}),
      [&](const Begin& begin) {
        begin();
        publish_settings(page, settings);
      },
      [&] {
        GrantSettings read;
        PageError error;
        ASSERT_TRUE(check_grant_page(&page, sizeof page, &error)) << error.text;
        ASSERT_TRUE(read_settings(page, &read));
        EXPECT_EQ(read.devices[0].limit_bytes, read.devices[0].core_percent / 10 * kMi);
        GrantSettings third = settings;
        third.devices[0] = {3 * kMi, 30, 0};
        publish_settings(page, third);  // another agent takes over
        ASSERT_TRUE(read_settings(page, &read));
        EXPECT_EQ(read.devices[0].limit_bytes, 3 * kMi);
      });
  ::munmap(&page, kGrantPageBytes);
  if (count == 0) GTEST_SKIP() << kCannotStep;
}

}  // namespace
}  // namespace kiboko::region
