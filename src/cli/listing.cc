#include "cli/listing.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace kiboko::cli {
namespace {

template <class T>
Result<std::vector<T>> read_all(const std::vector<Json>& rows, Result<T> (*read)(const Json&)) {
  std::vector<T> all;
  for (const Json& row : rows) all.push_back(TRY(read(row)));
  return all;
}

template <class T>
std::optional<T> sum(const Grant& grant, std::optional<T> GrantedDevice::*member) {
  std::optional<T> total;
  for (const GrantedDevice& device : grant.devices)
    if (device.*member) total = total.value_or(T{}) + *(device.*member);
  return total;
}

}  // namespace

Result<std::vector<Json>> fetch_rows(Agent& agent, const std::string& target, const char* key) {
  const Json json = TRY(agent.json("GET", target));
  const Json* rows = json.is_object() && json.contains(key) ? &json[key] : &json;
  if (!rows->is_array()) return fail(Errc::Internal, "the agent's answer to {} has no list of {}", target, key);
  return std::vector<Json>(rows->begin(), rows->end());
}

Result<std::vector<Grant>> fetch_grants(Agent& agent) {
  return read_all(TRY(fetch_rows(agent, "/api/v1/grants", "grants")), read_grant);
}

Result<std::vector<Device>> fetch_devices(Agent& agent) {
  return read_all(TRY(fetch_rows(agent, "/api/v1/devices", "devices")), read_device);
}

Result<int> print_json(Context& context, Agent& agent, const std::string& target) {
  const Json json = TRY(agent.json("GET", target));
  context.out.write(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  return kDone;
}

std::string bytes_or_dash(const std::optional<std::uint64_t>& bytes) { return bytes ? format_bytes(*bytes) : "-"; }

std::string percent_or_dash(const std::optional<double>& percent) {
  return percent ? fmt::format("{:.0f} %", *percent) : "-";
}

std::string used_of(const std::optional<std::uint64_t>& used, const std::optional<std::uint64_t>& limit) {
  return fmt::format("{} / {}", bytes_or_dash(used), bytes_or_dash(limit));
}

std::string age(const std::optional<std::int64_t>& since_ms, WallTime now) {
  if (!since_ms || *since_ms <= 0) return "-";
  const auto passed = now - WallTime{std::chrono::milliseconds{*since_ms}};
  return format_duration(std::max<Nanoseconds>(std::chrono::floor<std::chrono::seconds>(passed), Nanoseconds::zero()));
}

std::optional<std::uint64_t> memory_used(const Grant& grant) { return sum(grant, &GrantedDevice::used_bytes); }
std::optional<std::uint64_t> memory_limit(const Grant& grant) { return sum(grant, &GrantedDevice::limit_bytes); }

std::optional<double> compute_used(const Grant& grant) {
  const auto total = sum(grant, &GrantedDevice::compute_percent);
  if (!total) return std::nullopt;
  return *total / static_cast<double>(grant.devices.size());
}

std::string cores_text(const Grant& grant) {
  if (grant.devices.empty()) return "-";
  const auto limit = grant.devices.front().core_percent;
  const auto used = compute_used(grant);
  const std::string shown = used ? fmt::format("{:.0f}", *used) : "-";
  if (limit && *limit > 0) return fmt::format("{} / {:.0f} %", shown, *limit);
  return fmt::format("{} / {}", percent_or_dash(used), grant.kind == "exclusive" ? "all" : "fair");
}

std::string devices_text(const Grant& grant) {
  std::vector<std::string> names;
  for (const GrantedDevice& device : grant.devices)
    names.push_back(device.index ? std::to_string(*device.index) : device.uuid);
  return names.empty() ? "-" : join(names, ",");
}

std::string command_text(const Grant& grant) { return grant.command.empty() ? "-" : join(grant.command, " "); }

std::string owner_text(const Grant& grant) {
  if (!grant.user.empty()) return grant.user;
  return grant.uid ? fmt::format("uid {}", *grant.uid) : "-";
}

}  // namespace kiboko::cli
