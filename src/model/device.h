// An accelerator as the host finds it. Plain value.
#pragma once

#include <string>

#include "model/quantities.h"

namespace kiboko {

struct Device {
  DeviceUuid uuid;
  unsigned index = 0;    // as NVML counts
  std::string model;     // "NVIDIA H100 80GB HBM3"
  Bytes total;           // physical memory; 0 = not known, and then it is not healthy
  bool unified = false;  // has no memory of its own: `total` is the host's
  int minor = -1;        // /dev/nvidia<minor>; -1 = not known
  std::string pci;       // "00000000:3B:00.0", empty when not known
  bool simulated = false;
  bool healthy = true;
  std::string trouble;  // one sentence, when not healthy
};

}  // namespace kiboko
