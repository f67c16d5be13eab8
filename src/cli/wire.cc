#include "cli/wire.h"

#include <nlohmann/json.hpp>

#include "model/json.h"

namespace kiboko::cli {
namespace {

// The members of one object, each read by the type of where it goes. What is missing, null or of another type leaves
// the target as it was.
class Members {
 public:
  explicit Members(const Json& json) : json_(json) {}

  void read(const char* key, std::string& out) const {
    if (const Json* found = find(key); found != nullptr && found->is_string()) out = found->get<std::string>();
  }
  void read(const char* key, bool& out) const {
    if (const Json* found = find(key); found != nullptr && found->is_boolean()) out = found->get<bool>();
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  void read(const char* key, T& out) const {
    if (const Json* found = find(key); found != nullptr && found->is_number()) out = found->get<T>();
  }
  template <class T>
  void read(const char* key, std::optional<T>& out) const {
    T value{};
    if (const Json* found = find(key); found != nullptr && found->is_number()) out = (read(key, value), value);
  }
  void read(const char* key, std::vector<std::string>& out) const {
    for (const Json& item : list(key))
      if (item.is_string()) out.push_back(item.get<std::string>());
  }
  const Json* object(const char* key) const {
    const Json* found = find(key);
    return found != nullptr && found->is_object() ? found : nullptr;
  }
  const Json& list(const char* key) const {
    static const Json kEmpty = Json::array();
    const Json* found = find(key);
    return found != nullptr && found->is_array() ? *found : kEmpty;
  }

 private:
  const Json* find(const char* key) const {
    if (!json_.is_object()) return nullptr;
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }
  const Json& json_;
};

DeviceShare read_device_share(const Json& json) {
  const Members members{json};
  DeviceShare device;
  members.read("uuid", device.uuid);
  members.read("index", device.index);
  members.read("model", device.model);
  members.read("physical_bytes", device.physical_bytes);
  members.read("limit_bytes", device.limit_bytes);
  members.read("used_bytes", device.used_bytes);
  members.read("core_percent", device.core_percent);
  members.read("compute_percent", device.compute_percent);
  return device;
}

ProcessView read_process(const Json& json) {
  const Members members{json};
  ProcessView process;
  members.read("pid", process.pid);
  members.read("used_bytes", process.used_bytes);
  members.read("command", process.command);
  members.read("user", process.user);
  members.read("grant", process.grant);
  return process;
}

Waiting read_waiting(const Json& json) {
  const Members members{json};
  Waiting waiting;
  members.read("position", waiting.position);
  members.read("since_ms", waiting.since_ms);
  members.read("reason", waiting.reason);
  members.read("code", waiting.code);
  return waiting;
}

EnvironmentChanges read_environment(const Json& json) {
  EnvironmentChanges changes;
  for (const auto& [name, value] : json.items()) {
    if (value.is_string()) changes[name] = value.get<std::string>();
    if (value.is_null()) changes[name] = std::nullopt;
  }
  return changes;
}

DeviceAnswer read_answer(const Json& json) {
  const Members members{json};
  DeviceAnswer answer;
  members.read("uuid", answer.uuid);
  members.read("index", answer.index);
  members.read("code", answer.code);
  members.read("sentence", answer.sentence);
  members.read("asked", answer.asked);
  members.read("free", answer.free);
  members.read("fits", answer.fits);
  return answer;
}

}  // namespace

// Arguments need not be UTF-8; what is not is shown as U+FFFD.
std::string ask_body(const Ask& ask) { return to_json(ask).dump(-1, ' ', false, Json::error_handler_t::replace); }

Result<GrantView> read_grant_view(const Json& json) {
  const Members members{json};
  GrantView grant;
  members.read("id", grant.id);
  members.read("state", grant.state);
  if (grant.id.empty() || grant.state.empty())
    return fail(Errc::Internal, "the agent's answer is not a grant: id or state is missing");
  members.read("mode", grant.mode);
  members.read("kind", grant.kind);
  members.read("policy", grant.policy);
  members.read("priority", grant.priority);
  members.read("page", grant.page);
  members.read("region", grant.region);
  members.read("held_by", grant.held_by);
  members.read("command", grant.command);
  members.read("default_applied", grant.default_applied);
  members.read("created_ms", grant.created_ms);
  members.read("started_ms", grant.started_ms);
  members.read("ended_ms", grant.ended_ms);
  members.read("end_reason", grant.end_reason);
  members.read("suspended", grant.suspended);
  members.read("drained", grant.drained);
  if (const Json* owner = members.object("owner")) {
    Members{*owner}.read("user", grant.user);
    Members{*owner}.read("uid", grant.uid);
  }
  for (const Json& device : members.list("devices")) grant.devices.push_back(read_device_share(device));
  for (const Json& process : members.list("processes")) grant.processes.push_back(read_process(process));
  for (const Json& one : members.list("tampering"))
    if (std::string sentence; Members{one}.read("sentence", sentence), !sentence.empty())
      grant.tampering.push_back(std::move(sentence));
  if (const Json* environment = members.object("environment")) grant.environment = read_environment(*environment);
  if (const Json* waiting = members.object("waiting")) grant.waiting = read_waiting(*waiting);
  return grant;
}

Result<DeviceView> read_device_view(const Json& json) {
  const Members members{json};
  DeviceView device;
  members.read("uuid", device.uuid);
  if (device.uuid.empty()) return fail(Errc::Internal, "the agent's answer has a device without a uuid");
  members.read("index", device.index);
  members.read("model", device.model);
  members.read("health", device.health);
  members.read("reason", device.reason);
  members.read("simulated", device.simulated);
  members.read("unified_memory", device.unified_memory);
  members.read("total_bytes", device.total_bytes);
  members.read("granted_bytes", device.granted_bytes);
  members.read("used_bytes", device.used_bytes);
  members.read("compute_percent", device.compute_percent);
  members.read("grants", device.grants);
  for (const Json& process : members.list("strangers")) device.strangers.push_back(read_process(process));
  return device;
}

RefusalView read_refusal_view(const Json& json) {
  const Members members{json};
  RefusalView refusal;
  members.read("code", refusal.code);
  members.read("sentence", refusal.sentence);
  members.read("nearest", refusal.nearest);
  for (const Json& item : members.list("devices")) refusal.devices.push_back(read_answer(item));
  return refusal;
}

ExplanationView read_explanation_view(const Json& json) {
  const Members members{json};
  ExplanationView explanation;
  members.read("outcome", explanation.outcome);
  members.read("default_applied", explanation.default_applied);
  members.read("position", explanation.position);
  for (const Json& share : members.list("granted")) explanation.granted.push_back(read_device_share(share));
  if (const Json* refusal = members.object("refusal")) explanation.refusal = read_refusal_view(*refusal);
  for (const Json& item : members.list("devices")) explanation.devices.push_back(read_answer(item));
  return explanation;
}

EventView read_event_view(const Json& json) {
  const Members members{json};
  EventView event;
  members.read("id", event.id);
  members.read("time_ms", event.time_ms);
  members.read("severity", event.severity);
  members.read("kind", event.kind);
  members.read("grant", event.grant);
  members.read("device", event.device);
  members.read("sentence", event.sentence);
  return event;
}

CheckView read_check_view(const Json& json) {
  const Members members{json};
  CheckView check;
  members.read("name", check.name);
  members.read("health", check.health);
  members.read("sentence", check.sentence);
  members.read("next_step", check.next_step);
  return check;
}

MetaView read_meta_view(const Json& json) {
  const Members members{json};
  MetaView meta;
  members.read("version", meta.version);
  members.read("host", meta.host);
  members.read("mode", meta.mode);
  members.read("library", meta.library);
  members.read("simulated", meta.simulated);
  members.read("default_memory_percent", meta.default_memory_percent);
  if (const Json* you = members.object("you")) Members{*you}.read("manages_all", meta.manages_all);
  return meta;
}

std::string error_sentence(int status, const std::string& body) {
  const auto json = parse_json(body);
  if (json) {
    const Members members{*json};
    std::string sentence;
    for (const char* key : {"sentence", "detail", "title"}) {
      members.read(key, sentence);
      if (!sentence.empty()) return sentence;
    }
  }
  return fmt::format("the agent answered with status {}", status);
}

Result<Json> read_body(const std::string& body) {
  auto json = parse_json(body);
  if (!json) return fail(Errc::Internal, "the agent's answer cannot be read: {}", json.error().message);
  return std::move(*json);
}

}  // namespace kiboko::cli
