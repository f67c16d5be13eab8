// For tests: actors that take turns, and every order of their turns.
//
// An actor is a program on a stack of its own. It runs until the next step point (step.h), and then the order says who
// goes on. All orders are tried, one run for each, or all those in which no more than so many turns are taken from an
// actor that could have gone on. One that waits (for a lock, for room) hands on to the next one and is not asked again
// before another has moved; the clock moves only when somebody looks at it. One thread does it all.
#pragma once

#include <gtest/gtest.h>
#include <ucontext.h>

#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "region/step.h"

namespace kiboko::region {

class Turns {
 public:
  using Program = std::function<void()>;
  struct Test {
    std::function<std::vector<Program>()> begin;  // a new run
    std::function<void()> at_every_state;
    std::function<void()> at_the_end;
  };
  static constexpr int kAnyNumber = 1'000'000;

  // Returns the number of orders. Stops at the first failure.
  static long try_all(const Test& test, int most_taken = kAnyNumber) {
    Turns turns(test, most_taken);
    do {
      turns.run();
      ++turns.runs_;
      if (testing::Test::HasFailure()) {
        ADD_FAILURE() << "in run " << turns.runs_ << ", in which the turns were" << turns.told();
        break;
      }
    } while (turns.to_next_order());
    return turns.runs_;
  }

  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

 private:
  struct Actor {
    Program program;
    ucontext_t context{};
    bool waiting = false, done = false;
  };
  struct Turn {
    std::size_t who;
    const char* until;
  };
  struct Choice {
    std::size_t taken, options;
  };

  Turns(const Test& test, int most_taken) : test_(test), most_taken_(most_taken) {
    self_ = this;
    step_point = [](const char* name) { self_->hand_over(name, false); };
    step_wait = [] { self_->hand_over("waits", true); };
    step_clock = [] { return self_->clock_ += 5'000; };
  }
  ~Turns() {
    step_point = nullptr;
    step_wait = nullptr;
    step_clock = nullptr;
    self_ = nullptr;
  }

  void hand_over(const char* where, bool waiting) {
    if (current_ == kNobody) return;
    actors_[current_].waiting = waiting;
    turns_.push_back({current_, where});
    ::swapcontext(&actors_[current_].context, &home_);
  }
  static void enter() {
    Actor& actor = self_->actors_[self_->current_];
    actor.program();
    actor.done = true;
    ::swapcontext(&actor.context, &self_->home_);
  }

  void run() {
    turns_.clear();
    clock_ = 1'000'000'000;
    std::vector<Program> programs = test_.begin();
    actors_.resize(programs.size());
    stacks_.resize(programs.size());
    for (std::size_t i = 0; i < programs.size(); ++i) {
      actors_[i] = {std::move(programs[i])};
      stacks_[i].resize(kStackBytes);
      ucontext_t& context = actors_[i].context;
      ::getcontext(&context);
      context.uc_stack.ss_sp = stacks_[i].data();
      context.uc_stack.ss_size = kStackBytes;
      ::makecontext(&context, enter, 0);
    }
    std::size_t last = 0, depth = 0;
    int taken = 0;
    for (;;) {
      const std::vector<std::size_t> next = who_may_be_next(last, taken);
      if (next.empty()) break;
      std::size_t choice = 0;
      if (next.size() > 1) {
        if (depth == path_.size()) path_.push_back({0, next.size()});
        if (path_[depth].options != next.size()) ADD_FAILURE() << "the same turns led elsewhere";
        choice = path_[depth++].taken;
        taken += choice != 0 && next[0] == last;
      }
      resume(last = next[choice]);
      test_.at_every_state();
      if (testing::Test::HasFailure()) return;
    }
    test_.at_the_end();
  }

  // Whoever was last comes first, if it can go on.
  std::vector<std::size_t> who_may_be_next(std::size_t last, int taken) const {
    std::vector<std::size_t> next;
    for (std::size_t i = 0; i < actors_.size(); ++i) {
      const std::size_t who = (last + i) % actors_.size();
      if (!actors_[who].done && !actors_[who].waiting) next.push_back(who);
    }
    const bool can_go_on = !next.empty() && next[0] == last;
    if (next.empty()) {  // all wait: time goes by
      for (std::size_t i = 1; i <= actors_.size() && next.empty(); ++i)
        if (!actors_[(last + i) % actors_.size()].done) next.push_back((last + i) % actors_.size());
    } else if ((can_go_on && taken >= most_taken_) || actors_[last].waiting) {
      next.resize(1);
    }
    return next;
  }

  void resume(std::size_t who) {
    for (std::size_t i = 0; i < actors_.size(); ++i) actors_[i].waiting &= i == who;
    current_ = who;
    ::swapcontext(&home_, &actors_[who].context);
    current_ = kNobody;
  }

  bool to_next_order() {
    while (!path_.empty() && path_.back().taken + 1 == path_.back().options) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().taken;
    return true;
  }

  std::string told() const {
    std::ostringstream out;
    for (const Turn& turn : turns_) out << " " << turn.who << ":" << turn.until << ";";
    return out.str();
  }

  static constexpr std::size_t kNobody = SIZE_MAX, kStackBytes = 128 << 10;
  static inline Turns* self_ = nullptr;
  const Test& test_;
  const int most_taken_;
  std::vector<Actor> actors_;
  std::vector<std::vector<char>> stacks_;
  std::vector<Choice> path_;
  ucontext_t home_{};
  std::size_t current_ = kNobody;
  std::uint64_t clock_ = 0;
  long runs_ = 0;
  std::vector<Turn> turns_;  // of this run
};

}  // namespace kiboko::region
