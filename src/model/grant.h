// A grant: who may use how much of which devices, from the ask to its end. Plain value; the host owns the live ones.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/ask.h"
#include "model/quantities.h"

namespace kiboko {

//            +--> Granted --first process--> Running --released--> Ending --+
// Waiting ---+                                                               +--> Ended
//            +-- withdrawn, keeper gone -------------------------------------+
enum class GrantState { Waiting, Granted, Running, Ending, Ended };
enum class GrantKind { Share, Exclusive };
// Enforced: the agent is root and the program is not. Cooperative: the same user, so accidents are stopped, intent not.
enum class GrantMode { Enforced, Cooperative };

std::string_view name(GrantState state);
std::string_view name(GrantKind kind);
std::string_view name(GrantMode mode);

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string user;  // "alice", or the number when it has no name
  bool operator==(const Owner&) const = default;
};

struct GrantDevice {
  DeviceUuid uuid;
  unsigned index = 0;
  std::string model;
  Bytes physical;
  Bytes limit;
  std::optional<CorePercent> cores;
  bool operator==(const GrantDevice&) const = default;
};

struct GrantWaiting {
  unsigned position = 0;  // 1 = next
  std::int64_t since_ms = 0;
  RefusalCode code = RefusalCode::Busy;
  std::string reason;
  bool operator==(const GrantWaiting&) const = default;
};

struct Grant {
  GrantId id;
  GrantState state = GrantState::Waiting;
  Owner owner;
  GrantMode mode = GrantMode::Cooperative;
  GrantKind kind = GrantKind::Share;
  Ask asked;
  bool default_applied = false;
  pid_t keeper_pid = 0;
  std::vector<GrantDevice> devices;
  std::int64_t created_ms = 0;  // unix milliseconds, as the next two
  std::optional<std::int64_t> started_ms, ended_ms;
  std::string end_reason;
  std::uint64_t revision = 1;  // moves with every change that a long poll should see
  std::optional<GrantWaiting> waiting;
  bool suspended = false;  // its programs launch nothing
  bool operator==(const Grant&) const = default;
};

// Does it hold its share now?
inline bool holds_share(GrantState state) {
  return state == GrantState::Granted || state == GrantState::Running || state == GrantState::Ending;
}

}  // namespace kiboko
