#include "vendors/score.h"

#include <nlohmann/json.hpp>

#include "model/annotation.h"

namespace kiboko::vendors {
namespace {

double by_concentration(const NodeScore& rule, const NodeScoreInput& input) {
  double sum = 0;
  for (const auto& container : input.containers) {
    const auto part = concentration(container, rule.group);
    if (!part) return 0;
    sum += *part;
  }
  return rule.weight * sum;
}

// {"1": 0, "2": 12, …}: what so many devices of the node cost.
Result<nlohmann::json> table_from(std::string_view text) {
  nlohmann::json json = TRY(parse_annotation_json(text));
  TRY(check_object(json, "the table"));
  return json;
}

Result<double> by_table(const NodeScore& rule, const NodeScoreInput& input) {
  const auto found = input.node.find(input.spread ? rule.score_key : rule.loss_key);
  if (found == input.node.end()) return 0.0;
  const nlohmann::json json = TRY(table_from(found->second).map_error(about("annotation {}", found->first)));
  std::size_t devices = 0;
  for (const auto& container : input.containers) devices += container.size();
  const std::int64_t cost = TRY(number_at(json, std::to_string(devices).c_str(), 0, kMostWireNumber)
                                    .map_error(about("annotation {}", found->first)));
  return static_cast<double>(rule.base - cost);
}

}  // namespace

Result<double> node_score(const Family& family, const NodeScoreInput& input) {
  switch (family.score.kind) {
    case NodeScore::Kind::None:
      return 0.0;
    case NodeScore::Kind::GroupConcentration:
      return by_concentration(family.score, input);
    case NodeScore::Kind::Table:
      return by_table(family.score, input);
    case NodeScore::Kind::Hook:
      return hook_score(family.score.hook, input.hook);
  }
  return 0.0;
}

Result<void> check_score_tables(const Family& family, const Annotations& node) {
  if (family.score.kind != NodeScore::Kind::Table) return {};
  for (const std::string& key : {family.score.loss_key, family.score.score_key}) {
    const auto found = node.find(key);
    if (found == node.end()) continue;
    const nlohmann::json json = TRY(table_from(found->second).map_error(about("annotation {}", key)));
    for (const auto& entry : json.items())
      TRY(number_at(json, entry.key().c_str(), 0, kMostWireNumber)
              .map_error(about("annotation {}: {}", key, shown(entry.key()))));
  }
  return {};
}

}  // namespace kiboko::vendors
