// The numbers of simulations as tables show them: a mean over seeds with its interval, and beside it what a change of
// the cluster makes of it. Plain values and pure functions.
#pragma once

#include <fmt/core.h>

#include <functional>
#include <string>
#include <vector>

#include "sched/policy.h"

namespace kiboko::cli {

// A mean over seeds and half the width of its 95 % interval (Student's t); the width is 0 for a single seed.
struct Estimate {
  double mean = 0;
  double half_width = 0;
};
Estimate estimate(const std::vector<double>& values);
std::string with_interval(const Estimate& of, int decimals = 2, bool sign = false);

// One policy over the seeds, in their order.
template <class Result>
struct RunsOf {
  Policy policy = Policy::Supply;
  std::vector<Result> results;
};

// A column.
template <class Result>
struct Measure {
  std::string title;
  std::function<double(const Result&)> of;
  int decimals = 0;
  const char* unit = "";
  bool interval = false;

  std::vector<double> each(const RunsOf<Result>& runs) const {
    std::vector<double> values;
    for (const Result& result : runs.results) values.push_back(of(result));
    return values;
  }
  std::string text(const RunsOf<Result>& runs) const {
    const Estimate all = estimate(each(runs));
    return (interval ? with_interval(all, decimals) : fmt::format("{:.{}f}", all.mean, decimals)) + unit;
  }
  // "93.20 (+1.10)": beside the runs of the same seeds on the unchanged cluster.
  std::string text(const RunsOf<Result>& runs, const RunsOf<Result>& before) const {
    const double mean = estimate(each(runs)).mean;
    return fmt::format("{:.{}f}{} ({:+.{}f})", mean, decimals, unit, mean - estimate(each(before)).mean, decimals);
  }
};

}  // namespace kiboko::cli
