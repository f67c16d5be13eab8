#include "model/json.h"

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>

namespace kiboko {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxText = 128U << 10U;      // one name, path or argument: what execve takes
constexpr std::size_t kMaxArguments = 64U << 10U;  // of a command line

Result<std::string> text_of(const Json& json, std::string_view key) {
  if (!json.is_string()) return fail(Errc::Invalid, "'{}' must be a text", key);
  const auto& text = json.get_ref<const std::string&>();
  if (text.size() > kMaxText) return fail(Errc::Invalid, "'{}' is longer than {} bytes", key, kMaxText);
  if (text.find('\0') != std::string::npos) return fail(Errc::Invalid, "'{}' has a zero byte in it", key);
  return text;
}

Result<std::vector<std::string>> texts_of(const Json& json, std::string_view key) {
  if (!json.is_array() || json.size() > kMaxArguments)
    return fail(Errc::Invalid, "'{}' must be a list of at most {} texts", key, kMaxArguments);
  std::vector<std::string> texts;
  for (const Json& item : json) texts.push_back(TRY(text_of(item, key)));
  return texts;
}

template <class T>
Result<T> number_of(const Json& json, std::string_view key, T low, T high) {
  if (json.is_number_integer() && (json.is_number_unsigned() || json.get<std::int64_t>() >= 0)) {
    const auto number = json.get<std::uint64_t>();
    if (number >= static_cast<std::uint64_t>(low) && number <= static_cast<std::uint64_t>(high))
      return static_cast<T>(number);
  }
  return fail(Errc::Invalid, "'{}' must be a whole number from {} to {}, not {}", key, low, high,
              json.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 64));
}

Result<bool> truth_of(const Json& json, std::string_view key) {
  if (!json.is_boolean()) return fail(Errc::Invalid, "'{}' must be true or false", key);
  return json.get<bool>();
}

// One of a list of words, by its place in it.
template <class Enum, std::size_t N>
Result<Enum> word_of(const Json& json, std::string_view key, const std::array<std::string_view, N>& words) {
  const std::string text = TRY(text_of(json, key));
  for (std::size_t i = 0; i < N; ++i)
    if (words[i] == text) return static_cast<Enum>(i);
  std::string known;
  for (const std::string_view word : words) known += (known.empty() ? "" : ", ") + std::string(word);
  return fail(Errc::Invalid, "'{}' is '{}': use one of {}", key, text, known);
}

constexpr std::array<std::string_view, 4> kPolicies = {"default", "force", "disable", "elastic"};
constexpr std::array<std::string_view, 2> kPriorities = {"high", "low"};
constexpr std::array<std::string_view, 5> kStates = {"waiting", "granted", "running", "ending", "ended"};
constexpr std::array<std::string_view, 2> kKinds = {"share", "exclusive"};
constexpr std::array<std::string_view, 2> kModes = {"enforced", "cooperative"};
const std::array<std::string_view, kRefusalCodes> kCodes = [] {
  std::array<std::string_view, kRefusalCodes> names;
  for (const RefusalWords& words : refusal_words()) names[static_cast<std::size_t>(words.code)] = words.name;
  return names;
}();

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 50U;  // a pebibyte: more than any device has
constexpr pid_t kMostPid = 1 << 22;

// Reads the members of `json` by a table of key and function. Null means "as if absent".
template <class T>
struct Member {
  std::string_view key;
  std::function<Result<void>(T&, const Json&)> read;
};

template <class T>
Result<T> read_members(const Json& json, std::string_view what, const std::vector<Member<T>>& members) {
  if (!json.is_object()) return fail(Errc::Invalid, "{} must be a JSON object", what);
  T value;
  for (const auto& entry : json.items()) {  // not a structured binding: clang 14 cannot capture those
    const std::string& key = entry.key();
    const Json& item = entry.value();
    const auto member = std::find_if(members.begin(), members.end(), [&](const auto& m) { return m.key == key; });
    if (member == members.end()) return fail(Errc::Invalid, "{} has an unknown key '{}'", what, key.substr(0, 64));
    if (!item.is_null()) TRY(member->read(value, item));
  }
  return value;
}

#define READ(type, key_text, field, ...)                          \
  {                                                               \
    key_text, [](type& it, const Json& json) -> Result<void> {    \
      [[maybe_unused]] constexpr std::string_view key = key_text; \
      it.field = TRY(__VA_ARGS__);                                \
      return {};                                                  \
    }                                                             \
  }

const std::vector<Member<Ask>>& ask_members() {
  static const std::vector<Member<Ask>> kMembers = {
      READ(Ask, "count", count, number_of<unsigned>(json, key, 1, kMaxAskDevices)),
      READ(Ask, "memory_bytes", memory,
           number_of<std::uint64_t>(json, key, 1, kMostBytes).map([](auto n) { return Bytes{n}; })),
      READ(Ask, "memory_percent", memory_percent, number_of<std::uint32_t>(json, key, 1, 100)),
      READ(Ask, "core_percent", cores,
           number_of<std::uint32_t>(json, key, 1, 100).map([](auto n) { return CorePercent{n}; })),
      READ(Ask, "exclusive", exclusive, truth_of(json, key)),
      READ(Ask, "type", type, text_of(json, key)),
      READ(Ask, "devices", devices, texts_of(json, key)),
      READ(Ask, "policy", policy, word_of<CorePolicy>(json, key, kPolicies)),
      READ(Ask, "priority", priority, word_of<Priority>(json, key, kPriorities)),
      READ(Ask, "wait", wait, truth_of(json, key)),
      READ(Ask, "command", command, texts_of(json, key)),
      READ(Ask, "cwd", cwd, text_of(json, key)),
      READ(Ask, "keeper_pid", keeper_pid, number_of<pid_t>(json, key, 0, kMostPid)),
  };
  return kMembers;
}

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json to_json(const GrantDevice& device) {
  return {{"uuid", device.uuid.text},
          {"index", device.index},
          {"model", device.model},
          {"physical_bytes", device.physical.count},
          {"limit_bytes", device.limit.count},
          {"core_percent", device.cores ? Json(device.cores->count) : Json(nullptr)}};
}

Json to_json(const GrantWaiting& waiting) {
  return {{"position", waiting.position},
          {"since_ms", waiting.since_ms},
          {"reason", waiting.reason},
          {"code", name(waiting.code)}};
}

constexpr std::int64_t kMostMillis = std::int64_t{1} << 53;

const std::vector<Member<GrantDevice>>& device_members() {
  static const std::vector<Member<GrantDevice>> kMembers = {
      READ(GrantDevice, "uuid", uuid.text, text_of(json, key)),
      READ(GrantDevice, "index", index, number_of<unsigned>(json, key, 0, 65535)),
      READ(GrantDevice, "model", model, text_of(json, key)),
      READ(GrantDevice, "physical_bytes", physical.count, number_of<std::uint64_t>(json, key, 0, kMostBytes)),
      READ(GrantDevice, "limit_bytes", limit.count, number_of<std::uint64_t>(json, key, 0, kMostBytes)),
      READ(GrantDevice, "core_percent", cores,
           number_of<std::uint32_t>(json, key, 1, 100).map([](auto n) { return CorePercent{n}; })),
  };
  return kMembers;
}

const std::vector<Member<Owner>>& owner_members() {
  static const std::vector<Member<Owner>> kMembers = {
      READ(Owner, "uid", uid, number_of<uid_t>(json, key, 0, static_cast<uid_t>(-1))),
      READ(Owner, "gid", gid, number_of<gid_t>(json, key, 0, static_cast<gid_t>(-1))),
      READ(Owner, "user", user, text_of(json, key)),
  };
  return kMembers;
}

const std::vector<Member<GrantWaiting>>& waiting_members() {
  static const std::vector<Member<GrantWaiting>> kMembers = {
      READ(GrantWaiting, "position", position, number_of<unsigned>(json, key, 0, 1U << 30U)),
      READ(GrantWaiting, "since_ms", since_ms, number_of<std::int64_t>(json, key, 0, kMostMillis)),
      READ(GrantWaiting, "reason", reason, text_of(json, key)),
      READ(GrantWaiting, "code", code, word_of<RefusalCode>(json, key, kCodes)),
  };
  return kMembers;
}

Result<std::vector<GrantDevice>> devices_of(const Json& json) {
  if (!json.is_array()) return fail(Errc::Invalid, "'devices' must be a list");
  std::vector<GrantDevice> devices;
  for (const Json& item : json) devices.push_back(TRY(read_members<GrantDevice>(item, "a device", device_members())));
  return devices;
}

const std::vector<Member<Grant>>& grant_members() {
  static const std::vector<Member<Grant>> kMembers = {
      READ(Grant, "id", id.text, text_of(json, key)),
      READ(Grant, "state", state, word_of<GrantState>(json, key, kStates)),
      READ(Grant, "owner", owner, read_members<Owner>(json, key, owner_members())),
      READ(Grant, "mode", mode, word_of<GrantMode>(json, key, kModes)),
      READ(Grant, "kind", kind, word_of<GrantKind>(json, key, kKinds)),
      READ(Grant, "asked", asked, ask_from_json(json)),
      READ(Grant, "default_applied", default_applied, truth_of(json, key)),
      READ(Grant, "keeper_pid", keeper_pid, number_of<pid_t>(json, key, 0, kMostPid)),
      READ(Grant, "devices", devices, devices_of(json)),
      READ(Grant, "created_ms", created_ms, number_of<std::int64_t>(json, key, 0, kMostMillis)),
      READ(Grant, "started_ms", started_ms, number_of<std::int64_t>(json, key, 0, kMostMillis)),
      READ(Grant, "ended_ms", ended_ms, number_of<std::int64_t>(json, key, 0, kMostMillis)),
      READ(Grant, "end_reason", end_reason, text_of(json, key)),
      READ(Grant, "revision", revision, number_of<std::uint64_t>(json, key, 0, std::uint64_t{1} << 53U)),
      READ(Grant, "waiting", waiting, read_members<GrantWaiting>(json, key, waiting_members())),
      READ(Grant, "suspended", suspended, truth_of(json, key)),
      // Written for readers of the interface; follow from the members above.
      READ(Grant, "command", asked.command, texts_of(json, key)),
      READ(Grant, "policy", asked.policy, word_of<CorePolicy>(json, key, kPolicies)),
      READ(Grant, "priority", asked.priority, word_of<Priority>(json, key, kPriorities)),
  };
  return kMembers;
}
#undef READ

}  // namespace

// nlohmann's parser recurses for each level; a hostile body must not use up the stack.
bool nested_too_deep(std::string_view text) {
  constexpr int kMaxDepth = 64;
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

Result<Json> parse_json(std::string_view text) {
  if (nested_too_deep(text)) return fail(Errc::Invalid, "the JSON is nested too deep");
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return fail(Errc::Invalid, "the text is not JSON");
  return json;
}

Json to_json(const Ask& ask) {
  return {{"count", ask.count},
          {"memory_bytes", ask.memory ? Json(ask.memory->count) : Json(nullptr)},
          {"memory_percent", or_null(ask.memory_percent)},
          {"core_percent", ask.cores ? Json(ask.cores->count) : Json(nullptr)},
          {"exclusive", ask.exclusive},
          {"type", ask.type.empty() ? Json(nullptr) : Json(ask.type)},
          {"devices", ask.devices},
          {"policy", kPolicies[static_cast<std::size_t>(ask.policy)]},
          {"priority", kPriorities[static_cast<std::size_t>(ask.priority)]},
          {"wait", ask.wait},
          {"command", ask.command},
          {"cwd", ask.cwd},
          {"keeper_pid", ask.keeper_pid == 0 ? Json(nullptr) : Json(ask.keeper_pid)}};
}

Json to_json(const Refusal& refusal) {
  Json devices = Json::array();
  for (const DeviceRefusal& device : refusal.devices)
    devices.push_back({{"uuid", device.uuid.text},
                       {"index", device.index},
                       {"code", name(device.code)},
                       {"sentence", device.sentence},
                       {"asked", device.asked},
                       {"free", device.free}});
  return {{"code", name(refusal.code)},
          {"sentence", refusal.sentence},
          {"devices", std::move(devices)},
          {"nearest", refusal.nearest.empty() ? Json(nullptr) : Json(refusal.nearest)},
          {"fits_when_free", refusal.fits_when_free}};
}

Json to_json(const Grant& grant) {
  Json devices = Json::array();
  for (const GrantDevice& device : grant.devices) devices.push_back(to_json(device));
  return {{"id", grant.id.text},
          {"state", name(grant.state)},
          {"owner", {{"uid", grant.owner.uid}, {"gid", grant.owner.gid}, {"user", grant.owner.user}}},
          {"mode", name(grant.mode)},
          {"kind", name(grant.kind)},
          {"command", grant.asked.command},
          {"keeper_pid", grant.keeper_pid},
          {"asked", to_json(grant.asked)},
          {"default_applied", grant.default_applied},
          {"devices", std::move(devices)},
          {"policy", kPolicies[static_cast<std::size_t>(grant.asked.policy)]},
          {"priority", kPriorities[static_cast<std::size_t>(grant.asked.priority)]},
          {"created_ms", grant.created_ms},
          {"started_ms", or_null(grant.started_ms)},
          {"ended_ms", or_null(grant.ended_ms)},
          {"end_reason", grant.end_reason.empty() ? Json(nullptr) : Json(grant.end_reason)},
          {"revision", grant.revision},
          {"waiting", grant.waiting ? to_json(*grant.waiting) : Json(nullptr)},
          {"suspended", grant.suspended}};
}

Result<Ask> ask_from_json(const Json& json) {
  Ask ask = TRY(read_members<Ask>(json, "the ask", ask_members()));
  if (ask.memory && ask.memory_percent)
    return fail(Errc::Invalid, "'memory_bytes' and 'memory_percent' exclude each other: give one of them");
  if (ask.exclusive && (ask.memory || ask.memory_percent || ask.cores))
    return fail(Errc::Invalid, "'exclusive' means the whole device: leave out memory and cores");
  return ask;
}

Result<Ask> parse_ask(std::string_view text) { return ask_from_json(TRY(parse_json(text))); }

Result<Grant> grant_from_json(const Json& json) { return read_members<Grant>(json, "the grant", grant_members()); }

Result<Resize> parse_resize(std::string_view text) {
  // A resize is the two amounts of an ask under the same names and bounds.
  const Json json = TRY(parse_json(text));
  if (!json.is_object()) return fail(Errc::Invalid, "the resize must be a JSON object");
  for (const auto& [key, item] : json.items())
    if (key != "memory_bytes" && key != "core_percent")
      return fail(Errc::Invalid, "a resize has no key '{}': give memory_bytes, core_percent or both",
                  key.substr(0, 64));
  const Ask ask = TRY(ask_from_json(json));
  if (!ask.memory && !ask.cores)
    return fail(Errc::Invalid, "the resize changes nothing: give memory_bytes or core_percent");
  return Resize{ask.memory, ask.cores};
}

}  // namespace kiboko
