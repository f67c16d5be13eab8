// cuMemAlloc and its relatives, host memory, and what can be asked of a pointer.
#include <stdlib.h>
#include <string.h>

#include <map>

#include "capture.h"
#include "context.h"
#include "memory.h"

using namespace sim;

namespace {

constexpr std::uint64_t kPitch = 512;

// Page-locked host memory, allocated or registered, by address.
struct HostRange {
  std::size_t bytes;
  unsigned flags;
  bool registered;
  Context* context;
};
std::mutex host_lock;
auto& host_ranges = kept_to_the_end<std::map<std::uint64_t, HostRange>>();

const std::pair<const std::uint64_t, HostRange>* find_host(std::uint64_t address) {
  auto after = host_ranges.upper_bound(address);
  if (after == host_ranges.begin()) return nullptr;
  --after;
  return address < after->first + after->second.bytes ? &*after : nullptr;
}

CUresult allocate_here(CUdeviceptr* out, std::uint64_t bytes, MemoryKind kind) {
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  if (const CUresult result = forbid_unsafe(); result != CUDA_SUCCESS) return result;
  return allocate(*context, bytes, kind, out);
}

CUresult allocate_host(void** out, std::size_t bytes, unsigned flags) {
  if (out == nullptr || bytes == 0 || flags > 7) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  void* address = nullptr;
  if (posix_memalign(&address, 4096, round_up(bytes, 4096)) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
  std::lock_guard<std::mutex> lock(host_lock);
  host_ranges[reinterpret_cast<std::uint64_t>(address)] = {bytes, flags, false, context};
  *out = address;
  return CUDA_SUCCESS;
}

CUresult free_host(void* address, bool registered) {
  std::lock_guard<std::mutex> lock(host_lock);
  const auto at = host_ranges.find(reinterpret_cast<std::uint64_t>(address));
  if (at == host_ranges.end() || at->second.registered != registered) {
    return registered ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : CUDA_ERROR_INVALID_VALUE;
  }
  host_ranges.erase(at);
  if (!registered) free(address);
  return CUDA_SUCCESS;
}

CUresult free_device(CUdeviceptr address) {
  Allocation* allocation = nullptr;
  {
    std::lock_guard<std::mutex> lock(memory_lock);
    allocation = find_allocation(address);
    if (allocation == nullptr || allocation->address != address || allocation->kind == MemoryKind::kImported) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  release(allocation);
  return CUDA_SUCCESS;
}

}  // namespace

SIM_FN(cuMemAlloc_v2, (CUdeviceptr * out, std::size_t bytes), (out, bytes)) {
  return allocate_here(out, bytes, MemoryKind::kDevice);
}
SIM_FN(cuMemAllocManaged, (CUdeviceptr * out, std::size_t bytes, unsigned flags), (out, bytes, flags)) {
  if (flags != 1 && flags != 2) return CUDA_ERROR_INVALID_VALUE;  // global or host
  return allocate_here(out, bytes, MemoryKind::kManaged);
}
SIM_FN(cuMemAllocPitch_v2,
       (CUdeviceptr * out, std::size_t* pitch, std::size_t width, std::size_t height, unsigned element),
       (out, pitch, width, height, element)) {
  if (pitch == nullptr || width == 0 || height == 0) return CUDA_ERROR_INVALID_VALUE;
  if (element != 4 && element != 8 && element != 16) return CUDA_ERROR_INVALID_VALUE;
  *pitch = round_up(width, kPitch);
  return allocate_here(out, *pitch * height, MemoryKind::kDevice);
}
SIM_FN(cuMemFree_v2, (CUdeviceptr address), (address)) {
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  return free_device(address);
}
SIM_FN(cuMemGetInfo_v2, (std::size_t * free, std::size_t* total), (free, total)) {
  if (free == nullptr && total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  const MemoryUse use = memory_use(*driver.shared, context->queue().device);
  if (free != nullptr) *free = use.free;
  if (total != nullptr) *total = use.total - use.reserved;
  return CUDA_SUCCESS;
}
SIM_FN(cuMemGetAddressRange_v2, (CUdeviceptr * base, std::size_t* bytes, CUdeviceptr address), (base, bytes, address)) {
  CUdeviceptr mapped = 0;
  std::uint64_t mapped_bytes = 0;
  int ordinal = 0;
  if (mapping_at(address, mapped, mapped_bytes, ordinal)) {
    if (base != nullptr) *base = mapped;
    if (bytes != nullptr) *bytes = mapped_bytes;
    return CUDA_SUCCESS;
  }
  std::lock_guard<std::mutex> lock(memory_lock);
  const Allocation* allocation = find_allocation(address);
  if (allocation == nullptr) return CUDA_ERROR_NOT_FOUND;
  if (base != nullptr) *base = allocation->address;
  if (bytes != nullptr) *bytes = allocation->bytes;
  return CUDA_SUCCESS;
}

// --- host memory -----------------------------------------------------------------------------------------------------

SIM_FN(cuMemAllocHost_v2, (void** out, std::size_t bytes), (out, bytes)) { return allocate_host(out, bytes, 0); }
SIM_FN(cuMemHostAlloc, (void** out, std::size_t bytes, unsigned flags), (out, bytes, flags)) {
  return allocate_host(out, bytes, flags);
}
SIM_FN(cuMemFreeHost, (void* address), (address)) { return free_host(address, false); }

static CUresult register_host(void* address, std::size_t bytes, unsigned flags) {
  if (address == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  const auto start = reinterpret_cast<std::uint64_t>(address);
  std::lock_guard<std::mutex> lock(host_lock);
  if (find_host(start) != nullptr || find_host(start + bytes - 1) != nullptr) {
    return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  }
  host_ranges[start] = {bytes, flags, true, context};
  return CUDA_SUCCESS;
}
SIM_FN(cuMemHostRegister, (void* address, std::size_t bytes, unsigned flags), (address, bytes, flags)) {
  return register_host(address, bytes, flags);
}
SIM_FN(cuMemHostRegister_v2, (void* address, std::size_t bytes, unsigned flags), (address, bytes, flags)) {
  return register_host(address, bytes, flags);
}
SIM_FN(cuMemHostUnregister, (void* address), (address)) { return free_host(address, true); }
SIM_FN(cuMemHostGetDevicePointer_v2, (CUdeviceptr * out, void* address, unsigned flags), (out, address, flags)) {
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(host_lock);
  if (find_host(reinterpret_cast<std::uint64_t>(address)) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUdeviceptr>(address);
  return CUDA_SUCCESS;
}
SIM_FN(cuMemHostGetFlags, (unsigned* out, void* address), (out, address)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(host_lock);
  const auto* found = find_host(reinterpret_cast<std::uint64_t>(address));
  if (found == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = found->second.flags;
  return CUDA_SUCCESS;
}

// --- what a pointer is ---

namespace {

// Everything that can be asked of a pointer, gathered once.
struct PointerFacts {
  bool known = false;
  Context* context = nullptr;
  unsigned type = 0;
  CUdeviceptr start = 0;
  std::uint64_t bytes = 0, id = 0;
  bool managed = false, imported = false;
  int ordinal = -2;
  Pool* pool = nullptr;
  bool host = false;
};

PointerFacts facts_of(CUdeviceptr address) {
  {
    std::lock_guard<std::mutex> lock(memory_lock);
    if (const Allocation* a = find_allocation(address)) {
      return {true,
              a->context,
              kMemoryTypeDevice,
              a->address,
              a->bytes,
              a->id,
              a->kind == MemoryKind::kManaged,
              a->kind == MemoryKind::kImported,
              a->ordinal,
              a->pool,
              false};
    }
  }
  {
    std::lock_guard<std::mutex> lock(host_lock);
    if (const auto* found = find_host(address)) {
      return {true,
              found->second.context,
              kMemoryTypeHost,
              found->first,
              found->second.bytes,
              found->first,
              false,
              false,
              found->second.context->ordinal,
              nullptr,
              true};
    }
  }
  PointerFacts facts;
  if (mapping_at(address, facts.start, facts.bytes, facts.ordinal)) {
    facts.known = true;
    facts.type = kMemoryTypeDevice;
    facts.id = facts.start;
    return facts;
  }
  return {};
}

template <class T>
CUresult put(void* data, T value) {
  memcpy(data, &value, sizeof value);
  return CUDA_SUCCESS;
}

CUresult answer(const PointerFacts& facts, int attribute, CUdeviceptr address, void* data) {
  switch (attribute) {
    case 1:
      return put(data, handle<CUcontext>(facts.context));
    case 2:
      return put(data, facts.type);
    case 3:
      return put(data, address);
    case 4:
      return facts.host || facts.managed ? put(data, address) : CUDA_ERROR_INVALID_VALUE;
    case 6:
      return put(data, 0);
    case 7:
    case 20:
      return put(data, facts.id);
    case 8:
      return put(data, static_cast<int>(facts.managed));
    case 9:
      return put(data, facts.ordinal);
    case 10:
      return put(data, static_cast<int>(!facts.host && !facts.managed && facts.pool == nullptr));
    case 11:
    case 19:
      return put(data, facts.start);
    case 12:
    case 18:
      return put(data, facts.bytes);
    case 13:
      return put(data, 1);
    case 14:
      return put(data, static_cast<std::uint64_t>(0));
    case 15:
      return put(data, 0);
    case 16:
      return put(data, 3);  // read and write
    case 17:
      return put(data, facts.pool);
    case 21:
      return put(data, 0);
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

}  // namespace

SIM_FN(cuPointerGetAttribute, (void* data, int attribute, CUdeviceptr address), (data, attribute, address)) {
  if (data == nullptr || attribute < 1 || attribute > 21) return CUDA_ERROR_INVALID_VALUE;
  const PointerFacts facts = facts_of(address);
  if (!facts.known) return CUDA_ERROR_INVALID_VALUE;
  return answer(facts, attribute, address, data);
}
// As the real one: an unknown pointer is no error here, its attributes read as nothing.
SIM_FN(cuPointerGetAttributes, (unsigned count, int* attributes, void** data, CUdeviceptr address),
       (count, attributes, data, address)) {
  if (count == 0 || attributes == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const PointerFacts facts = facts_of(address);
  for (unsigned i = 0; i < count; ++i) {
    if (data[i] == nullptr || attributes[i] < 1 || attributes[i] > 21) return CUDA_ERROR_INVALID_VALUE;
    const int attribute = attributes[i];
    if (facts.known && answer(facts, attribute, address, data[i]) == CUDA_SUCCESS) continue;
    const bool four_bytes = attribute == 2 || attribute == 6 || attribute == 8 || attribute == 9 || attribute == 10 ||
                            attribute == 13 || attribute == 15 || attribute == 16 || attribute == 21;
    if (attribute == 9) {
      put(data[i], -2);
    } else if (four_bytes) {
      put(data[i], 0);
    } else if (attribute != 5) {
      put(data[i], std::uint64_t{0});
    }
  }
  return CUDA_SUCCESS;
}
SIM_FN(cuPointerSetAttribute, (const void* value, int attribute, CUdeviceptr address), (value, attribute, address)) {
  constexpr int kSyncMemops = 6;
  if (value == nullptr || attribute != kSyncMemops || !facts_of(address).known) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}
