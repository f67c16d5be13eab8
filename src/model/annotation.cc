#include "model/annotation.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "model/json.h"

namespace kiboko {
namespace {

using Json = nlohmann::json;

const Json* member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string shown_json(const Json& json) {
  return shown(json.is_structured() ? std::string(json.type_name())
                                    : json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

std::string shown(std::string_view text) {
  constexpr std::size_t kMost = 48;
  const std::string safe = json_escape(text.substr(0, kMost));
  return text.size() > kMost ? safe + "…" : safe;
}

Result<void> check_length(std::string_view text) {
  if (text.size() <= kMostAnnotationBytes) return {};
  return fail(Errc::Invalid, "{} bytes are more than the {} that annotations may have", text.size(),
              kMostAnnotationBytes);
}

Result<Json> parse_annotation_json(std::string_view text) {
  TRY(check_length(text));
  if (nested_too_deep(text)) return fail(Errc::Invalid, "the JSON is nested too deep");
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    const std::size_t byte = error.byte > 0 ? error.byte - 1 : 0;  // the parser counts from one
    return fail(Errc::Invalid, "byte {}: this is not JSON: '{}'", byte,
                shown(text.substr(std::min(byte, text.size()))));
  } catch (const Json::exception&) {  // a number such as 1e999
    return fail(Errc::Invalid, "the JSON has a number that is too large");
  }
}

Result<void> check_object(const Json& json, std::string_view what) {
  if (json.is_object()) return {};
  return fail(Errc::Invalid, "{} must be a JSON object, not {}", what, shown_json(json));
}

Result<std::int64_t> number_at(const Json& object, const char* key, std::int64_t low, std::int64_t high,
                               std::int64_t absent) {
  const Json* value = member(object, key);
  if (value == nullptr) return absent;
  const bool too_high = value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(high);
  if (value->is_number_integer() && !too_high) {
    const auto number = value->get<std::int64_t>();
    if (number >= low && number <= high) return number;
  }
  return fail(Errc::Invalid, "'{}' must be a whole number from {} to {}, not {}", key, low, high, shown_json(*value));
}

Result<std::string> text_at(const Json& object, const char* key) {
  const Json* value = member(object, key);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return fail(Errc::Invalid, "'{}' must be a text, not {}", key, shown_json(*value));
  return value->get<std::string>();
}

Result<bool> truth_at(const Json& object, const char* key) {
  const Json* value = member(object, key);
  if (value == nullptr) return false;
  if (!value->is_boolean()) return fail(Errc::Invalid, "'{}' must be true or false, not {}", key, shown_json(*value));
  return value->get<bool>();
}

Result<const Json*> list_at(const Json& object, const char* key) {
  static const Json kEmpty = Json::array();
  const Json* value = member(object, key);
  if (value == nullptr) return &kEmpty;
  if (!value->is_array()) return fail(Errc::Invalid, "'{}' must be a list, not {}", key, shown_json(*value));
  return value;
}

Result<std::int64_t> wire_number(std::string_view text, std::string_view what, std::size_t byte) {
  const auto number = parse_integer<std::int64_t>(text);
  if (number && *number >= 0 && *number <= kMostWireNumber) return *number;
  return fail(Errc::Invalid, "byte {}: {} must be a whole number from 0 to {}, not '{}'", byte, what, kMostWireNumber,
              shown(text));
}

std::string json_string(std::string_view text) {
  const auto special = [](char c) -> std::string_view {
    switch (c) {
      case '<':
        return "\\u003c";
      case '>':
        return "\\u003e";
      case '&':
        return "\\u0026";
      case '\b':
        return "\\b";
      case '\f':
        return "\\f";
      case '\n':
        return "\\n";
      case '\r':
        return "\\r";
      case '\t':
        return "\\t";
      default:
        return {};
    }
  };
  std::string out = "\"";
  std::size_t run = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view escaped = special(text[i]);
    if (escaped.empty()) continue;
    out += json_escape(text.substr(run, i - run));
    out += escaped;
    run = i + 1;
  }
  return out + json_escape(text.substr(run)) + "\"";
}

}  // namespace kiboko
