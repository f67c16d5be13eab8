// Devices of a cluster as annotations tell of them: what a node registers, and what a pod was given. Plain values; the
// texts are read and written by registration.h, allocation.h and mig_allocation.h.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/quantities.h"

namespace kiboko {

// Where an instance lies on a GPU, in memory slices.
struct MigPlacement {
  std::uint32_t start = 0, size = 0;
  auto operator<=>(const MigPlacement&) const = default;
};

struct MigProfile {
  std::string name;  // "2g.10gb"
  MiB memory;
  CoreUnits cores;  // hundredths of the whole GPU
  std::uint32_t slices = 0;
  std::vector<MigPlacement> placements;
  bool operator==(const MigProfile&) const = default;
};

// What a plugin adds that only its family understands: each value as compact JSON text ("3", "\"die\"").
using CustomInfo = std::map<std::string, std::string, std::less<>>;
std::optional<std::int64_t> custom_number(const CustomInfo& custom, std::string_view key);
std::optional<std::string> custom_text(const CustomInfo& custom, std::string_view key);
void set_custom(CustomInfo& custom, std::string_view key, std::int64_t value);
void set_custom(CustomInfo& custom, std::string_view key, std::string_view value);

// One device of a node.
struct RegisteredDevice {
  DeviceUuid uuid;
  unsigned index = 0;
  std::int32_t slots = 0;  // how many containers may share it
  MiB memory;              // after oversubscription
  CoreUnits cores;
  std::string type;  // model name
  int numa = 0;      // negative: not known
  std::string mode;  // "hami-core", "mig", …; empty: not said
  std::vector<MigProfile> mig_profiles;
  bool healthy = false;
  std::string vendor;
  CustomInfo custom;
  bool operator==(const RegisteredDevice&) const = default;
};

// What one container has of one device.
struct ContainerDevice {
  DeviceUuid uuid;
  std::string type;  // the family's word, or a model name where the family's plugin wants that
  MiB memory;
  CoreUnits cores;
  bool operator==(const ContainerDevice&) const = default;
};
using ContainerDevices = std::vector<ContainerDevice>;

// What a pod has of one family, by container: all init containers in the order of the pod, then the others. A container
// without such a device has an empty entry.
using PodDevices = std::vector<ContainerDevices>;

}  // namespace kiboko
