// Which devices an ask fits on now: a table of rules, one loop, and a refusal that explains itself.
//
// Pure: no I/O, no clock, no state. What depends on the devices already picked is the picker's business (place.h).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/ask.h"
#include "model/device.h"

namespace kiboko {

// What an ask without a memory amount gets: a quarter of each device. Compute then has no limit of its own, and a fair
// part when others compete. The one place that says so; docs and `explain` repeat it.
inline constexpr std::uint32_t kDefaultMemoryPercent = 25;

// How many grants may share one device, unless the configuration says otherwise.
inline constexpr unsigned kDefaultSlots = 64;

// A device and what is granted of it.
struct DeviceState {
  Device device;
  Bytes reserve;  // never granted
  unsigned slots = kDefaultSlots;
  Bytes memory_granted;
  CorePercent cores_granted;  // sum over the grants that have a limit
  unsigned grants = 0;
  bool exclusive = false;  // one grant has all of it

  Bytes memory_grantable() const { return device.total - reserve; }
  Bytes memory_free() const { return memory_grantable() - memory_granted; }
  CorePercent cores_free() const { return kAllCores - cores_granted; }
};

// What an ask takes of one device, percentages and the default resolved.
struct Need {
  Bytes memory;
  CorePercent cores;  // what counts against the sum; 0 when the ask has no limit
  bool whole = false;
};
Need need_on(const DeviceState& state, const Ask& ask);
bool uses_default_share(const Ask& ask);

// The first rule that speaks against the device, or nothing.
std::optional<DeviceRefusal> refusal_on(const DeviceState& state, const Ask& ask);

// How many rules the device passes; the nearest miss of several is the one that passes most.
unsigned rules_passed(const DeviceState& state, const Ask& ask);

// The device as it would be with nothing granted and in good health: does waiting make sense?
DeviceState emptied(const DeviceState& state);

// How much is missing on this device for the ask. All zero: it fits.
struct Shortage {
  Bytes memory;
  CorePercent cores;
  unsigned grants_in_the_way = 0;  // for a whole device, or a device somebody has whole
  bool none() const { return memory == Bytes{} && cores == CorePercent{} && grants_in_the_way == 0; }
  // Is `other` worse in any respect?
  bool worsened_by(const Shortage& other) const {
    return other.memory > memory || other.cores > cores || other.grants_in_the_way > grants_in_the_way;
  }
};
Shortage shortage_on(const DeviceState& state, const Ask& ask);

}  // namespace kiboko
