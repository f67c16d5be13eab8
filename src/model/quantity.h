// Amounts of resources as Kubernetes writes them: "4", "3k", "2Gi", "1500m", "1e3".
//
// Pure functions. The API server rewrites what users wrote (3000 becomes "3k"), so suffixes must be read even where
// people are asked for plain numbers.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace kiboko {

// A whole number of at most 2^63 - 1. Fractions ("500m"), negative amounts and texts of other shapes are Invalid.
Result<std::int64_t> parse_quantity(std::string_view text);

// Rounded up, as Kubernetes counts CPU (in thousandths) and memory (in bytes): "0.1" is 100, "1.5" is 2.
Result<std::int64_t> parse_milli_quantity(std::string_view text);
Result<std::int64_t> parse_rounded_quantity(std::string_view text);

}  // namespace kiboko
