// What the management library knows of a device beyond memory and time: health events, and the few settings.
//
// A small file beside the device set's own (`<set>.management-1`, mode 0666). All bytes zero is a valid state, so
// whoever opens it may make it. Any process may post or read; nothing is locked: an event is written into a slot that
// its sequence number chose and is then published in the slot, and the word that waiting readers sleep on is woken.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace sim {

inline constexpr int kHealthEvents = 256;  // the newest ones are kept
inline constexpr std::uint64_t kEventXid = 0x8;
inline constexpr std::uint64_t kXidDeviceLost = 79;  // "GPU has fallen off the bus"

struct HealthEvent {
  std::atomic<std::uint64_t> sequence;  // 1 for the first event ever; 0 = not written
  std::uint64_t monotonic_ns;
  std::uint64_t type;
  std::uint64_t data;
  std::int32_t device;
};

struct ManagementState {
  std::atomic<std::uint64_t> claimed;  // sequence number of the newest event begun
  std::atomic<std::uint32_t> bell;     // changes with each event; readers sleep on it
  HealthEvent events[kHealthEvents];
  struct PerDevice {
    std::atomic<std::uint32_t> lost;
    std::atomic<std::uint32_t> persistence;
    std::atomic<std::uint32_t> power_limit_mw;  // 0 = the product's
  } devices[16];
};

// Maps the state of the set called `set_name`; nullptr and one sentence in `error` on failure. Never unmapped.
ManagementState* attach_management(const std::string& set_name, std::string& error);

void post_event(ManagementState& state, int device, std::uint64_t type, std::uint64_t data);

struct EventCopy {
  std::uint64_t type;
  std::uint64_t data;
  int device;
};
// The oldest event after `cursor`, which moves on to it. Events overwritten meanwhile are skipped.
bool next_event(const ManagementState& state, std::uint64_t& cursor, EventCopy& out);

// Sleeps until an event arrives after `seen` was read from bell, or for `timeout_ms`.
void wait_for_event(const ManagementState& state, std::uint32_t seen, std::uint64_t timeout_ms);

}  // namespace sim
