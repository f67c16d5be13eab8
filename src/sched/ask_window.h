// The asks of the last 24 hours, as the mix that a Placer expects.
//
// Owned by the scheduler's loop, which tells it the time: it has no clock. It counts by the hour, so an ask is
// forgotten when it is between 23 and 24 hours old, and of one hour no more than kMostAsks different asks: those that
// come later are not counted. Where the time goes back, what was counted is as old as it was.
#pragma once

#include <cstdint>
#include <deque>
#include <map>

#include "base/clock.h"
#include "sched/ask_mix.h"

namespace kiboko {

class AskWindow {
 public:
  static constexpr std::size_t kMostAsks = 4096;
  static constexpr std::int64_t kHours = 24;

  void add(const PodAsk& ask, WallTime now);
  void forget(WallTime now);  // what is too old by now; `add` does it too

  const AskMix& mix() const { return mix_; }
  // Is the mix known, and so unlike the one that was last expected (a twentieth of it) that it should be expected anew?
  bool changed_enough();
  // The mix as it is now has been handed to Placer::expect.
  void expected();

 private:
  struct Hour {
    std::int64_t number = 0;  // since the epoch
    std::map<PodAsk, std::uint64_t, AskLess> asks;
  };

  std::deque<Hour> hours_;  // in order, none older than the window
  AskMix mix_;
  AskMix expected_;
  std::uint64_t changes_ = 0;     // asks that came and went since the last look
  std::uint64_t look_after_ = 0;  // so many of them
  bool different_ = false;        // found at the last look
};

}  // namespace kiboko
