// NVIDIA devices by libnvidia-ml.so.1, loaded at run time.
//
// One object per process, used by the Watcher's thread alone. The library stays loaded: its threads and handlers do not
// survive being unloaded.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "node/device_library.h"
#include "node/nvml_abi.h"

namespace kiboko {

class NvmlLibrary final : public DeviceLibrary {
 public:
  // `path` as dlopen takes it: "libnvidia-ml.so.1" or a file. `simulated` marks the devices.
  NvmlLibrary(std::string path, bool simulated);
  ~NvmlLibrary() override;

  Result<Survey> survey() override;

 private:
  struct Functions;
  struct Unit;

  Result<void> load();
  Result<void> find_units();
  Result<Unit> describe(unsigned index) const;
  // Error: the device does not answer, for now.
  Result<void> find_total(Device& device, nvml::Device handle) const;
  DeviceSample sample(Unit& unit) const;
  void sample_memory(const Unit& unit, DeviceSample& out) const;
  void sample_processes(const Unit& unit, DeviceSample& out) const;
  void sample_compute(Unit& unit, DeviceSample& out) const;
  std::string why(nvml::Return code) const;

  const std::string path_;
  const bool simulated_;
  std::unique_ptr<Functions> functions_;
  std::vector<Unit> units_;
  std::string driver_version_;
  bool initialised_ = false;
};

}  // namespace kiboko
