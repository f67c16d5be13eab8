// Calls every hooked function, sensibly and not, and prints what it answers, what it gives and how much the driver has
// taken by then. The test (calls_test.cc) runs this with and without the interposer and compares line by line.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <set>
#include <string>

#include "shim/abi.h"
#include "shim/elf.h"

extern "C" {
CUresult cuStreamCreate(CUstream* stream, unsigned flags);
CUresult cuEventCreate(CUevent* event, unsigned flags);
CUresult cuGraphCreate(CUgraph* graph, unsigned flags);
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name);
CUresult cuMemAddressReserve(CUdeviceptr* pointer, std::size_t bytes, std::size_t alignment, CUdeviceptr wanted,
                             unsigned long long flags);
nvmlReturn_t nvmlInit_v2();
}

namespace {

constexpr std::size_t kMiB = 1 << 20, kBlock = 2 * kMiB;

void *cuda = nullptr, *nvml = nullptr;
std::set<std::string> asked;

// Of the first device, by the driver's own word.
long long taken() {
  static const auto info = reinterpret_cast<decltype(&::cuMemGetInfo_v2)>(
      kiboko::shim::find_symbol(kiboko::shim::find_library_by_soname("libcuda.so.1"), "cuMemGetInfo_v2"));
  std::size_t free = 0, total = 0;
  return info(&free, &total) == CUDA_SUCCESS ? static_cast<long long>(total - free) : -1;
}

template <class... Parameters, class... Arguments>
int ask(const char* name, int (*function)(Parameters...), Arguments... arguments) {
  asked.insert(name);
  if (function == nullptr) return printf("%s: there is none\n", name), -1;
  const int result = function(static_cast<Parameters>(arguments)...);
  printf("%s = %d, taken %lld\n", name, result, taken());
  return result;
}
#define CALL(name, ...)                                                                                       \
  ask(#name, reinterpret_cast<decltype(&::name)>(dlsym(strncmp(#name, "nvml", 4) == 0 ? nvml : cuda, #name)), \
      ##__VA_ARGS__)
// What no program means, but many do. The stand-in trusts its caller and is spared that.
bool with_nonsense = true;
// What the neighbours do is not for those to see who have a grant.
bool with_neighbours = true;
#define WRONG(name, ...)                          \
  do {                                            \
    if (with_nonsense) CALL(name, ##__VA_ARGS__); \
    asked.insert(#name);                          \
  } while (false)

template <class T>
void show_set(const char* what, T value) {
  printf("  %s is %s\n", what, value == T{} ? "none" : "set");
}
void show(const char* what, unsigned long long value) { printf("  %s is %llu\n", what, value); }

CUcontext context = nullptr;
CUstream stream = nullptr;
CUmodule module = nullptr;
CUfunction function = nullptr;

void call_contexts() {
  CUcontext other = nullptr;
  CALL(cuInit, 7);
  CALL(cuInit, 0);
  CALL(cuCtxSynchronize);
  WRONG(cuCtxCreate_v2, nullptr, 0, 0);
  WRONG(cuCtxCreate_v2, &context, 0, 99);
  CALL(cuCtxCreate_v2, &context, 0, 0);
  show_set("context", context);
  CALL(cuCtxCreate, &other, 0, 0);
  CALL(cuCtxDestroy, other);
  other = nullptr;
  if (CALL(cuCtxCreate_v3, &other, nullptr, 0, 0, 0) == 0) CALL(cuCtxDestroy_v2, other);
  if (CALL(cuCtxCreate_v4, &other, nullptr, 0, 0) == 0) CALL(cuCtxDestroy_v2, other);
  WRONG(cuCtxDestroy_v2, nullptr);
  other = nullptr;
  CALL(cuDevicePrimaryCtxRetain, &other, 0);
  show_set("primary context", other);
  WRONG(cuDevicePrimaryCtxRetain, nullptr, 0);
  WRONG(cuDevicePrimaryCtxRetain, &other, 99);
  CALL(cuDevicePrimaryCtxRelease, 0);
  CALL(cuDevicePrimaryCtxRelease_v2, 0);
  CALL(cuDevicePrimaryCtxReset, 0);
  WRONG(cuDevicePrimaryCtxReset_v2, 99);
  CALL(cuCtxSynchronize_v2, context);
  CALL(cuCtxCreate_v2, &context, 0, 0);
  if (CALL(cuCtxAttach, &other, 0) == 0) CALL(cuCtxDetach, other);
  CALL(cuCtxAttach, &other, 9);
  WRONG(cuCtxDetach, nullptr);
  CALL(cuCtxSynchronize);
}

void call_figures() {
  std::size_t free = 0, total = 0;
  unsigned narrow_free = 0, narrow_total = 0;
  CALL(cuMemGetInfo_v2, &free, &total);
  show("free", free), show("total", total);
  WRONG(cuMemGetInfo_v2, nullptr, &total);
  CALL(cuMemGetInfo, &narrow_free, &narrow_total);
  show("free", narrow_free), show("total", narrow_total);
  CALL(cuDeviceTotalMem_v2, &total, 0);
  show("total", total);
  WRONG(cuDeviceTotalMem_v2, &total, 99);
  WRONG(cuDeviceTotalMem_v2, nullptr, 0);
  CALL(cuDeviceTotalMem, &narrow_total, 0);
  show("total", narrow_total);
  void* found = nullptr;
  int status = -1;
  CALL(cuGetProcAddress, "cuMemAlloc", &found, 12000, 0);
  show_set("function", found);
  CALL(cuGetProcAddress, "cuNoSuchThing", &found, 12000, 0);
  CALL(cuGetProcAddress_v2, "cuMemAlloc", &found, 12000, 0, &status);
  show("status", static_cast<unsigned>(status));
  WRONG(cuGetProcAddress_v2, "cuMemAlloc", nullptr, 12000, 0, nullptr);
}

void call_memory() {
  CUdeviceptr pointer = 0;
  CUdeviceptr_v1 narrow = 0;
  std::size_t pitch = 0;
  unsigned narrow_pitch = 0;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, 3 * kMiB, SIZE_MAX}) {
    if ((bytes == 0 || bytes == SIZE_MAX) && !with_nonsense) continue;
    pointer = 0;
    CALL(cuMemAlloc_v2, &pointer, bytes);
    show_set("pointer", pointer);
    if (pointer != 0) CALL(cuMemFree_v2, pointer);
  }
  WRONG(cuMemAlloc_v2, nullptr, 4096);
  CALL(cuMemFree_v2, 0);
  WRONG(cuMemFree_v2, 0x1234567);
  CALL(cuMemAlloc, &narrow, kMiB);
  show_set("pointer", narrow);
  if (narrow != 0) CALL(cuMemFree, narrow);
  WRONG(cuMemFree, 0x1234567);
  CALL(cuMemAllocPitch_v2, &pointer, &pitch, 1000, 3000, 4);
  show("pitch", pitch);
  CALL(cuMemFree_v2, pointer);
  CALL(cuMemAllocPitch_v2, &pointer, &pitch, 1000, 3000, 5);
  WRONG(cuMemAllocPitch_v2, nullptr, nullptr, 0, 0, 0);
  narrow = 0;
  CALL(cuMemAllocPitch, &narrow, &narrow_pitch, 1000, 30, 4);
  show("pitch", narrow_pitch);
  if (narrow != 0) CALL(cuMemFree, narrow);
  CALL(cuMemAllocManaged, &pointer, kMiB, 1);
  CALL(cuMemFree_v2, pointer);
  WRONG(cuMemAllocManaged, &pointer, kMiB, 77);
  WRONG(cuMemAllocManaged, nullptr, kMiB, 1);
}

void call_arrays() {
  CUarray array = nullptr;
  CUmipmappedArray mipmap = nullptr;
  const CUDA_ARRAY_DESCRIPTOR_v1 old_flat{100, 100, 0x20, 4};
  const CUDA_ARRAY_DESCRIPTOR flat{100, 100, 0x20, 4}, wrong{100, 100, 0x99, 3};
  const CUDA_ARRAY3D_DESCRIPTOR_v1 old_deep{64, 64, 8, 0x20, 1, 0};
  const CUDA_ARRAY3D_DESCRIPTOR deep{64, 64, 8, 0x20, 1, 0};
  if (CALL(cuArrayCreate_v2, &array, &flat) == 0) CALL(cuArrayDestroy, array);
  WRONG(cuArrayCreate_v2, &array, &wrong);
  WRONG(cuArrayCreate_v2, nullptr, &flat);
  if (CALL(cuArrayCreate, &array, &old_flat) == 0) CALL(cuArrayDestroy, array);
  if (CALL(cuArray3DCreate_v2, &array, &deep) == 0) CALL(cuArrayDestroy, array);
  if (CALL(cuArray3DCreate, &array, &old_deep) == 0) CALL(cuArrayDestroy, array);
  WRONG(cuArrayDestroy, nullptr);
  if (CALL(cuMipmappedArrayCreate, &mipmap, &deep, 3) == 0) CALL(cuMipmappedArrayDestroy, mipmap);
  WRONG(cuMipmappedArrayCreate, &mipmap, &deep, 0);
  WRONG(cuMipmappedArrayDestroy, nullptr);
}

void call_pools() {
  CUmemPoolProps properties{};
  properties.alloc_type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  CUmemoryPool pool = nullptr, imported = nullptr;
  CUdeviceptr pointer = 0;
  std::uint64_t threshold = UINT64_MAX;
  CALL(cuMemAllocAsync, &pointer, 5 * kMiB, stream);
  CALL(cuMemFreeAsync, pointer, stream);
  CALL(cuMemAllocAsync_ptsz, &pointer, 5 * kMiB, nullptr);
  CALL(cuMemFreeAsync_ptsz, pointer, nullptr);
  WRONG(cuMemAllocAsync, nullptr, 5, stream);
  WRONG(cuMemFreeAsync, 0x1234567, stream);
  CALL(cuMemPoolCreate, &pool, &properties);
  show_set("pool", pool);
  WRONG(cuMemPoolCreate, nullptr, &properties);
  CALL(cuMemPoolSetAttribute, pool, 4, &threshold);
  WRONG(cuMemPoolSetAttribute, pool, 99, &threshold);
  CALL(cuMemAllocFromPoolAsync, &pointer, 40 * kMiB, pool, stream);
  CALL(cuMemFreeAsync, pointer, stream);
  CALL(cuMemAllocFromPoolAsync_ptsz, &pointer, 3 * kMiB, pool, nullptr);
  CALL(cuMemFreeAsync_ptsz, pointer, nullptr);
  CALL(cuStreamSynchronize, stream);
  CALL(cuStreamSynchronize_ptsz, nullptr);
  CALL(cuMemPoolTrimTo, pool, 0);
  CALL(cuMemPoolDestroy, pool);
  WRONG(cuMemPoolDestroy, nullptr);
  WRONG(cuMemPoolImportFromShareableHandle, &imported, nullptr, 1, 0);
}

void call_copies() {
  static char host[4096];
  const long long nothing[64] = {};
  const auto address = reinterpret_cast<CUdeviceptr>(host);
  const CUmemLocation here{CU_MEM_LOCATION_TYPE_DEVICE, 0};
  CUdeviceptr at = 0, managed = 0;
  CALL(cuMemAlloc_v2, &at, 16 * kMiB);
  const CUdeviceptr_v1 narrow = 0x1000;
  CALL(cuMemAllocManaged, &managed, kMiB, 1);
  CALL(cuMemPrefetchAsync, managed, kMiB, 0, stream);
  CALL(cuMemPrefetchAsync_ptsz, managed, kMiB, 0, nullptr);
  CALL(cuMemPrefetchAsync_v2, managed, kMiB, here, 0, stream);
  CALL(cuMemPrefetchAsync_v2_ptsz, managed, kMiB, here, 0, nullptr);
  CALL(cuMemcpyHtoDAsync_v2, at, host, sizeof host, stream);
  CALL(cuMemcpyHtoDAsync_v2_ptsz, at, host, sizeof host, nullptr);
  CALL(cuMemcpyHtoDAsync, narrow, host, 64, stream);
  CALL(cuMemcpyDtoHAsync_v2, host, at, sizeof host, stream);
  CALL(cuMemcpyDtoHAsync_v2_ptsz, host, at, sizeof host, nullptr);
  CALL(cuMemcpyDtoHAsync, host, narrow, 64, stream);
  CALL(cuMemcpyDtoDAsync_v2, at, at + kMiB, kMiB, stream);
  CALL(cuMemcpyDtoDAsync_v2_ptsz, at, at + kMiB, kMiB, nullptr);
  CALL(cuMemcpyDtoDAsync, narrow, narrow, 64, stream);
  CALL(cuMemcpyAsync, at, address, sizeof host, stream);
  CALL(cuMemcpyAsync_ptsz, at, address, sizeof host, nullptr);
  CALL(cuMemcpyPeerAsync, at, context, at + kMiB, context, kMiB, stream);
  CALL(cuMemcpyPeerAsync_ptsz, at, context, at + kMiB, context, kMiB, nullptr);
  CALL(cuMemcpy2DAsync, nothing, stream);
  CALL(cuMemcpy2DAsync_v2, nothing, stream);
  CALL(cuMemcpy2DAsync_v2_ptsz, nothing, nullptr);
  CALL(cuMemcpy3DAsync, nothing, stream);
  CALL(cuMemcpy3DAsync_v2, nothing, stream);
  CALL(cuMemcpy3DAsync_v2_ptsz, nothing, nullptr);
  CALL(cuMemcpy3DPeerAsync, nothing, stream);
  CALL(cuMemcpy3DPeerAsync_ptsz, nothing, nullptr);
  CALL(cuMemsetD8Async, at, 1, 100, stream);
  CALL(cuMemsetD8Async_ptsz, at, 1, 100, nullptr);
  CALL(cuMemsetD16Async, at, 1, 100, stream);
  CALL(cuMemsetD16Async_ptsz, at, 1, 100, nullptr);
  CALL(cuMemsetD32Async, at, 1, 100, stream);
  CALL(cuMemsetD32Async_ptsz, at, 1, 100, nullptr);
  CALL(cuMemsetD2D8Async, at, 512, 1, 100, 3, stream);
  CALL(cuMemsetD2D8Async_ptsz, at, 512, 1, 100, 3, nullptr);
  CALL(cuMemsetD2D16Async, at, 512, 1, 100, 3, stream);
  CALL(cuMemsetD2D16Async_ptsz, at, 512, 1, 100, 3, nullptr);
  CALL(cuMemsetD2D32Async, at, 512, 1, 100, 3, stream);
  CALL(cuMemsetD2D32Async_ptsz, at, 512, 1, 100, 3, nullptr);
  CALL(cuCtxSynchronize);
  CALL(cuMemFree_v2, managed);
  CALL(cuMemFree_v2, at);
}

void call_multicast() {
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  const long long nothing[16] = {};
  CUmemGenericAllocationHandle object = 0, handle = 0;
  CALL(cuMemCreate, &handle, kBlock, &properties, 0);
  CALL(cuMulticastCreate, &object, nothing);
  CALL(cuMulticastBindMem, object, 0, handle, 0, kBlock, 0);
  CALL(cuMulticastUnbind, object, 0, 0, kBlock);
  CALL(cuMulticastBindMem_v2, object, 0, 0, handle, 0, kBlock, 0);
  CALL(cuMulticastUnbind, object, 0, 0, kBlock);
  WRONG(cuMulticastBindAddr, object, 0, 0x1234567, kBlock, 0);
  WRONG(cuMulticastBindAddr_v2, object, 0, 0, 0x1234567, kBlock, 0);
  CALL(cuMemRelease, handle);
}

void call_handles() {
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  CUmemGenericAllocationHandle handle = 0, again = 0;
  CUdeviceptr range = 0, opened = 0;
  CALL(cuMemCreate, &handle, kBlock, &properties, 0);
  WRONG(cuMemCreate, &again, 1, &properties, 0);
  WRONG(cuMemCreate, nullptr, kBlock, &properties, 0);
  CALL(cuMemAddressReserve, &range, kBlock, 0, 0, 0);
  CALL(cuMemMap, range, kBlock, 0, handle, 0);
  WRONG(cuMemMap, range, kBlock, 0, handle, 0);
  CALL(cuMemRetainAllocationHandle, &again, reinterpret_cast<void*>(range));
  WRONG(cuMemRetainAllocationHandle, &again, nullptr);
  CALL(cuMemRelease, handle);
  CALL(cuMemRelease, handle);  // for the retained one
  CALL(cuMemUnmap, range, kBlock);
  WRONG(cuMemUnmap, range, kBlock);
  WRONG(cuMemRelease, handle);
  WRONG(cuMemImportFromShareableHandle, &again, reinterpret_cast<void*>(-1L), 1);
  WRONG(cuIpcOpenMemHandle, &opened, CUipcMemHandle{}, 1);
  WRONG(cuIpcOpenMemHandle_v2, &opened, CUipcMemHandle{}, 1);
  WRONG(cuIpcCloseMemHandle, 0x1234567);
  const CUDA_EXTERNAL_MEMORY_BUFFER_DESC buffer{};
  WRONG(cuExternalMemoryGetMappedBuffer, &opened, nullptr, &buffer);
}

void call_code() {
  CUlibrary library = nullptr;
  CUmodule more = nullptr;
  CALL(cuModuleLoadData, &module, "");
  CALL(cuModuleGetFunction, &function, module, "kiboko_spin_ns");
  WRONG(cuModuleLoadData, nullptr, "");
  if (CALL(cuModuleLoad, &more, "/nowhere") == 0) CALL(cuModuleUnload, more);
  if (CALL(cuModuleLoadDataEx, &more, "", 0, nullptr, nullptr) == 0) CALL(cuModuleUnload, more);
  if (CALL(cuModuleLoadFatBinary, &more, "") == 0) CALL(cuModuleUnload, more);
  WRONG(cuModuleUnload, nullptr);
  if (CALL(cuLibraryLoadData, &library, "", nullptr, nullptr, 0, nullptr, nullptr, 0) == 0)
    CALL(cuLibraryUnload, library);
  if (CALL(cuLibraryLoadData, &library, "", nullptr, nullptr, 0, nullptr, nullptr, 0) == 0) {
    CUmodule inside = nullptr;
    CUdeviceptr global = 0;
    std::size_t bytes = 0;
    CALL(cuLibraryGetModule, &inside, library);
    show_set("module", inside);
    CALL(cuLibraryGetGlobal, &global, &bytes, library, "nothing");
    CALL(cuLibraryUnload, library);
  }
  WRONG(cuKernelGetFunction, nullptr, nullptr);
  CALL(cuFuncLoad, function);
  CALL(cuCtxSetLimit, 0, 2048);
  CALL(cuCtxSetLimit, 2, 16 * kMiB);
  WRONG(cuCtxSetLimit, 99, 1);
  if (CALL(cuLibraryLoadFromFile, &library, "/nowhere", nullptr, nullptr, 0, nullptr, nullptr, 0) == 0)
    CALL(cuLibraryUnload, library);
  WRONG(cuLibraryUnload, nullptr);
}

void call_launches() {
  unsigned long long nanoseconds = 1000;
  void* parameters[] = {&nanoseconds};
  CUlaunchConfig config{};
  config.grid_x = config.grid_y = config.grid_z = config.block_x = config.block_y = config.block_z = 1;
  config.stream = stream;
  CUDA_LAUNCH_PARAMS launch{function, 1, 1, 1, 1, 1, 1, 0, stream, parameters};
  CALL(cuLaunchKernel, function, 1, 1, 1, 32, 1, 1, 0, stream, parameters, nullptr);
  WRONG(cuLaunchKernel, function, 0, 1, 1, 32, 1, 1, 0, stream, parameters, nullptr);
  WRONG(cuLaunchKernel, nullptr, 1, 1, 1, 32, 1, 1, 0, stream, parameters, nullptr);
  CALL(cuLaunchKernel_ptsz, function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr);
  CALL(cuLaunchKernelEx, &config, function, parameters, nullptr);
  WRONG(cuLaunchKernelEx, nullptr, function, parameters, nullptr);
  config.stream = nullptr;
  CALL(cuLaunchKernelEx_ptsz, &config, function, parameters, nullptr);
  CALL(cuLaunchCooperativeKernel, function, 1, 1, 1, 32, 1, 1, 0, stream, parameters);
  CALL(cuLaunchCooperativeKernel_ptsz, function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters);
  CALL(cuLaunchCooperativeKernelMultiDevice, &launch, 1, 0);
  WRONG(cuLaunchCooperativeKernelMultiDevice, nullptr, 0, 0);
  CALL(cuLaunch, function);
  CALL(cuLaunchGrid, function, 1, 1);
  CALL(cuLaunchGridAsync, function, 1, 1, stream);
  CUevent event = nullptr;
  CALL(cuEventCreate, &event, 0);
  CALL(cuEventSynchronize, event);
  WRONG(cuEventSynchronize, nullptr);
  CALL(cuCtxSynchronize);
}

void call_graphs() {
  CUgraph graph = nullptr, captured = nullptr;
  CUgraphExec exec = nullptr, other = nullptr;
  CALL(cuGraphCreate, &graph, 0);
  CALL(cuStreamBeginCapture_v2, stream, 2);
  WRONG(cuStreamBeginCapture_v2, stream, 2);
  WRONG(cuStreamSynchronize, stream);
  CALL(cuStreamEndCapture, stream, &captured);
  WRONG(cuStreamEndCapture, stream, &captured);
  CALL(cuStreamBeginCapture, stream);
  CALL(cuStreamEndCapture, stream, &captured);
  CALL(cuStreamBeginCapture_ptsz, stream);
  CALL(cuStreamEndCapture_ptsz, stream, &captured);
  CALL(cuStreamBeginCapture_v2_ptsz, stream, 2);
  CALL(cuStreamEndCapture_ptsz, stream, &captured);
  if (CALL(cuStreamBeginCaptureToGraph, stream, graph, nullptr, nullptr, 0, 2) == 0)
    CALL(cuStreamEndCapture, stream, &captured);
  if (CALL(cuStreamBeginCaptureToGraph_ptsz, stream, graph, nullptr, nullptr, 0, 2) == 0)
    CALL(cuStreamEndCapture_ptsz, stream, &captured);
  long long parameters[16] = {};
  if (CALL(cuStreamBeginCaptureToCig, stream, parameters) == 0) CALL(cuStreamEndCaptureToCig, stream);
  if (CALL(cuStreamBeginCaptureToCig_ptsz, stream, parameters) == 0) CALL(cuStreamEndCaptureToCig_ptsz, stream);
  WRONG(cuStreamEndCaptureToCig, stream);
  WRONG(cuStreamEndCaptureToCig_ptsz, stream);
  if (CALL(cuStreamBeginRecaptureToGraph, stream, 2, graph, nullptr, nullptr) == 0)
    CALL(cuStreamEndCapture, stream, &captured);
  if (CALL(cuStreamBeginRecaptureToGraph_ptsz, stream, 2, graph, nullptr, nullptr) == 0)
    CALL(cuStreamEndCapture_ptsz, stream, &captured);
  CUDA_GRAPH_INSTANTIATE_PARAMS wanted{};
  if (CALL(cuGraphInstantiate, &other, graph, nullptr, nullptr, 0) == 0) CALL(cuGraphExecDestroy, other);
  if (CALL(cuGraphInstantiate_v2, &other, graph, nullptr, nullptr, 0) == 0) CALL(cuGraphExecDestroy, other);
  if (CALL(cuGraphInstantiateWithParams, &other, graph, &wanted) == 0) CALL(cuGraphExecDestroy, other);
  if (CALL(cuGraphInstantiateWithParams_ptsz, &other, graph, &wanted) == 0) CALL(cuGraphExecDestroy, other);
  CALL(cuGraphInstantiateWithFlags, &exec, graph, 0);
  WRONG(cuGraphInstantiateWithFlags, nullptr, graph, 0);
  CALL(cuGraphUpload, exec, stream);
  CALL(cuGraphUpload_ptsz, exec, nullptr);
  CALL(cuGraphLaunch, exec, stream);
  CALL(cuGraphLaunch_ptsz, exec, nullptr);
  WRONG(cuGraphLaunch, nullptr, stream);
  long long room[4] = {};
  CUgraphNode node = nullptr;
  int result = 0;
  CALL(cuGraphExecUpdate, exec, graph, &node, &result);
  CALL(cuGraphExecUpdate_v2, exec, graph, room);
  CALL(cuGraphExecDestroy, exec);
  WRONG(cuGraphExecDestroy, nullptr);
  CALL(cuDeviceGraphMemTrim, 0);
  WRONG(cuDeviceGraphMemTrim, 99);
}

template <class Info, class List>
void ask_processes(const char* name, List list, nvmlDevice_t device) {
  asked.insert(name);
  if (!with_neighbours) return;
  Info infos[8] = {};
  unsigned count = 8, none = 0;
  ask(name, list, device, &count, infos);
  show("count", count);
  ask(name, list, device, &none, static_cast<Info*>(nullptr));
  show("count", none);
}
#define LIST(name, Info) ask_processes<Info>(#name, reinterpret_cast<decltype(&::name)>(dlsym(nvml, #name)), device)

void call_nvml() {
  unsigned count = 0, index = 77;
  nvmlDevice_t device = nullptr;
  nvmlMemory_t memory{};
  nvmlMemory_v2_t more{};
  CALL(nvmlInit_v2);
  CALL(nvmlDeviceGetCount, &count);
  CALL(nvmlDeviceGetCount_v2, &count);
  show("count", count);
  WRONG(nvmlDeviceGetCount_v2, nullptr);
  CALL(nvmlDeviceGetHandleByIndex, 0, &device);
  WRONG(nvmlDeviceGetHandleByIndex_v2, 99, &device);
  CALL(nvmlDeviceGetHandleByIndex_v2, 0, &device);
  CALL(nvmlDeviceGetIndex, device, &index);
  show("index", index);
  CALL(nvmlDeviceGetMemoryInfo, device, &memory);
  show("total", memory.total), show("used", memory.used);
  WRONG(nvmlDeviceGetMemoryInfo, device, nullptr);
  more.version = nvmlMemory_v2;
  CALL(nvmlDeviceGetMemoryInfo_v2, device, &more);
  show("total", more.total), show("used", more.used), show("reserved", more.reserved);
  more.version = 5;
  CALL(nvmlDeviceGetMemoryInfo_v2, device, &more);
  nvmlUtilization_t rates{};
  CALL(nvmlDeviceGetUtilizationRates, device, &rates);
  WRONG(nvmlDeviceGetUtilizationRates, device, nullptr);
  LIST(nvmlDeviceGetAccountingPids, unsigned);
  nvmlAccountingStats_t stats{};
  WRONG(nvmlDeviceGetAccountingStats, device, 1, &stats);
  LIST(nvmlDeviceGetComputeRunningProcesses, nvmlProcessInfo_v1_t);
  LIST(nvmlDeviceGetComputeRunningProcesses_v2, nvmlProcessInfo_v2_t);
  LIST(nvmlDeviceGetComputeRunningProcesses_v3, nvmlProcessInfo_v2_t);
  LIST(nvmlDeviceGetGraphicsRunningProcesses, nvmlProcessInfo_v1_t);
  LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_v2_t);
  LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_v2_t);
  LIST(nvmlDeviceGetMPSComputeRunningProcesses, nvmlProcessInfo_v1_t);
  LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_v2_t);
  LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlProcessInfo_v2_t);
  nvmlProcessesUtilizationInfo_v1_t uses{};
  nvmlProcessDetailList_v1_t details{};
  WRONG(nvmlDeviceGetProcessUtilization, device, nullptr, nullptr, 0);
  CALL(nvmlDeviceGetProcessesUtilizationInfo, device, &uses);
  CALL(nvmlDeviceGetRunningProcessDetailList, device, &details);
}

}  // namespace

// calls [sensible] [granted]
int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    if (strcmp(arguments[i], "sensible") == 0) with_nonsense = false;
    if (strcmp(arguments[i], "granted") == 0) with_neighbours = false;
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);  // after a crash the last line tells where
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (cuda == nullptr || nvml == nullptr) return fprintf(stderr, "%s\n", dlerror()), 2;
  call_contexts();
  CALL(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
  call_figures();
  call_memory();
  call_arrays();
  call_pools();
  call_copies();
  call_handles();
  call_multicast();
  call_code();
  call_launches();
  call_graphs();
  CUstream other = nullptr;
  CALL(cuStreamCreate, &other, 0);
  CALL(cuStreamDestroy_v2, stream);
  CALL(cuStreamDestroy, other);
  WRONG(cuStreamDestroy_v2, nullptr);
  CALL(cuModuleUnload, module);
  call_nvml();
  CALL(cuCtxDestroy_v2, context);
#define CUDA_HOOK(symbol, base, version, mode) \
  if (asked.count(#symbol) == 0) printf("never asked: %s\n", #symbol);
#define NVML_HOOK(symbol) CUDA_HOOK(symbol, , , )
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
  return 0;
}
