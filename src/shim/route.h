// Look-ups: how a program's request for a driver function ends at our hook of exactly that variant.
//
// Rule: the driver answers first; a hook is attached to the pointer it returned, or the pointer is left alone. No call
// into the driver is made here except the caller's own look-up. Thread-safe; discovery happens once per process.
#pragma once

#include "shim/table.h"

namespace kiboko::shim {

// Fills `real` from the loaded driver (or NVML), once. False when no such library is loaded yet.
bool discover_driver();
bool discover_nvml();

// The hook of exported symbol `name`, or kHookCount.
HookId hook_by_symbol(const char* name);

// What cuGetProcAddress(symbol, cuda_version, flags) should answer, the driver having answered `found`.
void* substitute(const char* symbol, void* found, int cuda_version, unsigned long long flags);

// First line of a hook: without a driver, or with one that lacks this variant, there is nothing to call.
#define KIBOKO_DRIVER(function)                                                                                      \
  if ((!::kiboko::shim::active() && !::kiboko::shim::discover_driver()) || ::kiboko::shim::real.function == nullptr) \
  return CUDA_ERROR_NOT_INITIALIZED

// The newest CUDA version whose variants hooks.def knows in full.
inline constexpr int kNewestKnownCuda = 13010;

}  // namespace kiboko::shim
