#include "cli/simulation_report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/table.h"

namespace kiboko::cli {
namespace {

constexpr unsigned kMarks[] = {90, 100, 110, 130};

// Two-sided 95 % quantiles of Student's t by degrees of freedom from 1; the last holds for more.
constexpr double kStudent[] = {12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23,
                               2.20,  2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09,
                               2.08,  2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 1.96};

std::vector<double> each(const PolicyRuns& runs, const std::function<double(const SimulationResult&)>& of) {
  std::vector<double> values;
  for (const SimulationResult& result : runs.results) values.push_back(of(result));
  return values;
}

std::optional<std::vector<double>> allocated(const PolicyRuns& runs, unsigned demand) {
  if (runs.results.empty() || !runs.results.front().allocated_at(demand)) return {};
  return each(runs, [&](const SimulationResult& result) { return result.allocated_at(demand).value_or(0); });
}

// At 100 % of demand, or the last that was reached.
unsigned compared_at(const Simulated& simulated) {
  unsigned at = 0;
  for (const SimulationMark& mark : simulated.policies.front().results.front().marks)
    if (at < 100) at = mark.demand_percent;
  return at;
}

double fragmented(const SimulationResult& result) {
  return result.marks.empty() ? 0 : result.marks.back().fragmented_percent;
}

double microseconds(Nanoseconds duration) { return static_cast<double>(duration.count()) / 1e3; }

std::string with_interval(const Estimate& of, bool sign = false) {
  const std::string mean = sign ? fmt::format("{:+.2f}", of.mean) : fmt::format("{:.2f}", of.mean);
  return of.half_width > 0 ? fmt::format("{} ± {:.2f}", mean, of.half_width) : mean;
}

std::vector<double> differences(const PolicyRuns& runs, const PolicyRuns& base, unsigned demand) {
  const auto ours = allocated(runs, demand);
  const auto theirs = allocated(base, demand);
  std::vector<double> differences;
  for (std::size_t index = 0; ours && theirs && index < ours->size(); ++index)
    differences.push_back((*ours)[index] - (*theirs)[index]);
  return differences;
}

std::string refusal_line(const PolicyRuns& runs) {
  std::string line;
  for (std::size_t reason = 0; reason < static_cast<std::size_t>(NodeRefusal::None); ++reason) {
    const Estimate count = estimate(
        each(runs, [&](const SimulationResult& result) { return static_cast<double>(result.refusals[reason]); }));
    if (count.mean > 0)
      line += fmt::format("{}{} {:.0f}", line.empty() ? "" : ", ", name(static_cast<NodeRefusal>(reason)), count.mean);
  }
  return line.empty() ? "none" : line;
}

}  // namespace

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

std::string simulation_table(const Simulated& simulated, const Output& output) {
  const PolicyRuns& base = simulated.policies.front();
  std::vector<Column> columns = {{"POLICY"}};
  static constexpr std::string_view kTitles[] = {"AT 90 %", "AT 100 %", "AT 110 %", "AT 130 %"};
  for (std::size_t mark = 0; mark < std::size(kMarks); ++mark)
    if (allocated(base, kMarks[mark])) columns.push_back({kTitles[mark], true});
  for (const std::string_view title : {"AGAINST THE FIRST", "FRAGMENTS", "REFUSED", "DECISION"})
    columns.push_back({title, true});
  Table table{columns};
  std::string refusals;
  for (const PolicyRuns& runs : simulated.policies) {
    std::vector<Cell> row = {std::string{name(runs.policy)}};
    for (const unsigned mark : kMarks)
      if (const auto values = allocated(runs, mark)) row.emplace_back(with_interval(estimate(*values)));
    const bool first = &runs == &base;
    row.emplace_back(first ? "-" : with_interval(estimate(differences(runs, base, compared_at(simulated))), true));
    row.emplace_back(fmt::format("{:.2f}", estimate(each(runs, fragmented)).mean));
    row.emplace_back(fmt::format("{:.0f}", estimate(each(runs, [](const SimulationResult& result) {
                                             return static_cast<double>(result.arrived - result.placed);
                                           })).mean));
    row.emplace_back(fmt::format("{:.0f} µs", estimate(each(runs, [](const SimulationResult& result) {
                                                return microseconds(result.mean_decision);
                                              })).mean));
    table.add(row);
    refusals += fmt::format("refused by {}: {}\n", name(runs.policy), refusal_line(runs));
  }
  return table.text(output) +
         fmt::format(
             "\nPercent of all compute granted when so much was asked for; mean of {} seeds and its 95 % "
             "interval. Differences are of the same seeds, at {} %.\n",
             simulated.seeds.size(), compared_at(simulated)) +
         refusals;
}

std::string simulation_json(const Simulated& simulated) {
  nlohmann::json policies = nlohmann::json::array();
  for (const PolicyRuns& runs : simulated.policies) {
    nlohmann::json list = nlohmann::json::array();
    for (std::size_t index = 0; index < runs.results.size(); ++index) {
      const SimulationResult& result = runs.results[index];
      nlohmann::json marks = nlohmann::json::array();
      for (const SimulationMark& mark : result.marks)
        marks.push_back({{"demand_percent", mark.demand_percent},
                         {"allocated_percent", mark.allocated_percent},
                         {"fragmented_percent", mark.fragmented_percent}});
      nlohmann::json refusals = nlohmann::json::object();
      for (std::size_t reason = 0; reason < result.refusals.size(); ++reason)
        if (result.refusals[reason] > 0)
          refusals[std::string{name(static_cast<NodeRefusal>(reason))}] = result.refusals[reason];
      list.push_back({{"seed", simulated.seeds[index]},
                      {"arrived", result.arrived},
                      {"placed", result.placed},
                      {"marks", marks},
                      {"refusals", refusals},
                      {"mean_decision_ns", result.mean_decision.count()},
                      {"worst_decision_ns", result.worst_decision.count()}});
    }
    policies.push_back({{"policy", name(runs.policy)}, {"runs", list}});
  }
  return nlohmann::json{{"policies", policies}}.dump(2) + "\n";
}

std::string simulation_csv(const Simulated& simulated) {
  std::string text = "policy,seed,demand_percent,allocated_percent,fragmented_percent\n";
  for (const PolicyRuns& runs : simulated.policies)
    for (std::size_t index = 0; index < runs.results.size(); ++index)
      for (const SimulationMark& mark : runs.results[index].marks)
        text += fmt::format("{},{},{},{:.4f},{:.4f}\n", name(runs.policy), simulated.seeds[index], mark.demand_percent,
                            mark.allocated_percent, mark.fragmented_percent);
  return text;
}

}  // namespace kiboko::cli
