#include "sched/ask_window.h"

#include <algorithm>

namespace kiboko {
namespace {

constexpr double kEnough = 0.05;
constexpr std::uint64_t kLooksPerMix = 50;  // comparing two mixes is worth it when a fiftieth of the asks are others

std::int64_t hour_of(WallTime time) { return std::chrono::floor<std::chrono::hours>(time).time_since_epoch().count(); }

}  // namespace

void AskWindow::forget(WallTime now) {
  const std::int64_t hour = hour_of(now);
  if (!hours_.empty() && hour < hours_.back().number) {
    const std::int64_t back = hours_.back().number - hour;
    for (Hour& one : hours_) one.number -= back;
  }
  while (!hours_.empty() && hours_.front().number <= hour - kHours) {
    for (const auto& [ask, count] : hours_.front().asks) {
      mix_.remove(ask, count);
      changes_ += count;
    }
    hours_.pop_front();
  }
}

void AskWindow::add(const PodAsk& ask, WallTime now) {
  forget(now);
  if (hours_.empty() || hours_.back().number != hour_of(now)) hours_.push_back({.number = hour_of(now), .asks = {}});
  auto& asks = hours_.back().asks;
  if (asks.size() == kMostAsks && !asks.contains(ask)) return;
  ++asks[ask];
  mix_.add(ask);
  ++changes_;
}

bool AskWindow::changed_enough() {
  if (!mix_.known()) return false;
  if (different_ || changes_ < look_after_) return different_;
  different_ = mix_.unlike(expected_) >= kEnough;
  changes_ = 0;
  look_after_ = std::max<std::uint64_t>(mix_.asks() / kLooksPerMix, 1);
  return different_;
}

void AskWindow::expected() {
  expected_ = mix_;
  different_ = false;
  changes_ = 0;
  look_after_ = std::max<std::uint64_t>(mix_.asks() / kLooksPerMix, 1);
}

}  // namespace kiboko
