#include "host/view.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/process.h"

namespace kiboko {
namespace {

using Json = nlohmann::json;

Json bytes_or_null(const std::optional<Bytes>& bytes) { return bytes ? Json(bytes->count) : Json(nullptr); }

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// What only those who may manage the grant are shown.
void hide_command(Json& json) {
  json["command"] = Json::array();
  json["asked"]["command"] = Json::array();
  json["asked"]["cwd"] = "";
}

Json process_view(const ProcessUse& process) {
  return {{"pid", process.pid}, {"used_bytes", bytes_or_null(process.used)}, {"command", process.command}};
}

// What the meter knows, or failing that the members alone.
Json processes_view(const LiveGrant& live) {
  Json list = Json::array();
  for (const ProcessUse& process : live.meter.usage().processes)
    if (live.members.has(process.pid)) list.push_back(process_view(process));
  for (const ProcessId& member : live.members.processes()) {
    const auto& shown = live.meter.usage().processes;
    if (std::ranges::find(shown, member.pid, &ProcessUse::pid) != shown.end()) continue;
    const auto stat = process_stat(member.pid);
    list.push_back(process_view({member.pid, std::nullopt, stat ? stat->command : std::string()}));
  }
  return list;
}

Json tampering_view(const LiveGrant& live) {
  Json list = Json::array();
  for (const Tampering& one : live.tampering.found())
    list.push_back({{"kind", name(one.kind)},
                    {"device", one.device.text.empty() ? Json(nullptr) : Json(one.device.text)},
                    {"pid", one.pid == 0 ? Json(nullptr) : Json(one.pid)},
                    {"sentence", one.sentence}});
  return list;
}

Json environment_view(const Environment& environment) {
  Json json = Json::object();
  for (const auto& [name, value] : environment) json[name] = or_null(value);
  return json;
}

Json stranger_view(const Stranger& stranger) {
  return {{"pid", stranger.process.pid},
          {"used_bytes", bytes_or_null(stranger.seen.used)},
          {"command", stranger.command},
          {"uid", stranger.uid},
          {"user", user_name(stranger.uid)},
          {"grant", stranger.grant.text.empty() ? Json(nullptr) : Json(stranger.grant.text)}};
}

}  // namespace

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json grant_view(const Host& host, const LiveGrant& live, const Caller& caller) {
  const Grant& grant = live.grant();
  Json json = to_json(grant);
  const auto& used = live.meter.usage().devices;
  for (std::size_t i = 0; i < grant.devices.size(); ++i) {
    const DeviceUse use = i < used.size() ? used[i] : DeviceUse{};
    json["devices"][i]["used_bytes"] = bytes_or_null(use.used);
    json["devices"][i]["compute_percent"] = or_null(use.compute_percent);
    json["devices"][i]["launches"] = use.counters ? Json(use.counters->launches) : Json(nullptr);
    json["devices"][i]["throttled_ms"] = use.counters ? Json(use.counters->throttled_ns / 1'000'000) : Json(nullptr);
    json["devices"][i]["memory_refusals"] = use.counters ? Json(use.counters->refusals) : Json(nullptr);
  }
  const bool has_page = holds_share(grant.state) && grant.kind == GrantKind::Share;
  json["page"] = has_page ? Json(live.paths.page) : Json(nullptr);
  json["region"] = has_page ? Json(live.paths.region) : Json(nullptr);
  json["drained"] = grant.suspended ? Json(live.drained) : Json(nullptr);
  json["held_by"] = live.in_cgroup ? "control group" : "process handles";
  json["tampering"] = Json::array();
  if (caller.may_manage(grant)) {
    json["processes"] = processes_view(live);
    json["tampering"] = tampering_view(live);
  } else {
    hide_command(json);
  }
  if (caller.owns(grant) && holds_share(grant.state)) json["environment"] = environment_view(host.environment(live));
  return json;
}

Json ended_view(const Grant& grant, const Caller& caller) {
  Json json = to_json(grant);
  for (Json& device : json["devices"])
    for (const char* use : {"used_bytes", "compute_percent", "launches", "throttled_ms", "memory_refusals"})
      device[use] = nullptr;
  json["processes"] = Json::array();
  json["tampering"] = Json::array();
  json["page"] = nullptr;
  json["region"] = nullptr;
  if (!caller.may_manage(grant)) hide_command(json);
  return json;
}

Json devices_view(const Host& host, const Caller& caller) {
  Json list = Json::array();
  const Watcher::View view = host.survey();
  for (const DeviceState& state : host.devices()) {
    const Device& device = state.device;
    DeviceSample sample;
    for (const DeviceSample& one : view.survey->samples)
      if (one.uuid == device.uuid) sample = one;
    Json strangers = Json::array();
    for (const Stranger& stranger : host.strangers())
      if (stranger.device == device.uuid) {
        strangers.push_back(stranger_view(stranger));
        if (!caller.manages_all && stranger.uid != caller.uid) strangers.back()["command"] = "";
      }
    Json grants = Json::array();
    for (const LiveGrant* live : host.live())
      if (holds_share(live->grant().state) &&
          std::ranges::find(live->grant().devices, device.uuid, &GrantDevice::uuid) != live->grant().devices.end())
        grants.push_back(live->grant().id.text);
    list.push_back({{"uuid", device.uuid.text},
                    {"index", device.index},
                    {"model", device.model},
                    {"pci", device.pci.empty() ? Json(nullptr) : Json(device.pci)},
                    {"simulated", device.simulated},
                    {"health", device.healthy ? "healthy" : "unhealthy"},
                    {"reason", device.healthy ? Json(nullptr) : Json(device.trouble)},
                    {"total_bytes", device.total.count},
                    {"unified_memory", device.unified},
                    {"reserve_bytes", state.reserve.count},
                    {"granted_bytes", state.memory_granted.count},
                    {"free_bytes", state.exclusive ? 0 : state.memory_free().count},
                    {"granted_percent", state.cores_granted.count},
                    {"used_bytes", bytes_or_null(sample.used)},
                    {"compute_percent", or_null(sample.compute_percent)},
                    {"exclusive", state.exclusive},
                    {"grants", state.grants},
                    {"grant_ids", std::move(grants)},
                    {"strangers", std::move(strangers)}});
  }
  return list;
}

Json queue_view(const Host& host, const Caller& caller) {
  Json list = Json::array();
  for (const LiveGrant* live : host.queue()) list.push_back(grant_view(host, *live, caller));
  return list;
}

Json explanation_view(const Host::Explanation& explanation) {
  Json answers = Json::array();
  for (const DeviceRefusal& answer : explanation.answers) {
    const bool fits = answer.sentence.empty();
    answers.push_back({{"uuid", answer.uuid.text},
                       {"index", answer.index},
                       {"fits", fits},
                       {"code", fits ? Json(nullptr) : Json(name(answer.code))},
                       {"sentence", fits ? fmt::format("device {} ({}): fits; asked {}, {} free", answer.index,
                                                       answer.uuid.text, answer.asked, answer.free)
                                         : answer.sentence},
                       {"asked", answer.asked},
                       {"free", answer.free}});
  }
  Json granted = Json::array();
  for (const GrantDevice& device : explanation.devices)
    granted.push_back({{"uuid", device.uuid.text},
                       {"index", device.index},
                       {"model", device.model},
                       {"limit_bytes", device.limit.count},
                       {"core_percent", device.cores ? Json(device.cores->count) : Json(nullptr)}});
  const char* outcome = !explanation.refusal ? "granted" : explanation.would_wait ? "waiting" : "refused";
  return {{"outcome", outcome},
          {"default_applied", explanation.default_applied},
          {"granted", std::move(granted)},
          {"position", explanation.would_wait ? Json(explanation.position) : Json(nullptr)},
          {"refusal", explanation.refusal ? to_json(*explanation.refusal) : Json(nullptr)},
          {"devices", std::move(answers)}};
}

Json event_view(const Event& event) {
  return {{"id", event.id},
          {"time_ms", event.time_ms},
          {"severity", event.severity == Severity::Info ? "info" : "warning"},
          {"kind", event.kind},
          {"grant", event.grant.text.empty() ? Json(nullptr) : Json(event.grant.text)},
          {"device", event.device.text.empty() ? Json(nullptr) : Json(event.device.text)},
          {"pid", event.pid == 0 ? Json(nullptr) : Json(event.pid)},
          {"sentence", event.sentence}};
}

}  // namespace kiboko
