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
std::optional<T> sum(const GrantView& grant, std::optional<T> DeviceShare::*member) {
  std::optional<T> total;
  for (const DeviceShare& device : grant.devices)
    if (device.*member) total = total.value_or(T{}) + *(device.*member);
  return total;
}

}  // namespace

Result<std::vector<Json>> fetch_rows(Agent& agent, const std::string& target, const char* key) {
  const Json json = TRY(agent.json("GET", target));
  if (!json.is_object() || !json.contains(key) || !json[key].is_array())
    return fail(Errc::Internal, "the agent's answer to {} has no list of {}", target, key);
  return std::vector<Json>(json[key].begin(), json[key].end());
}

Result<std::vector<GrantView>> fetch_grants(Agent& agent, const std::string& target) {
  return read_all(TRY(fetch_rows(agent, target, "grants")), read_grant_view);
}

Result<std::vector<DeviceView>> fetch_devices(Agent& agent) {
  return read_all(TRY(fetch_rows(agent, "/api/v1/devices", "devices")), read_device_view);
}

Result<int> print_json(Context& context, Agent& agent, const std::string& target) {
  write_json(context.out, TRY(agent.json("GET", target)));
  return kDone;
}

void write_json(Output& out, const Json& json) {
  out.write(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

Result<std::string> checked_id(const std::string& word) {
  if (word.empty() || word.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos)
    return fail(Errc::Invalid, "'{}' is not the ID of a grant; `kiboko ps` lists them", harmless(word));
  return word;
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
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now - WallTime{std::chrono::milliseconds{*since_ms}});
  return seconds.count() <= 0 ? "0 s" : format_duration(seconds);  // clocks of two processes may differ a little
}

std::optional<std::uint64_t> memory_used(const GrantView& grant) { return sum(grant, &DeviceShare::used_bytes); }
std::optional<std::uint64_t> memory_limit(const GrantView& grant) { return sum(grant, &DeviceShare::limit_bytes); }

std::optional<double> compute_used(const GrantView& grant) {
  const auto total = sum(grant, &DeviceShare::compute_percent);
  if (!total) return std::nullopt;
  return *total / static_cast<double>(grant.devices.size());
}

std::string cores_limit_text(const GrantView& grant) {
  if (grant.kind == "exclusive") return "all";
  const auto limit = grant.devices.empty() ? std::nullopt : grant.devices.front().core_percent;
  return limit && *limit > 0 ? fmt::format("{:.0f} %", *limit) : "fair";
}

std::string cores_text(const GrantView& grant) {
  if (grant.devices.empty()) return "-";
  return fmt::format("{} / {}", percent_or_dash(compute_used(grant)), cores_limit_text(grant));
}

std::string devices_text(const GrantView& grant) {
  std::vector<std::string> names;
  for (const DeviceShare& device : grant.devices)
    names.push_back(device.index ? std::to_string(*device.index) : device.uuid);
  return names.empty() ? "-" : join(names, ",");
}

std::string command_text(const GrantView& grant) { return grant.command.empty() ? "-" : join(grant.command, " "); }

std::string owner_text(const GrantView& grant) {
  if (!grant.user.empty()) return grant.user;
  return grant.uid ? fmt::format("uid {}", *grant.uid) : "-";
}

std::string state_text(const GrantView& grant) { return grant.suspended ? "suspended" : grant.state; }

std::string violations_text(const Output& out, const std::vector<DeviceView>& devices) {
  std::string text;
  for (const DeviceView& device : devices)
    for (const ProcessView& process : device.strangers)
      text += fmt::format(
          "{} process {} ({}{}) uses {} of device {} {}\n", out.styled(Style::Bad, "violation:"), process.pid,
          process.command.empty() ? "?" : harmless(process.command), process.user.empty() ? "" : " of " + process.user,
          bytes_or_dash(process.used_bytes), device.index ? std::to_string(*device.index) : device.uuid,
          process.grant.empty() ? "without a grant" : fmt::format("in grant {}, but past its library", process.grant));
  return text;
}

std::string tampering_text(const Output& out, const std::vector<GrantView>& grants) {
  std::string text;
  for (const GrantView& grant : grants)
    for (const std::string& sentence : grant.tampering)
      text += fmt::format("{} {}\n", out.styled(Style::Bad, "violation:"), harmless(sentence));
  return text;
}

}  // namespace kiboko::cli
