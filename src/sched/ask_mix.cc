#include "sched/ask_mix.h"

#include <algorithm>
#include <tuple>

namespace kiboko {
namespace {

void make_weights_sum_to_one(std::vector<AskClass>& classes) {
  double sum = 0;
  for (const AskClass& one : classes) sum += one.weight;
  for (AskClass& one : classes) one.weight /= sum;
}

}  // namespace

bool AskLess::operator()(const PodAsk& a, const PodAsk& b) const {
  const auto key = [](const PodAsk& ask) {
    return std::tuple(ask.count, ask.share, ask.memory.count, ask.exclusive, ask.models, ask.cpu_milli,
                      ask.host_memory.count);
  };
  return key(a) < key(b);
}

void AskMix::add(const PodAsk& ask, std::uint64_t times) {
  counts_[ask] += times;
  asks_ += times;
}

void AskMix::remove(const PodAsk& ask, std::uint64_t times) {
  const auto found = counts_.find(ask);
  if (found == counts_.end()) return;
  times = std::min(times, found->second);
  asks_ -= times;
  found->second -= times;
  if (found->second == 0) counts_.erase(found);
}

double AskMix::unlike(const AskMix& other) const {
  const auto one = [](const PodAsk&) { return 1.0; };
  const auto compute = [](const PodAsk& ask) { return static_cast<double>(ask.compute()); };
  return std::max(unlike_by(other, one), unlike_by(other, compute));
}

template <class Amount>
double AskMix::unlike_by(const AskMix& other, Amount amount) const {
  const auto sum = [&](const AskMix& mix) {
    double all = 0;
    for (const auto& [ask, count] : mix.counts_) all += static_cast<double>(count) * amount(ask);
    return all;
  };
  const double mine = sum(*this);
  const double theirs = sum(other);
  if (mine == 0 || theirs == 0) return mine == theirs ? 0 : 1;
  double common = 0;
  for (const auto& [ask, count] : counts_) {
    const auto found = other.counts_.find(ask);
    if (found == other.counts_.end()) continue;
    common += amount(ask) * std::min(static_cast<double>(count) / mine, static_cast<double>(found->second) / theirs);
  }
  return 1 - common;
}

std::vector<AskClass> AskMix::device_classes(std::size_t most) const {
  std::vector<AskClass> classes;
  for (const auto& [ask, count] : counts_)
    if (ask.count > 0) classes.push_back({ask, static_cast<double>(count)});
  std::ranges::stable_sort(classes, std::ranges::greater{}, [](const AskClass& one) {
    return one.weight * static_cast<double>(std::max<std::int64_t>(one.ask.compute(), 1));
  });
  if (classes.size() > most) classes.resize(most);
  make_weights_sum_to_one(classes);
  return classes;
}

std::vector<AskClass> AskMix::typical_classes(double part) const {
  std::map<PodAsk, std::uint64_t, AskLess> counts;
  for (const auto& [ask, count] : counts_) {
    PodAsk merged = ask;
    merged.host_memory = {};
    counts[merged] += count;
  }
  std::vector<AskClass> classes;
  for (const auto& [ask, count] : counts) classes.push_back({ask, static_cast<double>(count)});
  std::ranges::stable_sort(classes, std::ranges::greater{}, &AskClass::weight);
  double covered = 0;
  std::size_t kept = 0;
  while (kept < classes.size() && covered < part * static_cast<double>(asks_)) covered += classes[kept++].weight;
  classes.resize(kept);
  make_weights_sum_to_one(classes);
  return classes;
}

}  // namespace kiboko
