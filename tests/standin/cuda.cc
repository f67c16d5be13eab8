// The stand-in libcuda.so.1: memory is counted and never backed, work takes no time.
//
// Three habits of real drivers that an interposer can trip over are here on purpose: cuGetProcAddress answers some
// names with an address inside the library that no export has (kInner), two variants share one address
// (cuIpcOpenMemHandle), and there are variants newer than anybody knows (cuMemAlloc_v3 of 13.2, cuMemFree_v3 of 14.0).
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

using namespace standin;

// One line each: the name, what it takes, what it does.
#define CALL(name, arguments, ...) \
  STANDIN_EXPORT Result name arguments { __VA_ARGS__ }
#define SAME(name, arguments, value) CALL(name, arguments, return value;)
#define UNSUPPORTED(name) CALL(name, (), return kNotSupported;)
// Twins for the per-thread default stream.
#define TWIN(name, arguments, value) SAME(name, arguments, value) SAME(name##_ptsz, arguments, value)

// clang-format off
SAME(cuInit, (unsigned), (initialized = true, kOk))
SAME(cuDriverGetVersion, (int* version), (*version = 13020, kOk))
SAME(cuDeviceGetCount, (int* count), initialized ? (*count = devices(), kOk) : kNotInitialized)
SAME(cuDeviceGet, (int* device, int ordinal), valid(ordinal) ? (*device = ordinal, kOk) : kInvalidDevice)
SAME(cuDeviceGetUuid, (void* out, int device), uuid_of(out, device))
SAME(cuDeviceGetUuid_v2, (void* out, int device), uuid_of(out, device))
SAME(cuDeviceGetAttribute, (int* value, int what, int), (*value = what == 75 ? 8 : what == 76 ? 6 : what != 18, kOk))
SAME(cuDeviceGetName, (char* name, int size, int), (snprintf(name, static_cast<size_t>(size), "Stand-in"), kOk))
SAME(cuDeviceTotalMem, (unsigned* bytes, int device), total_memory(bytes, device))
SAME(cuDeviceTotalMem_v2, (size_t* bytes, int device), total_memory(bytes, device))
SAME(cuMemGetInfo, (unsigned* free, unsigned* all), memory_info(free, all))
SAME(cuMemGetInfo_v2, (size_t* free, size_t* all), memory_info(free, all))

SAME(cuMemAlloc, (unsigned* out, unsigned bytes), allocate(out, bytes))
SAME(cuMemAlloc_v2, (Pointer* out, size_t bytes), allocate(out, bytes))
SAME(cuMemAlloc_v3, (int future, Pointer* out, size_t bytes), future == 42 ? allocate(out, bytes) : kInvalid)
SAME(cuMemAllocPitch, (unsigned* out, unsigned* pitch, unsigned width, unsigned height, unsigned),
     allocate_pitch(out, pitch, width, height))
SAME(cuMemAllocPitch_v2, (Pointer* out, size_t* pitch, size_t width, size_t height, unsigned),
     allocate_pitch(out, pitch, width, height))
SAME(cuMemAllocManaged, (Pointer* out, size_t bytes, unsigned), allocate(out, bytes))
SAME(cuMemFree, (unsigned pointer), release(pointer))
SAME(cuMemFree_v2, (Pointer pointer), release(pointer))
SAME(cuMemFree_v3, (int future, Pointer pointer), future == 42 ? release(pointer) : kInvalid)
SAME(cuMemcpyHtoD_v2, (Pointer, const void*, size_t), kOk)
SAME(cuMemcpyDtoH_v2, (void*, Pointer, size_t), kOk)
SAME(cuMemsetD8_v2, (Pointer, unsigned char, size_t), kOk)
SAME(cuMemAdvise, (Pointer, size_t, int, int device), valid(device) ? kOk : kInvalidDevice)
SAME(cuMemAdvise_v2, (Pointer, size_t, int, uint64_t location), valid(static_cast<int>(location >> 32)) ? kOk : kInvalidDevice)

struct Array1D { unsigned width, height; int format; unsigned channels; };
struct Array1D64 { size_t width, height; int format; unsigned channels; };
struct Array3D { unsigned width, height, depth; int format; unsigned channels, flags; };
struct Array3D64 { size_t width, height, depth; int format; unsigned channels, flags; };
SAME(cuArrayCreate, (Array** out, const Array1D* d), create_array(out, {d->width, d->height, 0, d->format, d->channels}))
SAME(cuArrayCreate_v2, (Array** out, const Array1D64* d), create_array(out, {d->width, d->height, 0, d->format, d->channels}))
SAME(cuArray3DCreate, (Array** out, const Array3D* d), create_array(out, {d->width, d->height, d->depth, d->format, d->channels}))
SAME(cuArray3DCreate_v2, (Array** out, const Array3D64* d), create_array(out, {d->width, d->height, d->depth, d->format, d->channels}))
SAME(cuArrayDestroy, (Array* array), destroy_array(array))
SAME(cuMipmappedArrayCreate, (Array** out, const Array3D64* d, unsigned), create_array(out, {d->width, d->height, d->depth, d->format, d->channels}))
SAME(cuMipmappedArrayDestroy, (Array* array), destroy_array(array))
struct Requirements { size_t size, alignment; unsigned reserved[4]; };
SAME(cuArrayGetMemoryRequirements, (Requirements* out, Array* array, int), (out->size = blocks[array->block].bytes, out->alignment = 512, kOk))
SAME(cuMipmappedArrayGetMemoryRequirements, (Requirements* out, Array* array, int), (out->size = blocks[array->block].bytes, out->alignment = 512, kOk))

TWIN(cuMemAllocAsync, (Pointer* out, size_t bytes, Stream*), allocate_default(out, bytes))
TWIN(cuMemAllocFromPoolAsync, (Pointer* out, size_t bytes, Pool* pool, Stream*), allocate_from(pool, out, bytes))
TWIN(cuMemFreeAsync, (Pointer pointer, Stream*), release(pointer))
SAME(cuDeviceGetDefaultMemPool, (Pool** out, int device), valid(device) ? (default_pools[device].device = device, *out = &default_pools[device], kOk) : kInvalidDevice)
SAME(cuDeviceGetMemPool, (Pool** out, int device), cuDeviceGetDefaultMemPool(out, device))
struct PoolProperties { int type, handle_types, location_type, location_id; };
CALL(cuMemPoolCreate, (Pool** out, const PoolProperties* p),
  if (!valid(p->location_id)) return kInvalidDevice;
  *out = new Pool{p->location_id, 0, 0, 0};
  return kOk;)
CALL(cuMemPoolTrimTo, (Pool* pool, size_t keep),
  Lock lock;
  const uint64_t least = pool->used > keep ? pool->used : keep;
  if (pool->reserved > least) { used[pool->device] -= pool->reserved - least; pool->reserved = least; }
  return kOk;)
SAME(cuMemPoolDestroy, (Pool* pool), (cuMemPoolTrimTo(pool, 0), kOk))
SAME(cuMemPoolSetAttribute, (Pool* pool, int attribute, uint64_t* value), attribute == 4 ? (pool->threshold = *value, kOk) : kOk)
SAME(cuMemPoolGetAttribute, (Pool* pool, int attribute, uint64_t* value),
     (*value = attribute == 4 ? pool->threshold : attribute == 5 || attribute == 6 ? pool->reserved : attribute >= 7 ? pool->used : 0, kOk))
UNSUPPORTED(cuMemPoolImportFromShareableHandle)

struct AllocationProperties { int type, handle_types, location_type, location_id; void* win32; unsigned char flags[8]; };
CALL(cuMemCreate, (unsigned long long* handle, size_t bytes, const AllocationProperties* p, unsigned long long),
  if (!initialized) return kNotInitialized;
  if (bytes % granule() != 0 || (p->location_type == 1 && !valid(p->location_id))) return kInvalid;
  Lock lock;
  const uint32_t id = new_block(p->location_type == 1 ? p->location_id : 0, bytes, nullptr);
  *handle = id;
  return id != 0 ? kOk : kNoMemory;)
CALL(cuMemRelease, (unsigned long long handle), Lock lock; drop_block(static_cast<uint32_t>(handle)); return kOk;)
CALL(cuMemAddressReserve, (Pointer* out, size_t bytes, size_t, Pointer, unsigned long long),
  Lock lock; *out = next_address; next_address += rounded(bytes) + (2 << 20); return kOk;)
SAME(cuMemAddressFree, (Pointer, size_t), kOk)
SAME(cuMemSetAccess, (Pointer, size_t, const void*, size_t), kOk)
SAME(cuMemGetAllocationGranularity, (size_t* out, const void*, int), (*out = granule(), kOk))
CALL(cuMemGetAllocationPropertiesFromHandle, (AllocationProperties* out, unsigned long long handle),
  *out = {}; out->type = 1; out->location_type = 1; out->location_id = blocks[handle].device; return kOk;)
CALL(cuMemMap, (Pointer at, size_t bytes, size_t, unsigned long long handle, unsigned long long),
  Lock lock;
  for (Mapping& m : mappings)
    if (m.bytes == 0) { m = {at, bytes, static_cast<uint32_t>(handle)}; ++blocks[handle].references; return kOk; }
  return kNoMemory;)
CALL(cuMemUnmap, (Pointer at, size_t bytes),
  Lock lock;
  for (Mapping& m : mappings)
    if (m.bytes != 0 && m.at >= at && m.at < at + bytes) { m.bytes = 0; drop_block(m.block); }
  return kOk;)
CALL(cuMemRetainAllocationHandle, (unsigned long long* handle, void* address),
  const auto at = reinterpret_cast<Pointer>(address);
  Lock lock;
  for (Mapping& m : mappings)
    if (m.bytes != 0 && at >= m.at && at < m.at + m.bytes) { *handle = m.block; ++blocks[m.block].references; return kOk; }
  return kInvalid;)
CALL(cuMulticastCreate, (unsigned long long* object, const void*),
  Lock lock;
  const uint32_t id = new_block(0, 0, nullptr);
  blocks[id].multicast = id != 0;
  *object = id;
  return id != 0 ? kOk : kNoMemory;)
SAME(cuMulticastAddDevice, (unsigned long long, int), kOk)
CALL(cuMulticastBindMem, (unsigned long long object, size_t at, unsigned long long handle, size_t, size_t, unsigned long long),
  Lock lock; return bind_block(static_cast<uint32_t>(object), at, static_cast<uint32_t>(handle));)
SAME(cuMulticastBindMem_v2, (unsigned long long object, int, size_t at, unsigned long long handle, size_t offset, size_t bytes, unsigned long long flags),
     cuMulticastBindMem(object, at, handle, offset, bytes, flags))
CALL(cuMulticastBindAddr, (unsigned long long object, size_t at, Pointer pointer, size_t, unsigned long long),
  Lock lock; return bind_block(static_cast<uint32_t>(object), at, block_mapped_at(pointer));)
SAME(cuMulticastBindAddr_v2, (unsigned long long object, int, size_t at, Pointer pointer, size_t bytes, unsigned long long flags),
     cuMulticastBindAddr(object, at, pointer, bytes, flags))
CALL(cuMulticastUnbind, (unsigned long long object, int, size_t at, size_t),
  Lock lock; const uint64_t offset = at; return unbind(static_cast<uint32_t>(object), &offset) ? kOk : kInvalid;)
UNSUPPORTED(cuMemImportFromShareableHandle)
UNSUPPORTED(cuIpcOpenMemHandle)
STANDIN_EXPORT Result cuIpcOpenMemHandle_v2() __attribute__((alias("cuIpcOpenMemHandle")));
UNSUPPORTED(cuIpcCloseMemHandle)
UNSUPPORTED(cuExternalMemoryGetMappedBuffer)

SAME(cuCtxCreate, (Context** out, unsigned, int device), create_context(out, device))
SAME(cuCtxCreate_v2, (Context** out, unsigned, int device), create_context(out, device))
SAME(cuCtxCreate_v3, (Context** out, void*, int, unsigned, int device), create_context(out, device))
SAME(cuCtxCreate_v4, (Context** out, void*, unsigned, int device), create_context(out, device))
SAME(cuCtxDestroy, (Context* context), destroy_context(context))
SAME(cuCtxDestroy_v2, (Context* context), destroy_context(context))
SAME(cuCtxAttach, (Context** out, unsigned), attach(out))
SAME(cuCtxDetach, (Context* context), detach(context))
SAME(cuCtxSetCurrent, (Context* context), (current = context, kOk))
SAME(cuCtxGetCurrent, (Context** out), (*out = current, kOk))
SAME(cuCtxGetDevice, (int* device), current != nullptr ? (*device = current->device, kOk) : kInvalidContext)
SAME(cuCtxGetDevice_v2, (int* device, Context* context), context != nullptr ? (*device = context->device, kOk) : cuCtxGetDevice(device))
SAME(cuCtxSynchronize, (), kOk)
SAME(cuCtxSynchronize_v2, (Context*), kOk)
SAME(cuDevicePrimaryCtxRetain, (Context** out, int device), retain_primary(out, device))
SAME(cuDevicePrimaryCtxRelease, (int device), release_primary(device, false))
SAME(cuDevicePrimaryCtxRelease_v2, (int device), release_primary(device, false))
SAME(cuDevicePrimaryCtxReset, (int device), release_primary(device, true))
SAME(cuDevicePrimaryCtxReset_v2, (int device), release_primary(device, true))
SAME(cuDevicePrimaryCtxGetState, (int device, unsigned* flags, int* active), (*flags = 0, *active = primary[device].references > 0, kOk))

SAME(cuModuleLoad, (void** out, const char*), make(out, 0))
SAME(cuModuleLoadData, (void** out, const void*), make(out, 0))
SAME(cuModuleLoadDataEx, (void** out, const void*, unsigned, int*, void**), make(out, 0))
SAME(cuModuleLoadFatBinary, (void** out, const void*), make(out, 0))
SAME(cuModuleUnload, (void*), kOk)
SAME(cuModuleGetFunction, (void** out, void*, const char*), make(out, 1))
SAME(cuLibraryLoadData, (void** out, const void*, int*, void**, unsigned, int*, void**, unsigned), make(out, 2))
SAME(cuLibraryLoadFromFile, (void** out, const char*, int*, void**, unsigned, int*, void**, unsigned), make(out, 2))
SAME(cuLibraryUnload, (void*), kOk)

SAME(cuGraphCreate, (void** out, unsigned), make(out, 3))
SAME(cuGraphInstantiate, (void** out, void*, void**, char*, size_t), make(out, 4))
SAME(cuGraphInstantiate_v2, (void** out, void*, void**, char*, size_t), make(out, 4))
SAME(cuGraphInstantiateWithFlags, (void** out, void*, unsigned long long), make(out, 4))
TWIN(cuGraphInstantiateWithParams, (void** out, void*, void*), make(out, 4))
TWIN(cuGraphLaunch, (void*, Stream*), kOk)
SAME(cuGraphExecDestroy, (void*), kOk)
SAME(cuGraphExecUpdate, (void*, void*, void**, int* result), (result != nullptr ? *result = 0 : 0, kOk))
SAME(cuGraphExecUpdate_v2, (void*, void*, void*), kOk)
TWIN(cuGraphUpload, (void*, Stream*), kOk)
SAME(cuDeviceGraphMemTrim, (int), kOk)
SAME(cuDeviceGetGraphMemAttribute, (int, int, uint64_t* value), (*value = 0, kOk))

TWIN(cuStreamBeginCapture, (Stream* s), s == nullptr ? kInvalid : (s->capturing = 1, kOk))
TWIN(cuStreamBeginCapture_v2, (Stream* s, int), s == nullptr ? kInvalid : (s->capturing = 1, kOk))
TWIN(cuStreamBeginCaptureToGraph, (Stream* s, void*, void*, void*, size_t, int), s == nullptr ? kInvalid : (s->capturing = 1, kOk))
TWIN(cuStreamEndCapture, (Stream* s, void** out), (s->capturing = 0, make(out, 3)))
TWIN(cuStreamIsCapturing, (Stream* s, int* status),
     (*status = reinterpret_cast<uintptr_t>(s) > 2 ? s->capturing : 0, kOk))  // 1 and 2 name the default streams
SAME(cuThreadExchangeStreamCaptureMode, (int*), kOk)
SAME(cuStreamCreate, (Stream** out, unsigned), (*out = new Stream{}, kOk))
SAME(cuStreamDestroy, (Stream* s), (delete s, kOk))
SAME(cuStreamDestroy_v2, (Stream* s), (delete s, kOk))
TWIN(cuStreamSynchronize, (Stream*), kOk)
TWIN(cuStreamQuery, (Stream*), kOk)
TWIN(cuStreamWaitEvent, (Stream*, Event*, unsigned), kOk)
SAME(cuEventCreate, (Event** out, unsigned), (*out = new Event{}, kOk))
SAME(cuEventDestroy_v2, (Event* event), (delete event, kOk))
TWIN(cuEventRecord, (Event* event, Stream*), (event->ns = now_ns(), kOk))
SAME(cuEventQuery, (Event*), kOk)
SAME(cuEventSynchronize, (Event*), kOk)
SAME(cuEventElapsedTime, (float* ms, Event* a, Event* b), (*ms = b->ns > a->ns ? static_cast<float>(b->ns - a->ns) / 1e6F : 0, kOk))
SAME(cuEventElapsedTime_v2, (float* ms, Event* a, Event* b), cuEventElapsedTime(ms, a, b))

#define SHAPE void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream*, void**
SAME(cuLaunch, (void*), kOk)
SAME(cuLaunchGrid, (void*, int, int), kOk)
SAME(cuLaunchGridAsync, (void*, int, int, Stream*), kOk)
TWIN(cuLaunchKernel, (SHAPE, void**), kOk)
TWIN(cuLaunchKernelEx, (const void*, void*, void**, void**), kOk)
TWIN(cuLaunchCooperativeKernel, (SHAPE), kOk)
SAME(cuLaunchCooperativeKernelMultiDevice, (void*, unsigned, unsigned), kOk)
// clang-format on

STANDIN_EXPORT Result cuGetProcAddress(const char* symbol, void** function, int version, unsigned long long flags);
STANDIN_EXPORT Result cuGetProcAddress_v2(const char* symbol, void** function, int version, unsigned long long flags,
                                          int* status);

namespace {

Result inner_allocate(Pointer* out, size_t bytes) { return allocate(out, bytes); }
Result inner_allocate_future(int future, Pointer* out, size_t bytes) {
  return future == 42 ? allocate(out, bytes) : kInvalid;
}
Result inner_free(Pointer pointer) { return release(pointer); }
Result inner_pitch(Pointer* out, size_t* pitch, size_t width, size_t height, unsigned) {
  return allocate_pitch(out, pitch, width, height);
}

struct Row {
  const char* base;
  const char* symbol;
  void* function;
  int version;
  bool per_thread;
};
#define B(name, version) {#name, #name, reinterpret_cast<void*>(&name), version, false},
#define S(name, suffix, version) {#name, #name #suffix, reinterpret_cast<void*>(&name##suffix), version, false},
#define P(name, suffix, version) {#name, #name #suffix, reinterpret_cast<void*>(&name##suffix), version, true},
#define I(name, suffix, version, inner) {#name, #name #suffix, reinterpret_cast<void*>(&inner), version, false},
// clang-format off
const Row kRows[] = {
  B(cuInit, 2000) B(cuDriverGetVersion, 2020) B(cuDeviceGetCount, 2000) B(cuDeviceGet, 2000)
  B(cuDeviceGetUuid, 9020) S(cuDeviceGetUuid, _v2, 11040) B(cuDeviceGetAttribute, 2000) B(cuDeviceGetName, 2000)
  B(cuDeviceTotalMem, 2000) S(cuDeviceTotalMem, _v2, 3020) B(cuMemGetInfo, 2000) S(cuMemGetInfo, _v2, 3020)
  B(cuMemAlloc, 2000) I(cuMemAlloc, _v2, 3020, inner_allocate) I(cuMemAlloc, _v3, 13020, inner_allocate_future)
  B(cuMemAllocPitch, 2000) I(cuMemAllocPitch, _v2, 3020, inner_pitch) B(cuMemAllocManaged, 6000)
  B(cuMemFree, 2000) I(cuMemFree, _v2, 3020, inner_free) S(cuMemFree, _v3, 14000)
  S(cuMemcpyHtoD, _v2, 3020) S(cuMemcpyDtoH, _v2, 3020) S(cuMemsetD8, _v2, 3020)
  B(cuMemAdvise, 8000) S(cuMemAdvise, _v2, 12020)
  B(cuArrayCreate, 2000) S(cuArrayCreate, _v2, 3020) B(cuArray3DCreate, 2000) S(cuArray3DCreate, _v2, 3020)
  B(cuArrayDestroy, 2000) B(cuMipmappedArrayCreate, 5000) B(cuMipmappedArrayDestroy, 5000)
  B(cuArrayGetMemoryRequirements, 11060) B(cuMipmappedArrayGetMemoryRequirements, 11060)
  B(cuMemAllocAsync, 11020) P(cuMemAllocAsync, _ptsz, 11020)
  B(cuMemAllocFromPoolAsync, 11020) P(cuMemAllocFromPoolAsync, _ptsz, 11020)
  B(cuMemFreeAsync, 11020) P(cuMemFreeAsync, _ptsz, 11020)
  B(cuDeviceGetDefaultMemPool, 11020) B(cuDeviceGetMemPool, 11020) B(cuMemPoolCreate, 11020)
  B(cuMemPoolDestroy, 11020) B(cuMemPoolTrimTo, 11020) B(cuMemPoolSetAttribute, 11020)
  B(cuMemPoolGetAttribute, 11020) B(cuMemPoolImportFromShareableHandle, 11020)
  B(cuMemCreate, 10020) B(cuMemRelease, 10020) B(cuMemAddressReserve, 10020) B(cuMemAddressFree, 10020)
  B(cuMemSetAccess, 10020) B(cuMemGetAllocationGranularity, 10020) B(cuMemGetAllocationPropertiesFromHandle, 10020)
  B(cuMulticastCreate, 12010) B(cuMulticastAddDevice, 12010) B(cuMulticastUnbind, 12010)
  B(cuMulticastBindMem, 12010) S(cuMulticastBindMem, _v2, 13010)
  B(cuMulticastBindAddr, 12010) S(cuMulticastBindAddr, _v2, 13010)
  B(cuMemMap, 10020) B(cuMemUnmap, 10020) B(cuMemRetainAllocationHandle, 11000) B(cuMemImportFromShareableHandle, 10020)
  B(cuIpcOpenMemHandle, 4010) S(cuIpcOpenMemHandle, _v2, 11000) B(cuIpcCloseMemHandle, 4010)
  B(cuExternalMemoryGetMappedBuffer, 10000)
  B(cuCtxCreate, 2000) S(cuCtxCreate, _v2, 3020) S(cuCtxCreate, _v3, 11040) S(cuCtxCreate, _v4, 12050)
  B(cuCtxDestroy, 2000) S(cuCtxDestroy, _v2, 4000) B(cuCtxAttach, 2000) B(cuCtxDetach, 2000)
  B(cuCtxSetCurrent, 4000) B(cuCtxGetCurrent, 4000)
  B(cuCtxGetDevice, 2000) S(cuCtxGetDevice, _v2, 13000) B(cuCtxSynchronize, 2000) S(cuCtxSynchronize, _v2, 13000)
  B(cuDevicePrimaryCtxRetain, 7000) B(cuDevicePrimaryCtxRelease, 7000) S(cuDevicePrimaryCtxRelease, _v2, 11000)
  B(cuDevicePrimaryCtxReset, 7000) S(cuDevicePrimaryCtxReset, _v2, 11000) B(cuDevicePrimaryCtxGetState, 7000)
  B(cuModuleLoad, 2000) B(cuModuleLoadData, 2000) B(cuModuleLoadDataEx, 2010) B(cuModuleLoadFatBinary, 2000)
  B(cuModuleUnload, 2000) B(cuModuleGetFunction, 2000)
  B(cuLibraryLoadData, 12000) B(cuLibraryLoadFromFile, 12000) B(cuLibraryUnload, 12000)
  B(cuGraphCreate, 10000) B(cuGraphInstantiate, 10000) S(cuGraphInstantiate, _v2, 11000)
  {"cuGraphInstantiate", "cuGraphInstantiateWithFlags", reinterpret_cast<void*>(&cuGraphInstantiateWithFlags), 12000,
   false},
  B(cuGraphInstantiateWithFlags, 11040) B(cuGraphInstantiateWithParams, 12000)
  P(cuGraphInstantiateWithParams, _ptsz, 12000) B(cuGraphLaunch, 10000) P(cuGraphLaunch, _ptsz, 10000)
  B(cuGraphExecDestroy, 10000) B(cuGraphExecUpdate, 10020) S(cuGraphExecUpdate, _v2, 12000)
  B(cuGraphUpload, 11010) P(cuGraphUpload, _ptsz, 11010) B(cuDeviceGraphMemTrim, 11040) B(cuDeviceGetGraphMemAttribute, 11040)
  B(cuStreamBeginCapture, 10000) P(cuStreamBeginCapture, _ptsz, 10000)
  S(cuStreamBeginCapture, _v2, 10010) P(cuStreamBeginCapture, _v2_ptsz, 10010)
  B(cuStreamBeginCaptureToGraph, 12030) P(cuStreamBeginCaptureToGraph, _ptsz, 12030)
  B(cuStreamEndCapture, 10000) P(cuStreamEndCapture, _ptsz, 10000)
  B(cuStreamIsCapturing, 10000) P(cuStreamIsCapturing, _ptsz, 10000) B(cuThreadExchangeStreamCaptureMode, 10010)
  B(cuStreamCreate, 2000) B(cuStreamDestroy, 2000) S(cuStreamDestroy, _v2, 4000)
  B(cuStreamSynchronize, 2000) P(cuStreamSynchronize, _ptsz, 7000) B(cuStreamQuery, 2000) P(cuStreamQuery, _ptsz, 7000)
  B(cuStreamWaitEvent, 3020) P(cuStreamWaitEvent, _ptsz, 7000)
  B(cuEventCreate, 2000) S(cuEventDestroy, _v2, 4000) B(cuEventRecord, 2000) P(cuEventRecord, _ptsz, 7000)
  B(cuEventQuery, 2000) B(cuEventSynchronize, 2000) B(cuEventElapsedTime, 2000) S(cuEventElapsedTime, _v2, 12080)
  B(cuLaunch, 2000) B(cuLaunchGrid, 2000) B(cuLaunchGridAsync, 2000)
  B(cuLaunchKernel, 4000) P(cuLaunchKernel, _ptsz, 7000) B(cuLaunchKernelEx, 11060) P(cuLaunchKernelEx, _ptsz, 11060)
  B(cuLaunchCooperativeKernel, 9000) P(cuLaunchCooperativeKernel, _ptsz, 9000)
  B(cuLaunchCooperativeKernelMultiDevice, 9000) B(cuGetProcAddress, 11030) S(cuGetProcAddress, _v2, 12000)
};
// clang-format on

// Byte by byte: libc's comparison takes more or fewer instructions by where the strings lie, and the instruction gate
// counts what a look-up takes.
bool same(const char* one, const char* other) {
  for (; *one == *other; one++, other++)
    if (*one == 0) return true;
  return false;
}

const Row* look_up(const char* symbol, int version, bool per_thread, bool* known) {
  const Row* best = nullptr;
  for (const Row& row : kRows) {
    if (!same(row.base, symbol)) continue;
    *known = true;
    if (row.version > version || (row.per_thread && !per_thread)) continue;
    if (best == nullptr || row.version > best->version || (row.version == best->version && row.per_thread)) best = &row;
  }
  return best;
}

}  // namespace

STANDIN_EXPORT Result cuGetProcAddress_v2(const char* symbol, void** function, int version, unsigned long long flags,
                                          int* status) {
  if (symbol == nullptr || function == nullptr) return kInvalid;
  bool known = false;
  const Row* row = look_up(symbol, version, (flags & 2) != 0, &known);
  *function = row != nullptr ? row->function : nullptr;
  if (status != nullptr) *status = row != nullptr ? 0 : known ? 2 : 1;
  return row != nullptr ? kOk : kNotFound;
}

STANDIN_EXPORT Result cuGetProcAddress(const char* symbol, void** function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}

// For tests: which variant lives at an address that cuGetProcAddress gave.
STANDIN_EXPORT const char* standin_variant_at(const void* address) {
  for (const Row& row : kRows)
    if (row.function == address) return row.symbol;
  return nullptr;
}
