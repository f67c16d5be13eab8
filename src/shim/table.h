// What hooks.def expands to: an index per hooked variant, typed pointers to the driver's own functions, and the table
// that joins names, versions and hooks.
//
// `real` is filled once, by discover_driver() in route.cc, before any hook uses it, and never changes afterwards. A
// pointer is null when this driver lacks that exact variant; a hook is then never handed out.
#pragma once

#include "shim/abi.h"

namespace kiboko::shim {

enum HookId : unsigned {
#define CUDA_HOOK(symbol, base, version, mode) kHook_##symbol,
#define NVML_HOOK(symbol) kHook_##symbol,
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
  kHookCount
};

struct Hook {
  const char* symbol;
  const char* base;  // as cuGetProcAddress is asked; null for NVML
  void* function;    // ours
  int version;
  int mode;  // 0 default and legacy stream, 2 per-thread default stream
};
extern const Hook kHooks[kHookCount];

// Driver functions that are called but not changed.
#define KIBOKO_DRIVER_CALLS(X)                                                                                      \
  X(cuArrayGetMemoryRequirements, CUresult, (CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUarray, CUdevice))                   \
  X(cuCtxGetCurrent, CUresult, (CUcontext*))                                                                        \
  X(cuCtxGetDevice, CUresult, (CUdevice*))                                                                          \
  X(cuCtxGetLimit, CUresult, (std::size_t*, int))                                                                   \
  X(cuCtxSetCurrent, CUresult, (CUcontext))                                                                         \
  X(cuDeviceGet, CUresult, (CUdevice*, int))                                                                        \
  X(cuDeviceGetAttribute, CUresult, (int*, int, CUdevice))                                                          \
  X(cuDeviceGetCount, CUresult, (int*))                                                                             \
  X(cuDeviceGetDefaultMemPool, CUresult, (CUmemoryPool*, CUdevice))                                                 \
  X(cuDeviceGetGraphMemAttribute, CUresult, (CUdevice, int, void*))                                                 \
  X(cuDeviceGetMemPool, CUresult, (CUmemoryPool*, CUdevice))                                                        \
  X(cuDeviceGetUuid, CUresult, (CUuuid*, CUdevice))                                                                 \
  X(cuDeviceGetUuid_v2, CUresult, (CUuuid*, CUdevice))                                                              \
  X(cuDevicePrimaryCtxGetState, CUresult, (CUdevice, unsigned*, int*))                                              \
  X(cuEventCreate, CUresult, (CUevent*, unsigned))                                                                  \
  X(cuEventDestroy_v2, CUresult, (CUevent))                                                                         \
  X(cuEventElapsedTime, CUresult, (float*, CUevent, CUevent))                                                       \
  X(cuEventQuery, CUresult, (CUevent))                                                                              \
  X(cuEventRecord, CUresult, (CUevent, CUstream))                                                                   \
  X(cuGraphChildGraphNodeGetGraph, CUresult, (CUgraphNode, CUgraph*))                                               \
  X(cuGraphGetEdges, CUresult, (CUgraph, CUgraphNode*, CUgraphNode*, std::size_t*))                                 \
  X(cuGraphGetEdges_v2, CUresult, (CUgraph, CUgraphNode*, CUgraphNode*, void*, std::size_t*))                       \
  X(cuGraphGetNodes, CUresult, (CUgraph, CUgraphNode*, std::size_t*))                                               \
  X(cuGraphMemAllocNodeGetParams, CUresult, (CUgraphNode, CUDA_MEM_ALLOC_NODE_PARAMS*))                             \
  X(cuGraphMemFreeNodeGetParams, CUresult, (CUgraphNode, CUdeviceptr*))                                             \
  X(cuGraphNodeGetType, CUresult, (CUgraphNode, int*))                                                              \
  X(cuKernelGetLibrary, CUresult, (CUlibrary*, CUkernel))                                                           \
  X(cuMemGetAddressRange_v2, CUresult, (CUdeviceptr*, std::size_t*, CUdeviceptr))                                   \
  X(cuMemGetAllocationGranularity, CUresult, (std::size_t*, const CUmemAllocationProp*, int))                       \
  X(cuMemGetAllocationPropertiesFromHandle, CUresult, (CUmemAllocationProp*, CUmemGenericAllocationHandle))         \
  X(cuMemPoolGetAttribute, CUresult, (CUmemoryPool, int, void*))                                                    \
  X(cuMipmappedArrayGetMemoryRequirements, CUresult, (CUDA_ARRAY_MEMORY_REQUIREMENTS*, CUmipmappedArray, CUdevice)) \
  X(cuStreamCreate, CUresult, (CUstream*, unsigned))                                                                \
  X(cuStreamGetCtx, CUresult, (CUstream, CUcontext*))                                                               \
  X(cuStreamIsCapturing, CUresult, (CUstream, int*))                                                                \
  X(cuThreadExchangeStreamCaptureMode, CUresult, (int*))
#define KIBOKO_NVML_CALLS(X)                                               \
  X(nvmlDeviceGetHandleByUUID, nvmlReturn_t, (const char*, nvmlDevice_t*)) \
  X(nvmlDeviceGetUUID, nvmlReturn_t, (nvmlDevice_t, char*, unsigned))

struct RealFunctions {
#define CUDA_HOOK(symbol, base, version, mode) decltype(&::symbol) symbol;
#define NVML_HOOK(symbol) decltype(&::symbol) symbol;
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
#define X(name, result, arguments) result(*name) arguments;
  KIBOKO_DRIVER_CALLS(X)
  KIBOKO_NVML_CALLS(X)
#undef X
};
extern RealFunctions real;

// Exported, everything else is hidden.
#define SHIM_EXPORT extern "C" __attribute__((visibility("default")))

}  // namespace kiboko::shim
