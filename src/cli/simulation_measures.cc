#include "cli/simulation_measures.h"

#include <algorithm>
#include <cmath>

namespace kiboko::cli {
namespace {

// Two-sided 95 % quantiles of Student's t by degrees of freedom from 1; the last holds for more.
constexpr double kStudent[] = {12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23,
                               2.20,  2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09,
                               2.08,  2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 1.96};

}  // namespace

std::string with_interval(const Estimate& of, int decimals, bool sign) {
  const std::string mean =
      sign ? fmt::format("{:+.{}f}", of.mean, decimals) : fmt::format("{:.{}f}", of.mean, decimals);
  return of.half_width > 0 ? fmt::format("{} ± {:.{}f}", mean, of.half_width, decimals) : mean;
}

Estimate estimate(const std::vector<double>& values) {
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  Estimate result{sum / count, 0};
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  const double quantile = kStudent[std::min(values.size() - 2, std::size(kStudent) - 1)];
  result.half_width = quantile * std::sqrt(squares / (count - 1) / count);
  return result;
}

}  // namespace kiboko::cli
