// What is written on a pod that was placed: the allocation in the family's keys, and what its plugin wants besides.
//
// Pure functions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "model/cluster_device.h"
#include "vendors/family.h"

namespace kiboko::vendors {

struct PlacedDevice {
  ContainerDevice device;  // its type is the model name; what is written says the profile
  unsigned index = 0;
  std::int32_t slots = 0;  // as registered
  std::string template_name;
  std::int64_t slices = 0;
  std::optional<MigPlacement> mig;  // of the profile `template_name`
  CustomInfo custom;
};

struct PlacedContainer {
  std::string name;
  std::map<std::string, std::string, std::less<>> traits;
  std::vector<PlacedDevice> devices;
};

struct EmissionInput {
  std::string node;
  WallTime now;
  std::vector<PlacedContainer> containers;  // all of the pod, init containers first
};

// Key and value. Empty where no container has a device of the family.
Result<std::map<std::string, std::string>> annotations_of(const Family& family, const EmissionInput& input);

}  // namespace kiboko::vendors
