// What one container wants of one accelerator family, in that family's own units. Plain value: made from a pod by
// vendors/ask.h, understood by whoever places it without knowing the family.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/cluster_device.h"

namespace kiboko {

// Of each device.
struct MemoryAsk {
  enum class Kind {
    Whole,    // all that the device has
    Amount,   // `value` MiB
    Percent,  // `value` hundredths of what it has
    Slices,   // one slice of size `value`
    Spec,     // `value` as written: the family's hook finds the unit and the slice
  };
  Kind kind = Kind::Whole;
  std::int64_t value = 0;
  bool whole = false;  // an Amount that stands for a whole device
  bool operator==(const MemoryAsk&) const = default;
};

struct CoresAsk {
  enum class Kind {
    Units,            // `value` in the unit that devices count in
    PercentOfDevice,  // `value` hundredths of what the device counts, at least one
    All,              // all that the device has
    Divided,          // `value` cores in all, on as few devices as hold them
  };
  Kind kind = Kind::Units;
  std::int64_t value = 0;
  bool operator==(const CoresAsk&) const = default;
};

struct DeviceAsk {
  std::string family;  // its key
  std::uint32_t count = 1;
  MemoryAsk memory;
  CoresAsk cores;
  std::string template_name;                         // of the vendor's fixed sizes; empty: none
  CoreUnits template_cores;                          // what that template takes besides
  std::vector<std::string> use_types, no_use_types;  // parts of model names, any case
  std::vector<std::string> use_uuids, no_use_uuids;
  bool numa_bind = false;
  std::string modes;  // device modes that will do, as the pod wrote them; empty: any
  std::map<std::string, std::string, std::less<>> traits;  // words that only the family's tests and hooks know
  bool operator==(const DeviceAsk&) const = default;
};

// All memory of a device, by either way of saying so?
inline bool wants_whole_memory(const DeviceAsk& ask) {
  return ask.memory.kind == MemoryAsk::Kind::Whole ||
         (ask.memory.kind == MemoryAsk::Kind::Percent && ask.memory.value >= 100);
}

// The ask in numbers of one device. A part of a percentage is left out, but at least one compute unit is asked for.
MiB memory_on(const DeviceAsk& ask, MiB total);
CoreUnits cores_on(const DeviceAsk& ask, CoreUnits total);

}  // namespace kiboko
