#include "compute_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "compute_run.h"

namespace kiboko::bench {
namespace {

struct Row {
  Plan plan;
  int procs;
  double reach, target;
  Verdict verdict;
  double longest_launch_ms;
  int changed_to;
  double settled_ms;

  double error() const { return verdict.mean - target; }
  double unit_ms() const { return static_cast<double>(unit_ns(plan)) / 1e6; }
};

// Points, but for the last one: milliseconds. A unit is one kernel or one graph launch; one unit more or less in a
// second is a tenth of its milliseconds in points. Where a unit is long, the windows of 100 ms say more of the unit
// than of the limit.
struct Budget {
  const char* name;
  bool (*kept)(const Row& row);
};
constexpr Budget kBudgets[] = {
    {"mean", [](const Row& row) { return std::abs(row.error()) <= 2; }},
    {"worst second", [](const Row& row) { return row.verdict.worst_1s <= std::max(5.0, row.unit_ms() / 10); }},
    {"sd", [](const Row& row) { return row.unit_ms() > 5 || row.verdict.sd_100ms <= 5; }},
    {"settling", [](const Row& row) { return row.settled_ms <= 50 + row.unit_ms(); }},
};
constexpr int kUp = 80, kDown = 10;

std::vector<std::string> over(const Row& row) {
  std::vector<std::string> names;
  for (const Budget& budget : kBudgets)
    if (!budget.kept(row)) names.emplace_back(budget.name);
  return names;
}

std::string title(const Row& row) {
  return fmt::format("{} {} us x{} {} %", row.plan.mode, row.plan.kernel_us, row.procs, row.plan.percent);
}

void print_heading() {
  fmt::print("{:<12} {:>9} {:>5} {:>5} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9} {:>11}  {}\n", "mode", "kernel us",
             "procs", "ask", "target", "mean", "error", "sd", "worst 1 s", "longest", "change", "settled", "verdict");
  fmt::print("{:<12} {:>9} {:>5} {:>5} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9} {:>11}\n", "", "", "", "%", "%", "%",
             "points", "100 ms", "points", "launch ms", "to %", "after ms");
}

void print_reach(const Row& row, bool json) {
  if (json) {
    const nlohmann::ordered_json object = {{"row", "reach"},
                                           {"mode", row.plan.mode},
                                           {"kernel_us", row.plan.kernel_us},
                                           {"processes", row.procs},
                                           {"mean", row.verdict.mean},
                                           {"sd_100ms", row.verdict.sd_100ms},
                                           {"longest_launch_ms", row.longest_launch_ms}};
    fmt::print("{}\n", object.dump());
  } else {
    fmt::print("{:<12} {:>9} {:>5} {:>5} {:>7} {:7.2f} {:>7} {:7.2f} {:>9} {:9.2f}\n", row.plan.mode,
               row.plan.kernel_us, row.procs, "none", "", row.verdict.mean, "", row.verdict.sd_100ms, "",
               row.longest_launch_ms);
  }
  std::fflush(stdout);
}

void print_row(const Row& row, bool json) {
  const std::vector<std::string> names = over(row);
  if (json) {
    const nlohmann::ordered_json object = {{"row", "share"},
                                           {"mode", row.plan.mode},
                                           {"kernel_us", row.plan.kernel_us},
                                           {"processes", row.procs},
                                           {"percent", row.plan.percent},
                                           {"reach", row.reach},
                                           {"target", row.target},
                                           {"mean", row.verdict.mean},
                                           {"error", row.error()},
                                           {"sd_100ms", row.verdict.sd_100ms},
                                           {"worst_1s", row.verdict.worst_1s},
                                           {"longest_launch_ms", row.longest_launch_ms},
                                           {"changed_to", row.changed_to},
                                           {"settled_ms", row.settled_ms},
                                           {"over", names}};
    fmt::print("{}\n", object.dump());
  } else {
    const std::string settled = std::isinf(row.settled_ms) ? "never" : fmt::format("{:.0f}", row.settled_ms);
    fmt::print("{:<12} {:>9} {:>5} {:>5} {:7.2f} {:7.2f} {:+7.2f} {:7.2f} {:9.2f} {:9.2f} {:>9} {:>11}  {}\n",
               row.plan.mode, row.plan.kernel_us, row.procs, row.plan.percent, row.target, row.verdict.mean,
               row.error(), row.verdict.sd_100ms, row.verdict.worst_1s, row.longest_launch_ms, row.changed_to, settled,
               names.empty() ? "kept" : fmt::format("OVER: {}", fmt::join(names, ", ")));
  }
  std::fflush(stdout);
}

void print_summary(const std::vector<Row>& rows, bool json) {
  nlohmann::ordered_json by_budget = nlohmann::ordered_json::object();
  for (const Budget& budget : kBudgets)
    by_budget[budget.name] = std::count_if(rows.begin(), rows.end(), [&](const Row& row) { return !budget.kept(row); });
  std::vector<std::string> titles;
  for (const Row& row : rows)
    if (const auto names = over(row); !names.empty())
      titles.push_back(fmt::format("{}: {}", title(row), fmt::join(names, ", ")));
  if (json) {
    const nlohmann::ordered_json object = {
        {"row", "summary"}, {"rows", rows.size()}, {"rows_over", titles.size()}, {"over", by_budget}};
    fmt::print("{}\n", object.dump());
    return;
  }
  fmt::print("\n{} of {} rows over a budget", titles.size(), rows.size());
  for (const auto& [name, count] : by_budget.items()) fmt::print("; {} {}", name, count.get<int>());
  fmt::print("\n");
  for (const std::string& line : titles) fmt::print("  {}\n", line);
}

Row measure_reach(const Plan& program, int procs, const SweepOptions& options) {
  Plan free = program;
  free.percent = 100;
  free.policy = "disable";
  const Schedule schedule{.procs = procs, .settle_s = options.settle_s, .seconds = std::max(2.0, options.seconds / 2)};
  const Record record = run({free}, schedule).front();
  const Verdict verdict = judge(record, 100);
  return {free, procs, verdict.mean, verdict.mean, verdict, record.longest_launch_ms, 0, 0};
}

Row measure_row(const Plan& program, int percent, const Row& reach, const SweepOptions& options) {
  Plan plan = program;
  plan.percent = percent;
  const Schedule schedule{.procs = reach.procs,
                          .settle_s = options.settle_s,
                          .seconds = options.seconds,
                          .change_to = percent < 50 ? kUp : kDown,
                          .watch_s = change_watch_s(plan)};
  const Record record = run({plan}, schedule).front();
  const double target = std::min<double>(percent, reach.reach);
  return {plan,
          reach.procs,
          reach.reach,
          target,
          judge(record, target),
          record.longest_launch_ms,
          schedule.change_to,
          settled_ms(record, std::min<double>(schedule.change_to, reach.reach))};
}

}  // namespace

void run_noise(const std::vector<double>& kernels_us, double settle_s, double seconds, bool json) {
  for (const double kernel_us : kernels_us) {
    const auto reach = [&] {
      const Plan plan{.policy = kNative, .kernel_us = kernel_us, .mode = "sync"};
      return judge(run({plan}, {.settle_s = settle_s, .seconds = seconds}).front(), 100).mean;
    };
    const double once = reach(), again = reach();
    if (json) {
      const nlohmann::ordered_json object = {{"row", "noise"},         {"mode", "sync"},
                                             {"kernel_us", kernel_us}, {"native", once},
                                             {"native_again", again},  {"spread", std::abs(once - again)}};
      fmt::print("{}\n", object.dump());
    } else {
      fmt::print("noise: sync {} us without the library, twice: {:.2f} and {:.2f} %, {:.2f} points apart\n", kernel_us,
                 once, again, std::abs(once - again));
    }
    std::fflush(stdout);
  }
}

void run_sweep(const SweepOptions& options) {
  run_noise(options.kernels_us, options.settle_s, std::min(options.seconds, 3.0), options.json);
  if (!options.json) print_heading();
  std::vector<Row> rows;
  for (const int procs : options.procs)
    for (const std::string& mode : options.modes)
      for (const double kernel_us : options.kernels_us) {
        const Plan program{.kernel_us = kernel_us, .mode = mode};
        const Row reach = measure_reach(program, procs, options);
        print_reach(reach, options.json);
        for (const int percent : options.percents) {
          rows.push_back(measure_row(program, percent, reach, options));
          print_row(rows.back(), options.json);
        }
      }
  print_summary(rows, options.json);
}

}  // namespace kiboko::bench
