// What the listings have in common: fetching, printing as JSON, and how an amount looks in a cell.
//
// Pure but for the fetches. Main thread.
#pragma once

#include "cli/command.h"
#include "cli/table.h"

namespace kiboko::cli {

// The list that an answer has under `key`.
Result<std::vector<Json>> fetch_rows(Agent& agent, const std::string& target, const char* key);
Result<std::vector<GrantView>> fetch_grants(Agent& agent, const std::string& target = "/api/v1/grants");
Result<std::vector<DeviceView>> fetch_devices(Agent& agent);

// The agent's JSON as it came, indented: what `--output json` prints.
Result<int> print_json(Context& context, Agent& agent, const std::string& target);
void write_json(Output& out, const Json& json);

// A grant's ID as somebody typed it, fit to stand in a path.
Result<std::string> checked_id(const std::string& word);

std::string bytes_or_dash(const std::optional<std::uint64_t>& bytes);
std::string percent_or_dash(const std::optional<double>& percent);  // "12 %"
// "1.2 GiB / 4.0 GiB"; what is not known is "-".
std::string used_of(const std::optional<std::uint64_t>& used, const std::optional<std::uint64_t>& limit);
// How long ago, in one unit or two; "-" when unknown.
std::string age(const std::optional<std::int64_t>& since_ms, WallTime now);

// Sums and means over the devices of a grant; nothing when no device knows.
std::optional<std::uint64_t> memory_used(const GrantView& grant);
std::optional<std::uint64_t> memory_limit(const GrantView& grant);
std::optional<double> compute_used(const GrantView& grant);
std::string cores_text(const GrantView& grant);        // "12 % / 30 %", "12 % / fair", "-"
std::string cores_limit_text(const GrantView& grant);  // "30 %", "fair", "all"
std::string devices_text(const GrantView& grant);      // "0,1"
std::string command_text(const GrantView& grant);
std::string owner_text(const GrantView& grant);
std::string state_text(const GrantView& grant);  // "running", "suspended"

// Processes on a device that no grant holds to a limit, one line each.
std::string violations_text(const Output& out, const std::vector<DeviceView>& devices);
std::string tampering_text(const Output& out, const std::vector<GrantView>& grants);

}  // namespace kiboko::cli
