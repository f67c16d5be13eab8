// What the host asks of a vendor's management library, as values, so that tests can stand in for it.
//
// Implementations are called from one thread (the Watcher's) and may block there for as long as a driver does.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "model/device.h"

namespace kiboko {

// One process on one device, as the driver sees it.
struct DeviceProcess {
  pid_t pid = 0;
  std::optional<Bytes> used;
  std::optional<unsigned> compute_percent;  // over the last second or so
  bool operator==(const DeviceProcess&) const = default;
};

struct DeviceSample {
  DeviceUuid uuid;
  std::optional<Bytes> used;
  std::optional<unsigned> compute_percent;
  std::vector<DeviceProcess> processes;
  std::string trouble;  // one sentence when the device no longer answers, else empty
};

struct Survey {
  std::string driver_version;
  std::vector<Device> devices;
  std::vector<DeviceSample> samples;  // same order as devices
};

class DeviceLibrary {
 public:
  virtual ~DeviceLibrary() = default;
  // Everything at once. An error means that the library as a whole does not work; a device that does not is in the
  // survey, with its trouble.
  virtual Result<Survey> survey() = 0;
};

}  // namespace kiboko
