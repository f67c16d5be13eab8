// What must hold for any input, checked on many random ones.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "region/bucket.h"
#include "region/fixture.h"
#include "region/units.h"

namespace kiboko::region {
namespace {

// ---- amounts ------------------------------------------------------------------------------------------------------

struct NamedUnit {
  const char* word;
  std::uint64_t factor;
};

RC_GTEST_PROP(UnitsProperty, WhatIsWrittenIsRead, ()) {
  const auto unit =
      *rc::gen::element(NamedUnit{"", 1}, NamedUnit{"B", 1}, NamedUnit{"KiB", 1024}, NamedUnit{"MiB", 1ull << 20},
                        NamedUnit{"Gi", 1ull << 30}, NamedUnit{"k", 1000}, NamedUnit{"GB", 1'000'000'000});
  const std::uint64_t count = *rc::gen::inRange<std::uint64_t>(0, UINT64_MAX / unit.factor);
  const ParsedBytes parsed = parse_bytes((std::to_string(count) + unit.word).c_str());
  RC_ASSERT(parsed.error == UnitError::None);
  RC_ASSERT(parsed.bytes == count * unit.factor);
}

RC_GTEST_PROP(UnitsProperty, AFractionIsItsPartOfTheUnit, ()) {
  const std::uint64_t whole = *rc::gen::inRange<std::uint64_t>(0, 1000);
  const std::uint64_t thousandths = *rc::gen::inRange<std::uint64_t>(0, 1000);
  const std::string digits = std::to_string(1000 + thousandths).substr(1);
  const ParsedBytes parsed = parse_bytes((std::to_string(whole) + "." + digits + "GiB").c_str());
  RC_ASSERT(parsed.error == UnitError::None);
  RC_ASSERT(parsed.bytes == (whole << 30) + (thousandths << 30) / 1000);
}

RC_GTEST_PROP(UnitsProperty, AnErrorComesWithoutAnAmount, (const std::string& text)) {
  const ParsedBytes bytes = parse_bytes(text.c_str()), hami = parse_hami_bytes(text.c_str());
  const ParsedPercent percent = parse_percent(text.c_str());
  RC_ASSERT((bytes.error == UnitError::None || bytes.bytes == 0));
  RC_ASSERT((hami.error == UnitError::None || hami.bytes == 0));
  RC_ASSERT(percent.percent <= (percent.error == UnitError::None ? 100u : 0u));
}

// ---- the account: a model of processes that claim, charge, refund, fork, leave and crash ---------------------------

struct Actor {
  Slot slot;
  std::uint64_t held = 0;
};

class World {
 public:
  static constexpr std::uint64_t kLimit = 200 * kMi;

  World() {
    PageError error;
    RC_ASSERT(region_.open_private(one_device(), &error));
  }
  void spawn() {
    if (actors_.size() < 40) actors_.push_back({claim(region_), 0});
  }
  void charge(Actor& actor, std::uint64_t bytes, ChargeKind kind) {
    const bool fits = held() + bytes <= kLimit;
    // The dead hold room until somebody is refused, and then no more: what the model knows is what counts.
    const bool admitted = Account(region_, actor.slot).charge(0, bytes, kind, AccountView{kLimit, 0});
    RC_ASSERT(admitted == fits);
    if (admitted) actor.held += bytes;
  }
  void refund(Actor& actor, std::uint64_t bytes, ChargeKind kind) {
    Account(region_, actor.slot).refund(0, bytes, kind);
    actor.held -= bytes < actor.held ? bytes : actor.held;
  }
  // Its slot is left as by a process that had this pid before: dead, without anything undone.
  void crash(std::size_t at) {
    region_.ext().slots[actors_[at].slot.index].start_time -= 1;
    actors_.erase(actors_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void leave(std::size_t at) {
    release_slot(region_, actors_[at].slot);
    actors_.erase(actors_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void step() {
    const int what = *rc::gen::inRange(0, 10);
    if (what == 0 || actors_.empty()) return spawn();
    const std::size_t at = *rc::gen::inRange<std::size_t>(0, actors_.size());
    const std::uint64_t bytes = *rc::gen::inRange<std::uint64_t>(0, 60 * kMi);
    const auto kind = *rc::gen::element(ChargeKind::Data, ChargeKind::Context, ChargeKind::Module);
    if (what < 6) return charge(actors_[at], bytes, kind);
    if (what < 8) return refund(actors_[at], bytes, kind);
    what == 8 ? crash(at) : leave(at);
  }
  void expect_charged_is_held() {
    reap_dead_slots(region_);
    RC_ASSERT(sum_of_all_charges(region_, 0) == held());
    RC_ASSERT(slots_in_use(region_) == actors_.size());
    RC_ASSERT(live_bits(region_) == actors_.size());
    for (const Actor& actor : actors_) {
      RC_ASSERT(Account(region_, actor.slot).own(0) == actor.held);
      RC_ASSERT(region_.hami().slots[actor.slot.index].used[0].total.load() == actor.held);
    }
  }

 private:
  std::uint64_t held() const {
    std::uint64_t sum = 0;
    for (const Actor& actor : actors_) sum += actor.held;
    return sum;
  }
  Mapping region_;
  std::vector<Actor> actors_;
};

RC_GTEST_PROP(AccountProperty, AnySequenceEndsWithChargedEqualToHeld, ()) {
  World world;
  const int steps = *rc::gen::inRange(1, 120);
  for (int i = 0; i < steps; ++i) world.step();
  world.expect_charged_is_held();
}

RC_GTEST_PROP(AccountProperty, RoundingIsTheLeastStepThatHolds, ()) {
  const std::uint64_t bytes = *rc::gen::inRange<std::uint64_t>(0, 1ull << 40);
  const std::uint64_t step = bytes < kMi ? 512 : 2 * kMi;
  RC_ASSERT(rounded(bytes) % step == 0u);
  RC_ASSERT(rounded(bytes) >= bytes);
  RC_ASSERT(rounded(bytes) - bytes < step);
}

// ---- the timeline -------------------------------------------------------------------------------------------------

RC_GTEST_PROP(CoverProperty, IsTheUnionOfTheIntervals, ()) {
  auto words = std::make_unique<DeviceWords>();
  constexpr std::uint64_t kWindowBits = kCoverBits * kCoverWords;
  const std::uint64_t base = *rc::gen::inRange<std::uint64_t>(0, 1'000'000) * kCoverWordNs;
  std::vector<bool> model(kWindowBits + 1);
  std::uint64_t covered = 0;
  const int intervals = *rc::gen::inRange(0, 60);
  for (int i = 0; i < intervals; ++i) {
    const std::uint64_t window = (kWindowBits - 1) * kCoverBitNs;
    const std::uint64_t start = *rc::gen::inRange<std::uint64_t>(0, window);
    const std::uint64_t length = *rc::gen::inRange<std::uint64_t>(0, 2'000'000);
    const std::uint64_t end = start + length < window ? start + length : window;
    std::uint64_t fresh = 0;
    for (std::uint64_t bit = (start + kCoverBitNs / 2) / kCoverBitNs; bit < (end + kCoverBitNs / 2) / kCoverBitNs;
         ++bit)
      if (!model[bit]) model[bit] = true, ++fresh;
    RC_ASSERT(cover(*words, base + start, base + end) == fresh * kCoverBitNs);
    covered += fresh * kCoverBitNs;
  }
  RC_ASSERT(words->covered_ns.load() == covered);
  std::uint64_t shown = 0;
  for (unsigned i = 0; i < kCoverWords; ++i)
    shown += static_cast<std::uint64_t>(__builtin_popcountll(covered_bits(*words, base + i * kCoverWordNs)));
  RC_ASSERT(shown * kCoverBitNs == covered);
}

// ---- the bucket ---------------------------------------------------------------------------------------------------

RC_GTEST_PROP(BucketProperty, NeverGivesMoreThanItsRateAndDepth, ()) {
  auto words = std::make_unique<DeviceWords>();
  const Rate rate{*rc::gen::inRange<std::uint32_t>(100, 10'001)};
  constexpr std::int64_t kDepth = 5'000'000, kBegin = 1'000'000'000'000;
  std::int64_t now = kBegin, used = 0, longest = 0;
  const int units = *rc::gen::inRange(1, 200);
  for (int i = 0; i < units; ++i) {
    now += *rc::gen::inRange<std::int64_t>(0, 3'000'000);
    const std::int64_t ready = ready_at(*words, rate, now, kDepth);
    if (ready > now) now = ready;
    const std::int64_t estimate = *rc::gen::inRange<std::int64_t>(1, 4'000'000);
    const std::int64_t real = *rc::gen::inRange<std::int64_t>(1, 4'000'000);
    charge_time(*words, rate, now, estimate, kDepth);
    correct_time(*words, rate, now, real - estimate, kDepth);
    used += real;
    longest = longest > real ? longest : real;
  }
  // One unit may begin with the last of the credit; rounding loses less than a nanosecond of credit an operation.
  RC_ASSERT(used <= (now - kBegin) / 10'000 * rate.permyriad + kDepth + longest + 2 * units);
}

}  // namespace
}  // namespace kiboko::region
