// The variables that limit this process, as they were when the library was loaded: a program that edits its
// environment afterwards neither loses nor changes its limits.
//
// KIBOKO_GRANT names the grant page. HAMi's variables (CUDA_DEVICE_MEMORY_LIMIT[_i], CUDA_DEVICE_SM_LIMIT[_i],
// CUDA_DEVICE_MEMORY_SHARED_CACHE, GPU_CORE_UTILIZATION_POLICY, CUDA_TASK_PRIORITY) count where there is no page, and
// may tighten what a page allows. An empty value is no value. Read by any thread, never changed after the first call.
//
// Which device is number i: with a page, the i-th of the grant. Without one it is a device of the container, whatever
// CUDA_VISIBLE_DEVICES leaves of them to this process: the i-th of NVIDIA_VISIBLE_DEVICES, where that is a list of
// UUIDs, as HAMi writes it in the order of its numbers. Where it is not ("all", "0,1"), and for a device that is not in
// the list, it is the device at index i of the region: the order in which the container's processes first saw them.
#pragma once

#include <cstdint>

#include "region/grant_page.h"

namespace kiboko::shim {

struct VariableLimits {  // 0 = the variables say nothing
  std::uint64_t memory_bytes[region::kMaxDevices] = {};
  std::uint32_t core_percent[region::kMaxDevices] = {};
  bool any() const;
};

const char* grant_page_path();  // "" = none was named
bool has_variable_limits();     // one of HAMi's variables asks for a limit or names a region
// False: a value cannot be understood, and *error says which.
bool read_variable_limits(VariableLimits* out, region::PageError* error);
const char* variable_region_path();  // HAMi's default if none is named
region::CorePolicy variable_policy();
std::uint32_t variable_priority();  // 0 high, 1 low, greater ones lower still
// How often the time of the last kernel is written for HAMi's monitor: RECORD_KERNEL_INTERVAL, 1 s if it says nothing.
std::int64_t variable_record_interval_ns();
// LIBCUDA_LOG_LEVEL, 0 to 4, 0 if it says nothing: from 1 on, words that are not understood are named on stderr when
// CUDA starts, from 3 on what the limits are. Nothing is ever written after that.
unsigned variable_log_level();
// Whether NVML's utilisation of a device is to be the grant's share of its limit: KIBOKO_NVML_UTILIZATION=share.
bool variable_shows_share();

// The devices that NVIDIA_VISIBLE_DEVICES lists, if each of them is a whole UUID.
unsigned listed_devices();
const char* listed_device(unsigned place);  // "GPU-…" or "MIG-…"
// The number of the device that has this UUID, for the variables of one device; `index` is that in the region.
unsigned number_of_device(const char* uuid, unsigned index);
// Names the next word that nobody understood and that a default stands for, from *step on; false: there is no more.
bool next_complaint(unsigned* step, region::PageError* out);

}  // namespace kiboko::shim
