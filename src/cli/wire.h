// What the agent says, as plain values: the views of docs/api.md that commands look into. (What is asked goes out
// through model/json.h.)
//
// Readers are lenient: a member that is missing or null is "not known", and unknown members are ignored, so that a
// command line one version older or newer still works. Plain values, any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/environment.h"
#include "model/ask.h"

namespace kiboko::cli {

using Json = nlohmann::json;

std::string ask_body(const Ask& ask);

struct DeviceShare {
  std::string uuid, model;
  std::optional<int> index;
  std::optional<std::uint64_t> physical_bytes, limit_bytes, used_bytes;
  std::optional<double> core_percent, compute_percent;
  bool operator==(const DeviceShare&) const = default;
};

struct Waiting {
  int position = 0;
  std::int64_t since_ms = 0;
  std::string reason, code;
};

struct ProcessView {
  int pid = 0;
  std::optional<std::uint64_t> used_bytes;
  std::string command, user;
  std::string grant;  // of a stranger: the grant that it should be within, if any
};

struct GrantView {
  std::string id, state, user, mode, kind, policy, priority, page, region, held_by;
  std::optional<std::uint32_t> uid;
  std::vector<std::string> command;
  bool default_applied = false;
  std::vector<DeviceShare> devices;
  std::vector<ProcessView> processes;
  std::vector<std::string> tampering;  // sentences
  EnvironmentChanges environment;
  std::optional<std::int64_t> created_ms, started_ms, ended_ms;
  std::optional<Waiting> waiting;
  bool suspended = false;
  bool drained = false;    // nothing of it is in flight any more
  std::string end_reason;  // why it was refused or ended, when the agent says so

  bool is(std::string_view wanted) const { return state == wanted; }
  bool live() const { return is("granted") || is("running"); }
};
Result<GrantView> read_grant_view(const Json& json);

struct DeviceView {
  std::string uuid, model, health, reason;
  std::optional<int> index;
  bool simulated = false, unified_memory = false;
  std::optional<std::uint64_t> total_bytes, granted_bytes, used_bytes;
  std::optional<double> compute_percent;
  std::optional<int> grants;
  std::vector<ProcessView> strangers;  // processes on the device that no grant covers
};
Result<DeviceView> read_device_view(const Json& json);

struct DeviceAnswer {
  std::string uuid, code, sentence, asked, free;
  std::optional<int> index;
  bool fits = false;
};

struct RefusalView {
  std::string code, sentence, nearest;
  std::vector<DeviceAnswer> devices;
};
RefusalView read_refusal_view(const Json& json);

struct ExplanationView {
  std::string outcome;  // granted, waiting, refused
  bool default_applied = false;
  std::vector<DeviceShare> granted;
  std::optional<int> position;
  std::optional<RefusalView> refusal;
  std::vector<DeviceAnswer> devices;
};
ExplanationView read_explanation_view(const Json& json);

struct EventView {
  std::int64_t id = 0, time_ms = 0;
  std::string severity, kind, grant, device, sentence;
};
EventView read_event_view(const Json& json);

struct CheckView {
  std::string name, health, sentence, next_step;
};
CheckView read_check_view(const Json& json);

struct MetaView {
  std::string version, host, mode, library;
  bool simulated = false, manages_all = false;
  std::optional<int> default_memory_percent;
};
MetaView read_meta_view(const Json& json);

// The text of an error answer: a refusal's sentence, a problem's detail, or what status it was.
std::string error_sentence(int status, const std::string& body);

// An answer's body. What is not JSON is the agent's fault: Internal.
Result<Json> read_body(const std::string& body);

}  // namespace kiboko::cli
