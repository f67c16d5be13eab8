// What somebody asks for, and why it was refused. Plain values; their JSON is in json.h.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "model/quantities.h"
#include "model/refusal.h"

namespace kiboko {

// When a compute limit counts: only while others use the device too, always, or never. HAMi's words.
enum class CorePolicy { Default, Force, Disable, Elastic };
enum class Priority { High, Low };

struct Ask {
  unsigned count = 1;           // devices; the numbers below are for each of them
  std::optional<Bytes> memory;  // at most one of memory and memory_percent
  std::optional<std::uint32_t> memory_percent;
  std::optional<CorePercent> cores;  // none: no limit of its own, a fair part when others compete
  bool exclusive = false;
  std::string type;                  // part of the model name, any case; empty = any
  std::vector<std::string> devices;  // UUIDs or indices that may be chosen from; empty = all
  CorePolicy policy = CorePolicy::Default;
  Priority priority = Priority::High;
  bool wait = true;
  std::vector<std::string> command;
  std::string cwd;
  pid_t keeper_pid = 0;  // 0 = whoever sends the ask
  bool operator==(const Ask&) const = default;
};

inline constexpr unsigned kMaxAskDevices = 16;

// A whole device, by either way of saying so.
inline bool wants_whole_device(const Ask& ask) {
  return ask.exclusive || (ask.memory_percent == 100U && ask.cores == kAllCores);
}

struct Refusal {
  RefusalCode code = RefusalCode::NoDevices;
  std::string sentence;
  std::vector<DeviceRefusal> devices;
  std::string nearest;          // the nearest change that would fit, empty when there is none
  bool fits_when_free = false;  // true: waiting can help
  bool operator==(const Refusal&) const = default;
};

}  // namespace kiboko
