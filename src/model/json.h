// The JSON of the model, in one place: what the HTTP interface says and what the ledger keeps.
//
// Pure functions. Reading is strict: an unknown key or a value of the wrong type is an error that names it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "model/ask.h"
#include "model/device.h"
#include "model/grant.h"

namespace kiboko {

// Text to JSON without exceptions; at most 64 levels deep. Errors are Invalid.
Result<nlohmann::json> parse_json(std::string_view text);

// Is it nested deeper than that?
bool nested_too_deep(std::string_view text);

nlohmann::json to_json(const Ask& ask);
nlohmann::json to_json(const Refusal& refusal);
// What does not change from second to second; the host adds processes and usage.
nlohmann::json to_json(const Grant& grant);

Result<Ask> ask_from_json(const nlohmann::json& json);
Result<Ask> parse_ask(std::string_view text);
Result<Grant> grant_from_json(const nlohmann::json& json);

// {"memory_bytes","core_percent"}, either alone.
struct Resize {
  std::optional<Bytes> memory;
  std::optional<CorePercent> cores;
};
Result<Resize> parse_resize(std::string_view text);

}  // namespace kiboko
