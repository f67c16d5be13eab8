// Why something was not placed: one code, one name, one sentence each, wherever it is said. docs/refusals.md lists
// them.
//
// Plain values and pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "model/quantities.h"

namespace kiboko {

enum class RefusalCode : std::uint8_t {
  Memory,
  Cores,
  Count,
  Type,
  Device,
  Exclusive,
  Busy,
  Slots,
  Unhealthy,
  NoDevices,
  // What only clusters know.
  Ask,
  Cordoned,
  Mode,
  Numa,
  Topology,
  Mutex,
  Exhausted,
  OneDevice,
  SliceSize,
  Template,
  AppClass,
  Qos,
  Mig,
  Quota,
  NodeUnknown,
  NodeUnreadable,
  Cpu,
  HostMemory,
};
inline constexpr std::size_t kRefusalCodes = static_cast<std::size_t>(RefusalCode::HostMemory) + 1;

struct RefusalWords {
  RefusalCode code;
  std::string_view name;      // in JSON, events and metrics: "memory", …
  std::string_view hami;      // what HAMi's events call it; empty: it has no word for it
  std::string_view sentence;  // what it means
};
std::span<const RefusalWords> refusal_words();  // of every code, in their order
const RefusalWords& words_of(RefusalCode code);
std::string_view name(RefusalCode code);

struct DeviceRefusal {
  DeviceUuid uuid;
  unsigned index = 0;
  RefusalCode code = RefusalCode::Memory;
  std::string sentence;
  std::string asked, free;  // for people: "10.0 GiB", "30 %"
  bool operator==(const DeviceRefusal&) const = default;
};

}  // namespace kiboko
