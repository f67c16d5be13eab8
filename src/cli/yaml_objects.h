// Kubernetes' objects out of YAML, as kubectl reads it: what is not quoted becomes a number, true, false or nothing by
// the rules of YAML 1.1, what is quoted stays a text.
//
// Pure functions. Anchors and aliases work; merge keys (<<) and keys that are no text are refused. yaml-cpp's
// exceptions end here.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "model/object_stream.h"

namespace kiboko::cli {

inline constexpr std::size_t kMostYamlBytes = std::size_t{64} << 20U;

// One document without its "---"; one that says nothing has no object. Errors (Invalid) name the line, the text's first
// being `first_line`.
Result<void> read_yaml_object(std::string_view text, const ObjectBuilder::Visit& visit, std::size_t first_line = 1);

// A scalar that is not quoted.
nlohmann::json plain_scalar(std::string_view text);

}  // namespace kiboko::cli
