// The shared region of HAMi-core v1.2 as its monitor reads it, written from the description of those bytes alone: the
// offsets are numbers here and nothing of the library is included, so that a mistake in its layout cannot hide.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kiboko::shim_test {

struct HamiDevice {
  std::string uuid;
  std::uint64_t memory_limit = 0, sm_limit = 0;
  std::uint64_t used = 0;  // of all processes
};

struct HamiUse {  // of one process on one device
  std::uint64_t context = 0, module = 0, data = 0, offset = 0, total = 0, sm = 0;
};

struct HamiProcess {
  unsigned slot = 0;
  std::int32_t pid = 0, host_pid = 0, status = 0;
  std::vector<HamiUse> devices;
};

struct HamiRegionView {
  std::uint64_t owner_pid = 0;
  std::vector<HamiDevice> devices;
  std::vector<HamiProcess> processes;  // those whose status is not 0
  std::int32_t slot_count = 0, utilization_switch = 0, recent_kernel = 0, priority = 0;
  std::int64_t last_kernel_time = 0;
};

// Nothing where the monitor would not take the file for a region of this version.
std::optional<HamiRegionView> read_hami_region(const std::string& path);
// The one file of a container's folder that the monitor reads; "" if it would give up on the folder.
std::string hami_region_in(const std::string& folder);

// The words that the monitor writes.
void set_hami_memory_limit(const std::string& path, unsigned device, std::uint64_t bytes);
void set_hami_recent_kernel(const std::string& path, std::int32_t value);

// A file as HAMi-core leaves it when its processes are gone: these devices, and a process in slot 0.
void leave_hami_region(const std::string& path, const std::vector<std::string>& uuids, std::int32_t pid,
                       std::uint64_t used);

}  // namespace kiboko::shim_test
