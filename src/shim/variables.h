// The variables that limit this process, as they were when the library was loaded: a program that edits its
// environment afterwards neither loses nor changes its limits.
//
// KIBOKO_GRANT names the grant page. HAMi's variables (CUDA_DEVICE_MEMORY_LIMIT[_i], CUDA_DEVICE_SM_LIMIT[_i],
// CUDA_DEVICE_MEMORY_SHARED_CACHE, GPU_CORE_UTILIZATION_POLICY, CUDA_TASK_PRIORITY) count where there is no page, and
// may tighten what a page allows. An empty value is no value. Read by any thread, never changed after the first call.
#pragma once

#include <cstdint>

#include "region/grant_page.h"

namespace kiboko::shim {

struct VariableLimits {  // 0 = the variables say nothing
  std::uint64_t memory_bytes[region::kMaxDevices] = {};
  std::uint32_t core_percent[region::kMaxDevices] = {};
};

const char* grant_page_path();  // "" = none was named
bool has_variable_limits();     // one of HAMi's variables asks for a limit or names a region
// False: a value cannot be understood, and *error says which.
bool read_variable_limits(VariableLimits* out, region::PageError* error);
const char* variable_region_path();  // HAMi's default if none is named
region::CorePolicy variable_policy();
std::uint32_t variable_priority();  // 0 high, 1 low

}  // namespace kiboko::shim
