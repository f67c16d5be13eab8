// The texts by which HAMi's scheduler and plugins speak through a node's annotations: handshakes and the lock.
//
// Pure functions. Times of a handshake are the writer's local time without saying which: the reader gives its distance
// from UTC.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace kiboko {

enum class HandshakeState {
  Reported,    // the plugin lives: "Reported 2024-01-02 03:04:05…" or "Reported_…"
  Requesting,  // the scheduler asked, and nobody has answered yet
  Deleted,     // the scheduler gave the devices up (before 2.10)
  Other,
};
struct Handshake {
  HandshakeState state = HandshakeState::Other;
  std::optional<WallTime> since;  // where the text has a time of the form that the scheduler writes
};
Handshake parse_handshake(std::string_view text, std::chrono::minutes utc_offset);
std::string requesting_text(WallTime now, std::chrono::minutes utc_offset);  // "Requesting_2024-01-02 03:04:05"

// Who holds a node's lock: "TIME,NAMESPACE,POD", and before 2.5 the time alone.
struct NodeLock {
  WallTime since;
  std::string pod_namespace, pod;  // both empty: not known
  bool operator==(const NodeLock&) const = default;
};
Result<NodeLock> parse_node_lock(std::string_view text);
std::string to_text(const NodeLock& lock);
// May this pod have it? The holder itself may enter again, and after `expiry` anybody may.
bool may_take(const NodeLock& lock, std::string_view pod_namespace, std::string_view pod, WallTime now,
              std::chrono::seconds expiry);

// "2024-01-02T03:04:05Z", "…05.123+08:00".
Result<WallTime> parse_rfc3339(std::string_view text);

}  // namespace kiboko
