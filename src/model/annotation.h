// What the decoders of annotations have in common: bounds, and errors that say where.
//
// Pure functions. Annotations are written by plugins, users and attackers: a decoder takes any bytes, uses memory in
// proportion to them, and its errors (Invalid) name the place in the text. Who knows node or pod and key puts them in
// front with about().
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace kiboko {

// What an API server lets all annotations of one object come to. A longer text is refused unread.
inline constexpr std::size_t kMostAnnotationBytes = 256U << 10U;
inline constexpr std::int64_t kMostWireNumber = 0x7FFF'FFFF;  // the fields are signed 32-bit numbers

// `text` as it can stand in an error: at most 48 bytes, valid UTF-8, on one line.
std::string shown(std::string_view text);

Result<void> check_length(std::string_view text);

// JSON of a foreign hand: bounded in length and depth, syntax errors with their byte.
Result<nlohmann::json> parse_annotation_json(std::string_view text);

// Members of an object by their key; absent or null is `absent`. Errors name the key.
Result<std::int64_t> number_at(const nlohmann::json& object, const char* key, std::int64_t low, std::int64_t high,
                               std::int64_t absent = 0);
Result<std::string> text_at(const nlohmann::json& object, const char* key);
Result<bool> truth_at(const nlohmann::json& object, const char* key);
// A list, empty when absent.
Result<const nlohmann::json*> list_at(const nlohmann::json& object, const char* key);
Result<void> check_object(const nlohmann::json& json, std::string_view what);

// A whole number of the wire in decimal digits, 0 … kMostWireNumber; `what` and `byte` are for the error.
Result<std::int64_t> wire_number(std::string_view text, std::string_view what, std::size_t byte);

// A JSON string as the other implementations of these formats (all in Go) write it: also <, > and & are escaped.
std::string json_string(std::string_view text);

}  // namespace kiboko
