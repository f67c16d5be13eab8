// The few types and numbers of the NVIDIA management library that we use, declared by ourselves so that nothing of the
// vendor's is needed to build. Names and layouts are those of nvml.h; both have been stable since the versions named.
#pragma once

#include <cstdint>

namespace kiboko::nvml {

using Device = struct OpaqueDevice*;
using Return = int;

inline constexpr Return kSuccess = 0;
inline constexpr Return kNotSupported = 3;
inline constexpr Return kNotFound = 6;
inline constexpr Return kInsufficientSize = 7;
inline constexpr Return kGpuIsLost = 15;

inline constexpr unsigned kUuidBytes = 96;  // NVML_DEVICE_UUID_V2_BUFFER_SIZE
inline constexpr unsigned kNameBytes = 96;  // NVML_DEVICE_NAME_V2_BUFFER_SIZE
inline constexpr unsigned kVersionBytes = 80;

struct MemoryV1 {
  unsigned long long total, free, used;
};
static_assert(sizeof(MemoryV1) == 24);

// Since driver 510. `used` is without what the driver keeps for itself.
struct MemoryV2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
static_assert(sizeof(MemoryV2) == 40);
inline constexpr unsigned kMemoryV2 = sizeof(MemoryV2) | 2U << 24U;

inline constexpr unsigned long long kMemoryNotAvailable = ~0ULL;

// Of nvmlDeviceGetComputeRunningProcesses without a suffix.
struct ProcessV1 {
  unsigned pid;
  unsigned long long used;
};
static_assert(sizeof(ProcessV1) == 16);

// Of the same with _v2 (driver 450) and _v3 (driver 510).
struct ProcessV2 {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};
static_assert(sizeof(ProcessV2) == 24);

struct ProcessUtilization {
  unsigned pid;
  unsigned long long timestamp_us;
  unsigned sm, memory, encoder, decoder;
};
static_assert(sizeof(ProcessUtilization) == 32);

struct Utilization {
  unsigned gpu, memory;
};

struct Pci {  // nvmlPciInfo_t as of nvmlDeviceGetPciInfo_v3
  char bus_id_legacy[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(Pci) == 68);

}  // namespace kiboko::nvml
