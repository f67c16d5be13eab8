#include "model/pair_scores.h"

#include <nlohmann/json.hpp>

#include "model/annotation.h"

namespace kiboko {

using Json = nlohmann::json;

std::int32_t score_of(const PairScores& scores, const DeviceUuid& a, const DeviceUuid& b) {
  const auto row = scores.find(a);
  if (row == scores.end()) return 0;
  const auto cell = row->second.find(b);
  return cell == row->second.end() ? 0 : cell->second;
}

Result<PairScores> decode_pair_scores(std::string_view text) {
  const Json json = TRY(parse_annotation_json(text));
  if (!json.is_array()) return fail(Errc::Invalid, "the scores must be a JSON list");
  PairScores scores;
  std::size_t at = 0;
  for (const Json& item : json) {
    const auto where = about("GPU {} of the list", at++);
    TRY(check_object(item, "a GPU").map_error(where));
    const std::string uuid = TRY(text_at(item, "uuid").map_error(where));
    if (uuid.empty()) return fail(Errc::Invalid, "GPU {} of the list: 'uuid' is missing", at - 1);
    auto& row = scores[DeviceUuid{uuid}];
    const auto found = item.find("score");
    if (found == item.end() || found->is_null()) continue;
    TRY(check_object(*found, "'score'").map_error(where));
    for (const auto& entry : found->items()) {
      const Json one = {{"score", entry.value()}};
      const auto score = number_at(one, "score", 0, kMostWireNumber);
      row[DeviceUuid{entry.key()}] =
          static_cast<std::int32_t>(TRY(score.map_error(about("{}: {}", shown(uuid), shown(entry.key())))));
    }
  }
  return scores;
}

std::string encode_pair_scores(const PairScores& scores) {
  std::string out = "[";
  for (const auto& [uuid, row] : scores) {
    if (out.size() > 1) out += ",";
    out += fmt::format(R"({{"uuid":{},"score":{{)", json_string(uuid.text));
    bool first = true;
    for (const auto& [peer, score] : row) {
      out += fmt::format("{}{}:{}", first ? "" : ",", json_string(peer.text), score);
      first = false;
    }
    out += "}}";
  }
  return out + "]";
}

}  // namespace kiboko
