// Every order in which the steps of a few actors can come: claims, charges, refunds, leaves, reaps and resizes. Built
// with KIBOKO_STEP_POINTS. What is looked at:
//   the limit      at no state do those whose charges were admitted hold more than it
//   nothing lost   at no state is less charged than they hold; in the end, exactly that
//   no false no    who was refused would really not have fitted at some moment in between: two never both lose
#include <sys/mman.h>

#include <cstring>
#include <iostream>
#include <memory>
#include <new>

#include "region/fixture.h"
#include "region/grant_page.h"
#include "region/single_step.h"
#include "region/turns.h"

namespace kiboko::region {
namespace {

constexpr unsigned kLines = 2;  // of 8 slots: what actors here may be in

// One charge, from the call to the end of its refund, in the number of states since the run began.
struct Charge {
  std::uint64_t bytes;
  bool kept = false;
  long asked, decided = LONG_MAX, given_up = LONG_MAX, refunded = LONG_MAX;
  bool surely_held(long at) const { return kept && decided <= at && at < given_up; }
  bool perhaps_held(long at) const { return kept && asked <= at && at <= refunded; }
};

class Interleaving : public testing::Test {
 protected:
  struct Actor {
    Slot slot;
    std::vector<Charge> charges = {};
  };

  void SetUp() override {
    PageError error;
    ASSERT_TRUE(region_.open_private(one_device(), &error)) << error.text;
  }

  // What an actor may do.
  void claims(Actor& actor) {
    PageError error;
    EXPECT_TRUE(claim_slot(region_, self_, kNonce, &actor.slot, &error)) << error.text;
  }
  void charges(Actor& actor, std::uint64_t bytes, ChargeKind kind = ChargeKind::Data) {
    actor.charges.push_back({.bytes = bytes, .asked = now_});
    const bool kept = Account(region_, actor.slot).charge(0, bytes, kind, AccountView{limit_, 0});
    actor.charges.back().kept = kept;
    actor.charges.back().decided = now_;
    KIBOKO_STEP("holds it");
  }
  void refunds(Actor& actor, ChargeKind kind = ChargeKind::Data) {
    Charge& charge = actor.charges.back();
    if (!charge.kept) return;
    charge.given_up = now_;
    Account(region_, actor.slot).refund(0, charge.bytes, kind);
    charge.refunded = now_;
  }
  void leaves(Actor& actor) {
    for (Charge& charge : actor.charges) charge.given_up = now_;
    release_slot(region_, actor.slot);
    for (Charge& charge : actor.charges) charge.refunded = now_;
  }
  // One that has a slot from the beginning.
  Actor& arrives() {
    claims(is_yet_to_come());
    return *actors_.back();
  }
  Actor& is_yet_to_come() {
    actors_.push_back(std::make_unique<Actor>(Actor{}));
    return *actors_.back();
  }
  // A process of which only its charge is left, as by one that had our pid before us. The next claim would find it.
  void leave_corpse(std::uint64_t bytes) {
    const Slot slot = claim(region_);
    Account(region_, slot).add(0, bytes, ChargeKind::Data);
    region_.ext().slots[slot.index].start_time -= 1;
  }

  // Tries all orders of what `cast` returns once it has set the stage.
  void in_every_order(const std::function<std::vector<Turns::Program>()>& cast, int most_taken = Turns::kAnyNumber) {
    const Watched memory({{&region_.hami(), offsetof(HamiRegion, slots) + kLines * 8 * sizeof(HamiSlot)},
                          {&region_.hami().slot_count, sizeof(std::int32_t)},
                          {&region_.ext().header, sizeof(ExtensionHeader)},
                          {&region_.ext().devices[0], 128},
                          {region_.ext().slots, 64 * sizeof(SlotIdentity)},
                          {region_.ext().charges, kLines * sizeof(ChargeGroup)},
                          {region_.ext().counters, kLines * 8 * sizeof(SlotCounterBlock)}});
    const std::string before = memory.image();
    const long orders = Turns::try_all({.begin =
                                            [&] {
                                              memory.put_back(before);
                                              actors_.clear();
                                              now_ = 0;
                                              return cast();
                                            },
                                        .at_every_state = [&] { look(); },
                                        .at_the_end = [&] { look_at_the_end(); }},
                                       most_taken);
    std::cout << "[ " << orders << " orders ]\n";
    EXPECT_GT(orders, 100);
  }

 private:
  std::uint64_t charged() const {
    std::uint64_t sum = 0;
    for (unsigned line = 0; line < kLines; ++line)
      for (const auto& word : region_.ext().charges[line].charged[0]) sum += word.load();
    return sum;
  }
  template <class Counts>
  std::uint64_t sum_of(Counts counts) const {
    std::uint64_t sum = 0;
    for (const auto& actor : actors_)
      for (const Charge& charge : actor->charges) sum += counts(charge) ? charge.bytes : 0;
    return sum;
  }
  void look() {
    const std::uint64_t held = sum_of([&](const Charge& charge) { return charge.surely_held(now_); });
    EXPECT_LE(held, limit_);
    EXPECT_LE(held, charged());
    ++now_;
  }
  void look_at_the_end() {
    reap_dead_slots(region_);
    EXPECT_EQ(charged(), sum_of([&](const Charge& charge) { return charge.surely_held(now_); }));
    EXPECT_EQ(region_.ext().devices[0].memory_lock, 0u);
    EXPECT_EQ(slots_in_use(region_), live_bits(region_));
    for (unsigned slot = 0; slot < kLines * 8; ++slot)
      EXPECT_EQ(region_.hami().slots[slot].used[0].total, region_.ext().charges[slot / 8].charged[0][slot % 8]);
    for (const auto& actor : actors_)
      for (const Charge& charge : actor->charges) EXPECT_TRUE(charge.kept || could_not_fit(charge)) << charge.bytes;
  }
  bool could_not_fit(const Charge& refused) const {
    for (long at = refused.asked; at <= refused.decided; ++at)
      if (sum_of([&](const Charge& charge) { return charge.perhaps_held(at); }) + refused.bytes > limit_) return true;
    return false;
  }

 protected:
  std::uint64_t limit_ = 100 * kMi;
  Mapping region_;
  const ProcessIdentity self_ = ProcessIdentity::self();  // read once: there are many runs

 private:
  std::vector<std::unique_ptr<Actor>> actors_;
  long now_ = 0;
};

using Cast = std::vector<Turns::Program>;

TEST_F(Interleaving, OfTwoNearTheLimitWithRoomForOne) {
  in_every_order([&]() -> Cast {
    Actor &a = arrives(), &b = arrives();
    return {[&] { charges(a, 60 * kMi), refunds(a); }, [&] { charges(b, 60 * kMi); }};
  });
}

TEST_F(Interleaving, OfTwoFarFromTheLimitWithRoomForOne) {
  limit_ = 1000 * kMi;
  in_every_order(
      [&]() -> Cast {
        Actor &a = arrives(), &b = arrives();
        return {[&] { charges(a, 600 * kMi), refunds(a); }, [&] { charges(b, 600 * kMi); }};
      },
      5);
}

TEST_F(Interleaving, OfTwoInDifferentLinesOfSlots) {
  in_every_order(
      [&]() -> Cast {
        Actor& a = arrives();
        for (int i = 0; i < 7; ++i) claim(region_);
        Actor& b = arrives();
        return {[&] { charges(a, 60 * kMi), refunds(a); }, [&] { charges(b, 60 * kMi, ChargeKind::Context); }};
      },
      4);
}

TEST_F(Interleaving, OfThreeWithRoomForTwo) {
  in_every_order(
      [&]() -> Cast {
        Actor &a = arrives(), &b = arrives(), &c = arrives();
        return {[&] { charges(a, 40 * kMi), refunds(a); }, [&] { charges(b, 40 * kMi), refunds(b); },
                [&] { charges(c, 40 * kMi); }};
      },
      3);
}

TEST_F(Interleaving, OfTwoWhoseRoomTheDeadHold) {
  in_every_order(
      [&]() -> Cast {
        Actor &a = arrives(), &b = arrives();
        leave_corpse(50 * kMi);
        return {[&] { charges(a, 60 * kMi), refunds(a); }, [&] { charges(b, 40 * kMi); }};
      },
      3);
}

TEST_F(Interleaving, OfTwoWhoComeAndGo) {
  in_every_order(
      [&]() -> Cast {
        Actor &a = is_yet_to_come(), &b = is_yet_to_come();
        return {[&] { claims(a), charges(a, 60 * kMi), leaves(a); },
                [&] { claims(b), charges(b, 30 * kMi), leaves(b); }};
      },
      3);
}

TEST_F(Interleaving, OfOneWhoComesOneWhoGoesAndOneWhoReaps) {
  in_every_order(
      [&]() -> Cast {
        Actor &a = is_yet_to_come(), &b = arrives();
        leave_corpse(50 * kMi);
        return {[&] { claims(a), charges(a, 60 * kMi); }, [&] { charges(b, 40 * kMi), leaves(b); },
                [&] { reap_dead_slots(region_); }};
      },
      3);
}

TEST_F(Interleaving, OfThreeReapersOfTwoDead) {
  in_every_order(
      [&]() -> Cast {
        const Slot late = claim(region_);
        leave_corpse(50 * kMi);
        Account(region_, late).add(0, 50 * kMi, ChargeKind::Data);
        region_.ext().slots[late.index].start_time -= 1;
        return {[&] { reap_dead_slots(region_); }, [&] { reap_dead_slots(region_); },
                [&] { reap_dead_slots(region_); }};
      },
      3);
}

TEST_F(Interleaving, OfTwoThreadsOfOneProcess) {
  in_every_order([&]() -> Cast {
    Actor &a = arrives(), &b = is_yet_to_come();
    b.slot = a.slot;
    return {[&] { charges(a, 60 * kMi), refunds(a); },
            [&] { charges(b, 30 * kMi, ChargeKind::Module), refunds(b, ChargeKind::Module); }};
  });
}

TEST(InterleavingOfAResize, IsReadAsTheOldLimitsOrTheNewInEveryOrder) {
  auto page = std::make_unique<GrantPage>();
  const auto settings = [](std::uint64_t number) {
    GrantSettings made = {};
    made.devices[0] = {number * kMi, static_cast<std::uint32_t>(10 * number), 0};
    return made;
  };
  const auto reader = [&] {
    std::uint64_t last = 0;
    for (int i = 0; i < 2; ++i) {
      GrantSettings read;
      ASSERT_TRUE(read_settings(*page, &read));
      EXPECT_EQ(read.devices[0].limit_bytes, read.devices[0].core_percent / 10 * kMi);
      EXPECT_GE(read.devices[0].limit_bytes, last) << "went back";
      last = read.devices[0].limit_bytes;
    }
  };
  const long orders = Turns::try_all({.begin = [&]() -> Cast {
                                        new (page.get()) GrantPage();
                                        seal_new_page(*page, settings(1));
                                        const auto resize = [&] {
                                          publish_settings(*page, settings(2));
                                          publish_settings(*page, settings(3));
                                        };
                                        return {resize, reader};
                                      },
                                      .at_every_state = [] {},
                                      .at_the_end =
                                          [&] {
                                            GrantSettings read;
                                            ASSERT_TRUE(read_settings(*page, &read));
                                            EXPECT_EQ(read.devices[0].limit_bytes, 3 * kMi);
                                          }},
                                     3);
  std::cout << "[ " << orders << " orders ]\n";
  EXPECT_GT(orders, 100);
}

}  // namespace
}  // namespace kiboko::region
