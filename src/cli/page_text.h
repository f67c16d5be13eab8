// A grant page for people.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace kiboko::cli {

// Reads and verifies the page at `path` and prints what stands in it. `now_ns` is CLOCK_MONOTONIC, for the heartbeat.
Result<std::string> page_text(const std::string& path, std::uint64_t now_ns);

}  // namespace kiboko::cli
