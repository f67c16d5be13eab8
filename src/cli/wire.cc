#include "cli/wire.h"

#include <nlohmann/json.hpp>

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

GrantedDevice read_granted_device(const Json& json) {
  const Members members{json};
  GrantedDevice device;
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

ProcessUse read_process(const Json& json) {
  const Members members{json};
  ProcessUse process;
  members.read("pid", process.pid);
  members.read("used_bytes", process.used_bytes);
  members.read("command", process.command);
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

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

std::string ask_json(const Ask& ask) {
  Json json = {{"count", ask.count},
               {"memory_bytes", or_null(ask.memory_bytes)},
               {"memory_percent", or_null(ask.memory_percent)},
               {"core_percent", or_null(ask.core_percent)},
               {"exclusive", ask.exclusive},
               {"devices", ask.devices},
               {"policy", ask.policy},
               {"priority", ask.priority},
               {"wait", ask.wait},
               {"command", ask.command},
               {"cwd", ask.cwd},
               {"keeper_pid", ask.keeper_pid}};
  if (!ask.type.empty()) json["type"] = ask.type;
  // Arguments need not be UTF-8; what is not is shown as U+FFFD.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Grant> read_grant(const Json& json) {
  const Members members{json};
  Grant grant;
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
  members.read("command", grant.command);
  members.read("default_applied", grant.default_applied);
  members.read("created_ms", grant.created_ms);
  members.read("started_ms", grant.started_ms);
  members.read("ended_ms", grant.ended_ms);
  members.read("end_reason", grant.end_reason);
  if (const Json* owner = members.object("owner")) {
    Members{*owner}.read("user", grant.user);
    Members{*owner}.read("uid", grant.uid);
  }
  for (const Json& device : members.list("devices")) grant.devices.push_back(read_granted_device(device));
  for (const Json& process : members.list("processes")) grant.processes.push_back(read_process(process));
  if (const Json* environment = members.object("environment")) grant.environment = read_environment(*environment);
  if (const Json* waiting = members.object("waiting")) grant.waiting = read_waiting(*waiting);
  return grant;
}

Result<Device> read_device(const Json& json) {
  const Members members{json};
  Device device;
  members.read("uuid", device.uuid);
  if (device.uuid.empty()) return fail(Errc::Internal, "the agent's answer has a device without a uuid");
  members.read("index", device.index);
  members.read("model", device.model);
  members.read("health", device.health);
  members.read("reason", device.reason);
  members.read("simulated", device.simulated);
  members.read("total_bytes", device.total_bytes);
  members.read("granted_bytes", device.granted_bytes);
  members.read("used_bytes", device.used_bytes);
  members.read("granted_percent", device.granted_percent);
  members.read("compute_percent", device.compute_percent);
  members.read("grants", device.grants);
  for (const Json& process : members.list("strangers")) device.strangers.push_back(read_process(process));
  return device;
}

Refusal read_refusal(const Json& json) {
  const Members members{json};
  Refusal refusal;
  members.read("code", refusal.code);
  members.read("sentence", refusal.sentence);
  members.read("nearest", refusal.nearest);
  for (const Json& item : members.list("devices")) {
    const Members device{item};
    DeviceAnswer answer;
    device.read("uuid", answer.uuid);
    device.read("index", answer.index);
    device.read("code", answer.code);
    device.read("sentence", answer.sentence);
    refusal.devices.push_back(std::move(answer));
  }
  return refusal;
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

Result<Json> parse_json(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return fail(Errc::Internal, "the agent's answer is not JSON");
  return json;
}

}  // namespace kiboko::cli
