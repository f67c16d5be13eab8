// What the agent says, as plain values: the objects of docs/api.md that commands look into.
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

namespace kiboko::cli {

using Json = nlohmann::json;

struct Ask {
  std::uint32_t count = 1;
  std::optional<std::uint64_t> memory_bytes;
  std::optional<std::uint32_t> memory_percent;
  std::optional<std::uint32_t> core_percent;
  bool exclusive = false;
  std::string type;
  std::vector<std::string> devices;
  std::string policy = "default";
  std::string priority = "high";
  bool wait = true;
  std::vector<std::string> command;
  std::string cwd;
  int keeper_pid = 0;
};
std::string ask_json(const Ask& ask);

struct GrantedDevice {
  std::string uuid, model;
  std::optional<int> index;
  std::optional<std::uint64_t> physical_bytes, limit_bytes, used_bytes;
  std::optional<double> core_percent, compute_percent;
};

struct Waiting {
  int position = 0;
  std::int64_t since_ms = 0;
  std::string reason, code;
};

struct ProcessUse {
  int pid = 0;
  std::optional<std::uint64_t> used_bytes;
  std::string command;
};

struct Grant {
  std::string id, state, user, mode, kind, policy, priority, page, region;
  std::optional<std::uint32_t> uid;
  std::vector<std::string> command;
  bool default_applied = false;
  std::vector<GrantedDevice> devices;
  std::vector<ProcessUse> processes;
  EnvironmentChanges environment;
  std::optional<std::int64_t> created_ms, started_ms, ended_ms;
  std::optional<Waiting> waiting;
  std::string end_reason;  // why it was refused or ended, when the agent says so

  bool is(std::string_view wanted) const { return state == wanted; }
  bool live() const { return is("granted") || is("running"); }
};
Result<Grant> read_grant(const Json& json);

struct Device {
  std::string uuid, model, health, reason;
  std::optional<int> index;
  bool simulated = false;
  std::optional<std::uint64_t> total_bytes, granted_bytes, used_bytes;
  std::optional<double> granted_percent, compute_percent;
  std::optional<int> grants;
  std::vector<ProcessUse> strangers;  // processes on the device that no grant covers
};
Result<Device> read_device(const Json& json);

struct DeviceAnswer {
  std::string uuid, code, sentence;
  std::optional<int> index;
};

struct Refusal {
  std::string code, sentence, nearest;
  std::vector<DeviceAnswer> devices;
};
Refusal read_refusal(const Json& json);

// The text of an error answer: a refusal's sentence, a problem's detail, or what status it was.
std::string error_sentence(int status, const std::string& body);

Result<Json> parse_json(const std::string& text);

}  // namespace kiboko::cli
