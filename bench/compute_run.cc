#include "compute_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>

namespace kiboko::bench {
namespace {

constexpr std::uint64_t kMillisecond = 1'000'000, kSecond = 1'000'000'000;
static_assert(sim::kBucketNs == kMillisecond);
constexpr double kLongestRun = 30;  // seconds; the log holds 32, and reading it takes time
constexpr double kNear = 5;         // points: a changed limit is kept
constexpr std::uint64_t kUnitsPerWindow = 20, kWindow = 100 * kMillisecond, kStays = 500 * kMillisecond;

std::uint64_t ns(double seconds) { return static_cast<std::uint64_t>(seconds * 1e9); }

// Starts each grant's programs when it is their time, and keeps the pages' heartbeats until `until`.
class Stage {
 public:
  Stage(const std::vector<Plan>& plans, int procs) : procs_(procs) {
    std::vector<host::PacedGrant> paced;
    for (std::size_t i = 0; i < plans.size(); ++i) {
      grants.push_back(std::make_unique<Grant>(place.root(), static_cast<int>(i), plans[i], place.device()));
      paced.push_back(grants.back()->paced(place.device()));
    }
    pacer_.grants_changed(paced);
  }
  ~Stage() {
    std::vector<const Grant*> all;
    for (const auto& grant : grants) all.push_back(grant.get());
    stop(all);
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  void run_until(std::uint64_t until) {
    while (sim::now_ns() < until) {
      for (const auto& grant : grants) {
        grant->beat();
        if (grant->pids.empty() && sim::now_ns() >= begin + ns(grant->plan().delay_s))
          for (int i = 0; i < procs_; ++i) grant->pids.push_back(start_load(*grant));
      }
      const std::uint64_t now = sim::now_ns();
      if (now < until) std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(until - now, 50 * kMillisecond)));
    }
  }

  const Place place;
  std::vector<std::unique_ptr<Grant>> grants;
  const std::uint64_t begin = sim::now_ns();

 private:
  int procs_;
  host::Pacer pacer_;
};

}  // namespace

Usage::Usage(sim::Shared& shared, const Grant& grant, std::uint64_t from, std::uint64_t to)
    : first_(from / kMillisecond), busy_until_{0} {
  const std::vector<int> of_grant = channels(shared, grant);
  for (std::uint64_t at = first_; at < to / kMillisecond; ++at) {
    std::uint64_t busy = 0;
    for (const int channel : of_grant)
      busy += sim::process_busy_ns(shared, channel, at * kMillisecond, (at + 1) * kMillisecond);
    busy_until_.push_back(busy_until_.back() + busy);
  }
}

double Usage::share(std::uint64_t from, std::uint64_t to) const {
  const auto index = [&](std::uint64_t at) {
    return std::clamp<std::uint64_t>(at, first_, first_ + busy_until_.size() - 1) - first_;
  };
  const std::uint64_t begin = index((from + kMillisecond - 1) / kMillisecond), end = index(to / kMillisecond);
  if (begin >= end) return 0;
  return 100 * static_cast<double>(busy_until_[end] - busy_until_[begin]) /
         static_cast<double>((end - begin) * kMillisecond);
}

std::vector<Record> run(const std::vector<Plan>& plans, const Schedule& schedule) {
  double delay_s = 0;
  for (const Plan& plan : plans) delay_s = std::max(delay_s, plan.delay_s);
  const double total_s = delay_s + schedule.settle_s + schedule.seconds + schedule.watch_s;
  if (total_s > kLongestRun)
    throw std::runtime_error(fmt::format(
        "one run would take {:.1f} s, more than the {} s for which the device's log lasts: ask for fewer --seconds",
        total_s, kLongestRun));
  Stage stage(plans, schedule.procs);
  stage.run_until(stage.begin + ns(delay_s + schedule.settle_s));
  const std::uint64_t from = sim::now_ns();
  for (const auto& grant : stage.grants) grant->launches().forget();
  stage.run_until(from + ns(schedule.seconds));
  const std::uint64_t to = sim::now_ns();
  std::vector<double> longest;
  for (const auto& grant : stage.grants) longest.push_back(grant->launches().longest_ms());
  if (schedule.change_to != 0) {
    stage.grants[0]->resize(schedule.change_to);
    stage.run_until(to + ns(schedule.watch_s));
  }
  const std::uint64_t end = sim::now_ns();
  std::vector<Record> records;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    Record record{
        plans[i],  Usage(stage.place.shared(), *stage.grants[i], stage.begin, end), stage.begin, from, to, 0, end,
        longest[i]};
    if (i == 0 && schedule.change_to != 0) record.changed = to;
    records.push_back(std::move(record));
  }
  return records;
}

Verdict judge(const Record& record, double target, std::uint64_t from, std::uint64_t to) {
  Verdict verdict{record.usage.share(from, to), 0, 0};
  double squares = 0;
  int windows = 0;
  for (std::uint64_t at = from; at + kWindow <= to; at += kWindow, ++windows)
    squares += std::pow(record.usage.share(at, at + kWindow) - verdict.mean, 2);
  verdict.sd_100ms = windows > 1 ? std::sqrt(squares / (windows - 1)) : 0;
  for (std::uint64_t at = from; at + kSecond <= to; at += 50 * kMillisecond)
    verdict.worst_1s = std::max(verdict.worst_1s, std::abs(record.usage.share(at, at + kSecond) - target));
  return verdict;
}

std::uint64_t change_window_ns(const Plan& plan) { return std::max(kWindow, kUnitsPerWindow * unit_ns(plan)); }

double change_watch_s(const Plan& plan) {
  return std::max(1.5, 3.5 * static_cast<double>(change_window_ns(plan)) / static_cast<double>(kSecond));
}

double settled_ms(const Record& record, double target) {
  const std::uint64_t window = change_window_ns(record.plan), stays = std::max(kStays, window);
  std::uint64_t settled = record.changed;
  for (std::uint64_t at = settled; at + window <= record.end; at += kMillisecond) {
    if (std::abs(record.usage.share(at, at + window) - target) > kNear)
      settled = at + kMillisecond;
    else if (at >= settled + stays)
      return static_cast<double>(settled - record.changed) / 1e6;
  }
  return std::numeric_limits<double>::infinity();
}

double gave_way_ms(const Record& early, const Record& late, double mean) {
  std::uint64_t arrival = early.begin + ns(late.plan.delay_s);
  while (arrival < late.end && late.usage.share(arrival, arrival + 2 * kMillisecond) == 0) arrival += kMillisecond;
  std::uint64_t at = arrival;
  while (at < early.end && early.usage.share(at, at + kWindow) > mean + 10) at += kMillisecond;
  return static_cast<double>(at - arrival) / 1e6;
}

double jain_index(const std::vector<Record>& records) {
  double sum = 0, squares = 0;
  for (const Record& record : records) {
    const double part = record.usage.share(record.from, record.to) / record.plan.percent;
    sum += part;
    squares += part * part;
  }
  return squares == 0 ? 0 : sum * sum / (static_cast<double>(records.size()) * squares);
}

}  // namespace kiboko::bench
