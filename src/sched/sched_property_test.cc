// What must hold whatever is asked, resized and ended, in any order.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "sched/queue.h"
#include "sched/testing.h"

namespace kiboko {
namespace {

using namespace testing_values;

rc::Gen<Ask> any_ask() {
  return rc::gen::map(rc::gen::tuple(rc::gen::inRange(0, 8), rc::gen::inRange<std::uint64_t>(1, 90),
                                     rc::gen::inRange(0U, 101U), rc::gen::inRange(1U, 4U)),
                      [](const auto& drawn) {
                        const auto [kind, gib, cores, count] = drawn;
                        Ask ask;
                        ask.count = count;
                        if (kind == 0) return asking_whole(count);
                        if (kind == 1) return ask;
                        if (kind == 2) ask.memory_percent = static_cast<std::uint32_t>(gib);
                        if (kind > 2) ask.memory = Bytes{gib << 30U};
                        if (cores > 0) ask.cores = CorePercent{cores};
                        return ask;
                      });
}

std::vector<DeviceState> host() { return {gpu(0), gpu(1, 40_GiB), gpu(2, 16_GiB)}; }

// The sums again, from the placements alone.
std::vector<DeviceState> after(const std::vector<Placement>& placements) {
  auto states = host();
  for (const Placement& placement : placements) take_all(states, placement);
  return states;
}

void assert_within_capacity(const std::vector<DeviceState>& states) {
  for (const DeviceState& state : states) {
    RC_ASSERT(state.memory_granted <= state.memory_grantable());
    RC_ASSERT(state.cores_granted <= kAllCores);
    RC_ASSERT(!state.exclusive || state.grants == 1);
  }
}

RC_GTEST_PROP(SchedProperty, NoDeviceEverExceedsItsCapacity, ()) {
  std::vector<Placement> live;
  const auto steps =
      *rc::gen::container<std::vector<std::pair<bool, Ask>>>(rc::gen::pair(rc::gen::arbitrary<bool>(), any_ask()));
  for (const auto& [ends, ask] : steps) {
    if (ends && !live.empty()) {
      live.erase(live.begin());
    } else if (auto placement = place(after(live), ask)) {
      live.push_back(*placement);
    }
    assert_within_capacity(after(live));
  }
}

RC_GTEST_PROP(SchedProperty, TheQueueStartsOnlyWhatFitsAndLosesNobody, ()) {
  const auto asks = *rc::gen::container<std::vector<Ask>>(any_ask());
  std::vector<WaitingAsk> waiting;
  for (std::size_t i = 0; i < asks.size(); ++i)
    waiting.push_back(
        {i, static_cast<uid_t>(*rc::gen::inRange(0, 3)), *rc::gen::inRange<std::int64_t>(0, 1'000'000), i, asks[i]});
  const QueueStep step = step_queue(host(), waiting, {});
  std::vector<Placement> started;
  for (const auto& item : step.started) started.push_back(item.placement);
  assert_within_capacity(after(started));
  RC_ASSERT(step.started.size() + step.delayed.size() == asks.size());
}

// With every grant ending some time, everything that can ever fit is served, and the first in the queue never sees
// its shortage grow because of those behind it.
RC_GTEST_PROP(SchedProperty, EverybodyWhoCanEverFitIsServed, ()) {
  const auto asks = *rc::gen::container<std::vector<Ask>>(any_ask());
  std::vector<WaitingAsk> waiting;
  for (std::size_t i = 0; i < asks.size(); ++i)
    if (could_ever_fit(host(), asks[i]))
      waiting.push_back({i, static_cast<uid_t>(i % 3), static_cast<std::int64_t>(i), i, asks[i]});
  std::vector<Placement> live;
  std::size_t served = 0;
  const std::size_t all = waiting.size();
  for (std::size_t round = 0; round <= 2 * all && served < all; ++round) {
    const QueueStep step = step_queue(after(live), waiting, {});
    for (const auto& item : step.started) {
      live.push_back(item.placement);
      std::erase_if(waiting, [&](const WaitingAsk& w) { return w.key == item.key; });
      ++served;
    }
    if (!live.empty()) live.erase(live.begin());
  }
  RC_ASSERT(served == all);
}

RC_GTEST_PROP(SchedProperty, ARefusedAskThatNamesANearestMemoryFitsWithIt, ()) {
  auto states = host();
  for (DeviceState& state : states) {
    const auto used = *rc::gen::inRange<std::uint64_t>(0, state.device.total.count >> 30U);
    if (used > 0) state = holding(state, Bytes{used << 30U});
  }
  const Ask ask = asking(Bytes{*rc::gen::inRange<std::uint64_t>(1, 90) << 30U});
  const auto placed = place(states, ask);
  if (placed) return;
  Bytes best;
  for (const DeviceState& state : states) best = std::max(best, state.memory_free());
  RC_PRE(best > Bytes{});
  RC_ASSERT(place(states, asking(best)).has_value());
  RC_ASSERT(placed.error().nearest.find(to_text(*ask.memory - best)) == 0U);
}

}  // namespace
}  // namespace kiboko
