#include "compute_pairs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "compute_run.h"

namespace kiboko::bench {
namespace {

const std::vector<std::vector<int>> kAsks = {{10, 90},     {30, 70},         {30, 60},
                                             {25, 25, 50}, {25, 25, 25, 25}, {12, 13, 12, 13, 12, 13, 12, 13}};
constexpr int kRounds = 3;

std::vector<Plan> plans_of(const std::vector<int>& percents, const Plan& program) {
  std::vector<Plan> plans(percents.size(), program);
  for (std::size_t i = 0; i < plans.size(); ++i) plans[i].percent = percents[i];
  return plans;
}

struct Together {
  std::vector<double> means;
  double total = 0, worst_error = 0, worst_1s = 0, longest_launch_ms = 0;
};

Together together(const std::vector<Record>& records) {
  Together sum;
  for (const Record& record : records) {
    const Verdict verdict = judge(record, record.plan.percent);
    sum.means.push_back(verdict.mean);
    sum.total += verdict.mean;
    const double error = verdict.mean - record.plan.percent;
    if (std::abs(error) > std::abs(sum.worst_error)) sum.worst_error = error;
    sum.worst_1s = std::max(sum.worst_1s, verdict.worst_1s);
    sum.longest_launch_ms = std::max(sum.longest_launch_ms, record.longest_launch_ms);
  }
  return sum;
}

void pair(const std::vector<int>& asked, const Plan& program, const PairsOptions& options) {
  const std::vector<Record> records =
      run(plans_of(asked, program), {.settle_s = options.settle_s, .seconds = options.seconds});
  const Together sum = together(records);
  const double jain = jain_index(records);
  if (options.json) {
    const nlohmann::ordered_json object = {{"row", "pair"},
                                           {"asked", asked},
                                           {"mode", program.mode},
                                           {"kernel_us", program.kernel_us},
                                           {"means", sum.means},
                                           {"worst_error", sum.worst_error},
                                           {"worst_1s", sum.worst_1s},
                                           {"longest_launch_ms", sum.longest_launch_ms},
                                           {"together", sum.total},
                                           {"jain", jain}};
    fmt::print("{}\n", object.dump());
  } else {
    fmt::print("{:<24} {:<8} {:>9} {:>11.2f} {:>9.2f} {:>9.2f} {:>9.2f} {:>7.4f}  {:.1f}\n",
               fmt::format("{}", fmt::join(asked, ":")), program.mode, program.kernel_us, sum.worst_error, sum.worst_1s,
               sum.longest_launch_ms, sum.total, jain, fmt::join(sum.means, " "));
  }
  std::fflush(stdout);
}

struct Conserved {
  double alone = 0, unlimited = 0, spread = 0;  // percent of the device; of the unlimited runs, points
  Together two;
};

Conserved conserve(const Plan& program, const PairsOptions& options) {
  const Schedule schedule{.settle_s = options.settle_s, .seconds = options.seconds};
  const auto reach = [&](const char* policy) {
    Plan plan = program;
    plan.policy = policy;
    plan.percent = 30;
    return judge(run({plan}, schedule).front(), 100).mean;
  };
  Conserved result;
  double least = 100, most = 0;
  for (int round = 0; round < kRounds; ++round) {
    const bool first = round % 2 == 0;  // who comes first has no advantage over all
    if (first) result.alone += reach("default") / kRounds;
    const double unlimited = reach("disable");
    if (!first) result.alone += reach("default") / kRounds;
    result.unlimited += unlimited / kRounds;
    least = std::min(least, unlimited);
    most = std::max(most, unlimited);
  }
  result.spread = most - least;
  Plan shared = program;
  shared.policy = "default";
  result.two = together(run(plans_of({30, 60}, shared), schedule));
  return result;
}

void print(const Plan& program, const Conserved& conserved, bool json) {
  const double of_unlimited = 100 * conserved.alone / conserved.unlimited;
  if (json) {
    const nlohmann::ordered_json object = {{"row", "conserving"},
                                           {"mode", program.mode},
                                           {"kernel_us", program.kernel_us},
                                           {"alone", conserved.alone},
                                           {"unlimited", conserved.unlimited},
                                           {"of_unlimited", of_unlimited},
                                           {"unlimited_spread", conserved.spread},
                                           {"two_means", conserved.two.means},
                                           {"two_together", conserved.two.total}};
    fmt::print("{}\n", object.dump());
  } else {
    fmt::print("{:<12} {:>9} {:>10.2f} {:>10.2f} {:>10.2f} {:>9.2f} {:>14.2f}  {:.1f}\n", program.mode,
               program.kernel_us, conserved.alone, conserved.unlimited, of_unlimited, conserved.spread,
               conserved.two.total, fmt::join(conserved.two.means, " "));
  }
  std::fflush(stdout);
}

std::vector<std::string> modes_or(const PairsOptions& options, std::vector<std::string> otherwise) {
  return options.modes.empty() ? otherwise : options.modes;
}

}  // namespace

void run_pairs(const PairsOptions& options) {
  if (!options.json)
    fmt::print("{:<24} {:<8} {:>9} {:>11} {:>9} {:>9} {:>9} {:>7}  {}\n", "asked %, forced", "mode", "kernel us",
               "worst error", "worst 1 s", "launch ms", "together", "Jain", "means %");
  for (const std::vector<int>& asked : kAsks)
    for (const std::string& mode : modes_or(options, {"async", "sync"}))
      for (const double kernel_us : options.kernels_us) pair(asked, {.kernel_us = kernel_us, .mode = mode}, options);
}

void run_conserving(const PairsOptions& options) {
  if (!options.json)
    fmt::print("{:<12} {:>9} {:>10} {:>10} {:>10} {:>9} {:>14}  {}\n", "mode", "kernel us", "default %", "no limit %",
               "of that %", "spread", "two together %", "30:60 default");
  for (const std::string& mode : modes_or(options, {"async", "sync", "graph"}))
    for (const double kernel_us : options.kernels_us) {
      const Plan program{.kernel_us = kernel_us, .mode = mode};
      print(program, conserve(program, options), options.json);
    }
}

}  // namespace kiboko::bench
