#include "cli/manifest_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/simulation_chart.h"
#include "cli/table.h"

namespace kiboko::cli {
namespace {

using Json = nlohmann::json;
using ManifestMeasure = Measure<ManifestResult>;

double microseconds(Nanoseconds duration) { return static_cast<double>(duration.count()) / 1e3; }

const std::vector<ManifestMeasure>& pod_measures() {
  static const std::vector<ManifestMeasure> kMeasures = {
      {"PODS", [](const ManifestResult& result) { return static_cast<double>(result.arrived); }},
      {"PLACED", [](const ManifestResult& result) { return static_cast<double>(result.placed); }},
      {"REFUSED", [](const ManifestResult& result) { return static_cast<double>(result.arrived - result.placed); }},
      {"FRAGMENTS", [](const ManifestResult& result) { return result.fragmented_percent; }, 2},
      {"DECISION", [](const ManifestResult& result) { return microseconds(result.mean_decision); }, 0, " µs"}};
  return kMeasures;
}

std::vector<ManifestMeasure> family_measures(const std::string& family) {
  const auto of = [&](std::string title, double (*value)(const FamilyUse&), int decimals, const char* unit,
                      bool interval) -> ManifestMeasure {
    return {std::move(title),
            [family, value](const ManifestResult& result) {
              const auto found = std::ranges::find(result.families, family, &FamilyUse::family);
              return found == result.families.end() ? 0 : value(*found);
            },
            decimals, unit, interval};
  };
  return {of(
              "DEVICES", [](const FamilyUse& use) { return static_cast<double>(use.devices); }, 0, "", false),
          of(
              "IN USE", [](const FamilyUse& use) { return static_cast<double>(use.in_use); }, 0, "", false),
          of(
              "COMPUTE", [](const FamilyUse& use) { return use.compute_percent; }, 2, " %", true),
          of(
              "MEMORY", [](const FamilyUse& use) { return use.memory_percent; }, 2, " %", true)};
}

std::vector<std::string> families_of(const ManifestReport& report) {
  std::vector<std::string> families;
  for (const auto* all : {&report.policies, &report.what_if})
    for (const ManifestRuns& runs : *all)
      for (const ManifestResult& result : runs.results)
        for (const FamilyUse& use : result.families)
          if (std::ranges::find(families, use.family) == families.end()) families.push_back(use.family);
  return families;
}

void add_cells(std::vector<Cell>& row, const std::vector<ManifestMeasure>& measures, const ManifestRuns& runs,
               const ManifestRuns* before) {
  for (const ManifestMeasure& measure : measures)
    row.emplace_back(before == nullptr ? measure.text(runs) : measure.text(runs, *before));
}

std::vector<Column> columns_of(std::vector<Column> columns, const std::vector<ManifestMeasure>& measures) {
  for (const ManifestMeasure& measure : measures) columns.push_back({measure.title, true});
  return columns;
}

// Both tables; with what differs from `before`, if that is not empty.
std::string tables(const ManifestReport& report, const std::vector<ManifestRuns>& all,
                   const std::vector<ManifestRuns>& before, const Output& output) {
  Table pods{columns_of({{"POLICY"}}, pod_measures())};
  const auto titles = family_measures("");
  Table families{columns_of({{"FAMILY"}, {"POLICY"}}, titles)};
  for (std::size_t index = 0; index < all.size(); ++index) {
    std::vector<Cell> row = {std::string{name(all[index].policy)}};
    add_cells(row, pod_measures(), all[index], before.empty() ? nullptr : &before[index]);
    pods.add(row);
  }
  for (const std::string& family : families_of(report))
    for (std::size_t index = 0; index < all.size(); ++index) {
      std::vector<Cell> row = {family, std::string{name(all[index].policy)}};
      add_cells(row, family_measures(family), all[index], before.empty() ? nullptr : &before[index]);
      families.add(row);
    }
  return pods.text(output) + (families.empty() ? "" : "\n" + families.text(output));
}

// "refused by supply: memory 12 (less memory is free …), count 2 (…)", means over the seeds.
std::string refusal_lines(const std::vector<ManifestRuns>& all) {
  std::string lines;
  for (const ManifestRuns& runs : all) {
    std::map<std::string, Refused> sums;
    for (const ManifestResult& result : runs.results)
      for (const auto& [code, refused] : result.refusals) {
        sums[code].pods += refused.pods;
        sums[code].sentence = refused.sentence;
      }
    lines += fmt::format("refused by {}:{}\n", name(runs.policy), sums.empty() ? " none" : "");
    for (const auto& [code, refused] : sums)
      lines +=
          fmt::format("  {:.0f} {}: {}\n", static_cast<double>(refused.pods) / static_cast<double>(runs.results.size()),
                      code, refused.sentence);
  }
  return lines;
}

Json json_of(const ManifestResult& result, const std::optional<std::uint64_t>& seed, bool with_pods) {
  Json refusals = Json::object(), families = Json::array();
  for (const auto& [code, refused] : result.refusals)
    refusals[code] = {{"pods", refused.pods}, {"sentence", refused.sentence}};
  for (const FamilyUse& use : result.families)
    families.push_back({{"family", use.family},
                        {"devices", use.devices},
                        {"in_use", use.in_use},
                        {"compute_percent", use.compute_percent},
                        {"memory_percent", use.memory_percent}});
  Json json = {{"seed", seed ? Json(*seed) : Json(nullptr)},
               {"arrived", result.arrived},
               {"placed", result.placed},
               {"refusals", std::move(refusals)},
               {"families", std::move(families)},
               {"fragmented_percent", result.fragmented_percent},
               {"mean_decision_ns", result.mean_decision.count()},
               {"worst_decision_ns", result.worst_decision.count()}};
  if (!with_pods) return json;
  Json pods = Json::array();
  for (const PodFate& fate : result.fates) {
    Json& pod = pods.emplace_back(Json{{"pod", fate.pod}});
    if (fate.node.empty()) {
      pod.update({{"code", fate.code}, {"sentence", fate.sentence}});
    } else {
      pod.update({{"node", fate.node}, {"devices", fate.devices}});
    }
  }
  json["pods"] = std::move(pods);
  return json;
}

// Where the pods went is told of the first seed alone.
Json json_of(const ManifestReport& report, const std::vector<ManifestRuns>& all) {
  Json policies = Json::array();
  for (const ManifestRuns& runs : all) {
    Json list = Json::array();
    for (std::size_t index = 0; index < runs.results.size(); ++index)
      list.push_back(json_of(runs.results[index], report.seeds[index], index == 0));
    policies.push_back({{"policy", name(runs.policy)}, {"runs", std::move(list)}});
  }
  return policies;
}

void add_csv(std::string& text, const ManifestReport& report, const std::vector<ManifestRuns>& all,
             std::string_view cluster) {
  for (const ManifestRuns& runs : all)
    for (std::size_t index = 0; index < runs.results.size(); ++index) {
      const ManifestResult& result = runs.results[index];
      const std::string seed = report.seeds[index] ? std::to_string(*report.seeds[index]) : "";
      for (const FamilyUse& use : result.families)
        text += fmt::format("{},{},{},{},{},{},{},{:.4f},{:.4f},{:.4f}{}\n", name(runs.policy), seed, result.arrived,
                            result.placed, use.family, use.devices, use.in_use, use.compute_percent, use.memory_percent,
                            result.fragmented_percent, cluster);
    }
}

void add_curves(std::vector<Curve>& curves, const std::vector<ManifestRuns>& all, bool changed) {
  for (const ManifestRuns& runs : all) {
    std::vector<const std::vector<double>*> each;
    for (const ManifestResult& result : runs.results) each.push_back(&result.curve);
    curves.push_back({fmt::format("{}{}", name(runs.policy), changed ? ", what if" : ""), mean_curve(each), changed});
  }
}

std::string orders(const ManifestReport& report) {
  return report.seeds.front() ? fmt::format("mean of {} seeds", report.seeds.size()) : "pods in the order of the file";
}

}  // namespace

std::string manifest_table(const ManifestReport& report, const Output& output) {
  std::string text =
      fmt::format("Nodes: {}, with {} pods bound to them; {}.\n\n", report.nodes, report.bound, orders(report)) +
      tables(report, report.policies, {}, output) + "\n" + refusal_lines(report.policies);
  if (!report.what_if.empty())
    text += fmt::format("\nWhat if: {}\n\n", harmless(report.changes)) +
            tables(report, report.what_if, report.policies, output) + "\n" + refusal_lines(report.what_if);
  return text;
}

std::string manifest_json(const ManifestReport& report) {
  Json json = {{"nodes", report.nodes}, {"bound", report.bound}, {"policies", json_of(report, report.policies)}};
  if (!report.what_if.empty())
    json["what_if"] = {{"changes", report.changes}, {"policies", json_of(report, report.what_if)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string manifest_csv(const ManifestReport& report) {
  const bool both = !report.what_if.empty();
  std::string text = fmt::format(
      "policy,seed,arrived,placed,family,devices,in_use,compute_percent,memory_percent,fragmented_percent{}\n",
      both ? ",cluster" : "");
  add_csv(text, report, report.policies, both ? ",as_is" : "");
  add_csv(text, report, report.what_if, ",what_if");
  return text;
}

std::string manifest_chart(const ManifestReport& report) {
  std::vector<Curve> curves;
  add_curves(curves, report.policies, false);
  add_curves(curves, report.what_if, true);
  return draw_curves(curves, 0, "Devices granted against devices asked for",
                     fmt::format("asked for ({})", orders(report)));
}

}  // namespace kiboko::cli
