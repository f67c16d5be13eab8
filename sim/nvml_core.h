// How every function of the simulated management library begins and ends.
//
// The library keeps a little state for the whole process (nvml_core.cc): the attached device set and how many times it
// was initialised. Any thread may call any function. Handles are addresses inside the library, one per device.
//
// Environment: KIBOKO_SIM and KIBOKO_SIM_DEVICES (which devices, see device.h), KIBOKO_SIM_DRIVER (CUDA version the
// driver claims), KIBOKO_SIM_NVML_PIDS (nvml_processes.cc), KIBOKO_SIM_NVML_WINDOW_MS (nvml_usage.cc), and
//   KIBOKO_SIM_NVML_FAULT="nvmlDeviceGetName=3,nvmlInit*=hang:5s,nvmlDeviceGetUUID=999@2,nvmlShutdown=hang"
// name or prefix with a star; a result code, or a pause after which the call goes on ("hang" alone: for ever);
// "@N" = only the N-th call, "@N+" = from the N-th call on.
#pragma once

#include <string.h>

#include <string>

#include "device.h"
#include "nvml_abi.h"
#include "nvml_state.h"

#define NVML_API extern "C" __attribute__((visibility("default"))) nvml::Return

namespace nvml {

struct Gpu {
  sim::Shared& shared;
  sim::Device& device;
  sim::ManagementState::PerDevice& state;
  int index;
};

// Carries out a fault asked for; otherwise kSuccess, or kUninitialized before nvmlInit.
Return enter(const char* function);
// The fault alone, for functions that work without initialisation.
Return fault(const char* function);

// Of the device set, once enter() said kSuccess.
sim::Shared& shared();
sim::ManagementState& management();
int device_count();
Handle handle_of(int index);
int index_of(Handle handle);  // -1: not a handle
Gpu gpu_of(int index);

// Runs `body(Gpu)` for facts that are known even when the device has fallen off the bus.
template <class Body>
Return for_card(const char* function, Handle handle, Body&& body) {
  if (const Return early = enter(function); early != kSuccess) return early;
  const int index = index_of(handle);
  return index < 0 ? kInvalidArgument : body(gpu_of(index));
}

// The same for what the device itself has to answer.
template <class Body>
Return for_gpu(const char* function, Handle handle, Body&& body) {
  return for_card(function, handle,
                  [&](const Gpu& gpu) -> Return { return gpu.state.lost.load() != 0 ? kGpuIsLost : body(gpu); });
}

// One number out of a device.
template <class T, class Compute>
Return get(const char* function, Handle handle, T* out, Compute&& compute) {
  return for_gpu(function, handle, [&](const Gpu& gpu) -> Return {
    if (out == nullptr) return kInvalidArgument;
    *out = static_cast<T>(compute(gpu));
    return kSuccess;
  });
}

// A constant of all simulated devices.
template <class T, class V>
Return constant(const char* function, Handle handle, T* out, V value) {
  return get(function, handle, out, [&](const Gpu&) { return value; });
}

Return put_text(const std::string& text, char* out, unsigned length);

// An array by the library's buffer protocol: *count tells how many fit, and how many there are.
template <class T, class Items>
Return put_array(const Items& items, unsigned* count, T* out) {
  if (count == nullptr) return kInvalidArgument;
  const unsigned room = *count;
  const auto size = static_cast<unsigned>(items.size());
  *count = size;
  if (size == 0) return kSuccess;
  if (room < size) return kInsufficientSize;
  if (out == nullptr) return kInvalidArgument;
  for (unsigned i = 0; i < size; ++i) out[i] = items[i];
  return kSuccess;
}

std::string driver_version();  // "570.172.08", by KIBOKO_SIM_DRIVER

bool is_geforce(const Gpu& gpu);  // no ECC, no serial number, a fan of its own, deep idle states

}  // namespace nvml
