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
Result<double> by_table(const NodeScore& rule, const NodeScoreInput& input) {
  const auto found = input.node.find(input.spread ? rule.score_key : rule.loss_key);
  if (found == input.node.end()) return 0.0;
  const nlohmann::json json = TRY(parse_annotation_json(found->second).map_error(about("annotation {}", found->first)));
  TRY(check_object(json, "the table").map_error(about("annotation {}", found->first)));
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

}  // namespace kiboko::vendors
