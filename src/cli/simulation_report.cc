#include "cli/simulation_report.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "cli/table.h"

namespace kiboko::cli {
namespace {

constexpr unsigned kMarks[] = {90, 100, 110, 130};

using TraceMeasure = Measure<SimulationResult>;

bool reached(const PolicyRuns& runs, unsigned demand) {
  return !runs.results.empty() && runs.results.front().allocated_at(demand).has_value();
}

TraceMeasure allocated_at(unsigned demand) {
  return {fmt::format("AT {} %", demand),
          [demand](const SimulationResult& result) { return result.allocated_at(demand).value_or(0); }, 2, "", true};
}

// At 100 % of demand, or the last that was reached.
unsigned compared_at(const Simulated& simulated) {
  unsigned at = 0;
  for (const SimulationMark& mark : simulated.policies.front().results.front().marks)
    if (at < 100) at = mark.demand_percent;
  return at;
}

double microseconds(Nanoseconds duration) { return static_cast<double>(duration.count()) / 1e3; }

std::vector<TraceMeasure> measures_of(const PolicyRuns& base) {
  std::vector<TraceMeasure> measures;
  for (const unsigned mark : kMarks)
    if (reached(base, mark)) measures.push_back(allocated_at(mark));
  measures.push_back(
      {"FRAGMENTS",
       [](const SimulationResult& result) { return result.marks.empty() ? 0 : result.marks.back().fragmented_percent; },
       2});
  measures.push_back(
      {"REFUSED", [](const SimulationResult& result) { return static_cast<double>(result.arrived - result.placed); }});
  measures.push_back(
      {"DECISION", [](const SimulationResult& result) { return microseconds(result.mean_decision); }, 0, " µs"});
  return measures;
}

std::vector<double> differences(const PolicyRuns& runs, const PolicyRuns& base, unsigned demand) {
  const TraceMeasure measure = allocated_at(demand);
  const auto ours = measure.each(runs), theirs = measure.each(base);
  std::vector<double> differences;
  for (std::size_t index = 0; reached(runs, demand) && index < ours.size(); ++index)
    differences.push_back(ours[index] - theirs[index]);
  return differences;
}

std::string refusal_line(const PolicyRuns& runs) {
  std::string line;
  for (std::size_t reason = 0; reason < static_cast<std::size_t>(NodeRefusal::None); ++reason) {
    const TraceMeasure measure{
        "", [&](const SimulationResult& result) { return static_cast<double>(result.refusals[reason]); }};
    const Estimate count = estimate(measure.each(runs));
    if (count.mean > 0)
      line += fmt::format("{}{} {:.0f}", line.empty() ? "" : ", ", name(static_cast<NodeRefusal>(reason)), count.mean);
  }
  return line.empty() ? "none" : line;
}

std::vector<Column> columns_of(const std::vector<TraceMeasure>& measures, bool compared) {
  std::vector<Column> columns = {{"POLICY"}};
  for (const TraceMeasure& measure : measures) {
    if (compared && measure.title == "FRAGMENTS") columns.push_back({"AGAINST THE FIRST", true});
    columns.push_back({measure.title, true});
  }
  return columns;
}

std::string what_if_table(const Simulated& simulated, const Output& output) {
  const auto measures = measures_of(simulated.policies.front());
  Table table{columns_of(measures, false)};
  for (std::size_t index = 0; index < simulated.what_if.size(); ++index) {
    const PolicyRuns& runs = simulated.what_if[index];
    std::vector<Cell> row = {std::string{name(runs.policy)}};
    for (const TraceMeasure& measure : measures) row.emplace_back(measure.text(runs, simulated.policies[index]));
    table.add(row);
  }
  return fmt::format("\nWhat if: {}. Demand is that of the unchanged cluster.\n{}", harmless(simulated.changes),
                     table.text(output));
}

nlohmann::json json_of(const Simulated& simulated, const std::vector<PolicyRuns>& all) {
  nlohmann::json policies = nlohmann::json::array();
  for (const PolicyRuns& runs : all) {
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
  return policies;
}

void add_csv(std::string& text, const Simulated& simulated, const std::vector<PolicyRuns>& all,
             std::string_view cluster) {
  for (const PolicyRuns& runs : all)
    for (std::size_t index = 0; index < runs.results.size(); ++index)
      for (const SimulationMark& mark : runs.results[index].marks)
        text += fmt::format("{},{},{},{:.4f},{:.4f}{}\n", name(runs.policy), simulated.seeds[index],
                            mark.demand_percent, mark.allocated_percent, mark.fragmented_percent, cluster);
}

void add_curves(std::vector<Curve>& curves, const std::vector<PolicyRuns>& all, bool changed) {
  for (const PolicyRuns& runs : all) {
    std::vector<const std::vector<double>*> each;
    for (const SimulationResult& result : runs.results) each.push_back(&result.curve);
    curves.push_back({fmt::format("{}{}", name(runs.policy), changed ? ", what if" : ""), mean_curve(each), changed});
  }
}

}  // namespace

std::string simulation_table(const Simulated& simulated, const Output& output) {
  const PolicyRuns& base = simulated.policies.front();
  const auto measures = measures_of(base);
  Table table{columns_of(measures, true)};
  std::string refusals;
  for (const PolicyRuns& runs : simulated.policies) {
    std::vector<Cell> row = {std::string{name(runs.policy)}};
    for (const TraceMeasure& measure : measures) {
      if (measure.title == "FRAGMENTS") {
        const auto against = differences(runs, base, compared_at(simulated));
        row.emplace_back(&runs == &base ? "-" : with_interval(estimate(against), 2, true));
      }
      row.emplace_back(measure.text(runs));
    }
    table.add(row);
    refusals += fmt::format("refused by {}: {}\n", name(runs.policy), refusal_line(runs));
  }
  return table.text(output) +
         fmt::format(
             "\nPercent of all compute granted when so much was asked for; mean of {} seeds and its 95 % "
             "interval. Differences are of the same seeds, at {} %.\n",
             simulated.seeds.size(), compared_at(simulated)) +
         refusals + (simulated.what_if.empty() ? "" : what_if_table(simulated, output));
}

std::string simulation_json(const Simulated& simulated) {
  nlohmann::json json = {{"policies", json_of(simulated, simulated.policies)}};
  if (!simulated.what_if.empty())
    json["what_if"] = {{"changes", simulated.changes}, {"policies", json_of(simulated, simulated.what_if)}};
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string simulation_csv(const Simulated& simulated) {
  const bool both = !simulated.what_if.empty();
  std::string text =
      fmt::format("policy,seed,demand_percent,allocated_percent,fragmented_percent{}\n", both ? ",cluster" : "");
  add_csv(text, simulated, simulated.policies, both ? ",as_is" : "");
  add_csv(text, simulated, simulated.what_if, ",what_if");
  return text;
}

std::string simulation_chart(const Simulated& simulated) {
  constexpr std::size_t kFromDemand = 70;  // below, every policy places everything
  std::vector<Curve> curves;
  add_curves(curves, simulated.policies, false);
  add_curves(curves, simulated.what_if, true);
  return draw_curves(curves, kFromDemand, "Compute granted against compute asked for",
                     fmt::format("asked for (mean of {} seeds)", simulated.seeds.size()));
}

}  // namespace kiboko::cli
