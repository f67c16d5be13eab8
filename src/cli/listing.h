// What the listings have in common: fetching, printing as JSON, and how an amount looks in a cell.
//
// Pure but for the fetches. Main thread.
#pragma once

#include "cli/command.h"
#include "cli/table.h"

namespace kiboko::cli {

// The rows of an answer: an array, or an object whose member `key` is one.
Result<std::vector<Json>> fetch_rows(Agent& agent, const std::string& target, const char* key);
Result<std::vector<Grant>> fetch_grants(Agent& agent);
Result<std::vector<Device>> fetch_devices(Agent& agent);

// The agent's JSON as it came, indented: what `--output json` prints.
Result<int> print_json(Context& context, Agent& agent, const std::string& target);

std::string bytes_or_dash(const std::optional<std::uint64_t>& bytes);
std::string percent_or_dash(const std::optional<double>& percent);  // "12 %"
// "1.2 GiB / 4.0 GiB"; what is not known is "-".
std::string used_of(const std::optional<std::uint64_t>& used, const std::optional<std::uint64_t>& limit);
// How long ago, in one unit or two; "-" when unknown.
std::string age(const std::optional<std::int64_t>& since_ms, WallTime now);

// Sums and means over the devices of a grant; nothing when no device knows.
std::optional<std::uint64_t> memory_used(const Grant& grant);
std::optional<std::uint64_t> memory_limit(const Grant& grant);
std::optional<double> compute_used(const Grant& grant);
std::string cores_text(const Grant& grant);    // "12 / 30 %", "12 % / fair", "-"
std::string devices_text(const Grant& grant);  // "0,1"
std::string command_text(const Grant& grant);
std::string owner_text(const Grant& grant);

}  // namespace kiboko::cli
