// cuMemPool*, cuMemAllocAsync, cuMemAllocFromPoolAsync, cuMemFreeAsync.
//
// A pool is sums: which bytes of what it holds are free does not matter, because addresses are plentiful. So there is
// no fragmentation, and memory freed on a stream is free for everybody at once. Pools live under pool_lock, which is
// never held while memory is charged to the shared device by another pool's user: charging waits for nobody here.
#include "pool.h"

#include <string.h>

#include <algorithm>
#include <vector>

#include "capture.h"
#include "context.h"

namespace sim {
namespace {

constexpr std::uint64_t kStep = 32 * kMiB;  // a pool grows by this much at a time when the device has it

std::mutex pool_lock;
auto& pools = kept_to_the_end<std::vector<Pool*>>();
Pool* default_pools[kMaxDevices];
Pool* current_pools[kMaxDevices];

Pool* default_pool(int ordinal) {
  if (default_pools[ordinal] == nullptr) {
    auto* pool = new Pool;
    pool->ordinal = ordinal;
    pool->is_default = true;
    pool->properties.alloc_type = 1;
    pool->properties.location = {kLocationDevice, ordinal};
    default_pools[ordinal] = pool;
    pools.push_back(pool);
  }
  return default_pools[ordinal];
}

Pool* current_pool(int ordinal) {
  return current_pools[ordinal] != nullptr ? current_pools[ordinal] : default_pool(ordinal);
}

bool charge_pool(const Pool& pool, std::uint64_t bytes) {
  if (pool.host) return true;
  if (ensure_channel(*driver.queues[pool.ordinal]) != CUDA_SUCCESS) return false;
  return charge(*driver.shared, driver.queues[pool.ordinal]->channel, bytes);
}

void refund_pool(const Pool& pool, std::uint64_t bytes) {
  if (!pool.host && bytes > 0) refund(*driver.shared, driver.queues[pool.ordinal]->channel, bytes);
}

// pool_lock held. Makes room for `bytes` more in use.
bool grow(Pool& pool, std::uint64_t bytes) {
  const std::uint64_t wanted = pool.used + bytes;
  if (pool.properties.max_size != 0 && wanted > pool.properties.max_size) return false;
  if (wanted > pool.reserved) {
    const std::uint64_t most = round_up(wanted, kStep) - pool.reserved;
    const std::uint64_t least = round_up(wanted, kBlock) - pool.reserved;
    if (charge_pool(pool, most)) {
      pool.reserved += most;
    } else if (charge_pool(pool, least)) {
      pool.reserved += least;
    } else {
      return false;
    }
  }
  pool.used = wanted;
  pool.used_high = std::max(pool.used_high, pool.used);
  pool.reserved_high = std::max(pool.reserved_high, pool.reserved);
  return true;
}

void trim(Pool& pool, std::uint64_t keep) {
  const std::uint64_t target = std::max(round_up(pool.used, kBlock), keep);
  if (pool.reserved <= target) return;
  refund_pool(pool, pool.reserved - target);
  pool.reserved = target;
}

void destroy(Pool* pool) {
  refund_pool(*pool, pool->reserved);
  std::erase(pools, pool);
  delete pool;
}

CUresult allocate_from(Stream& stream, Pool* pool, std::size_t bytes, CUdeviceptr* out) {
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (stream.capture != nullptr) return capture_alloc(stream, bytes, out);
  const std::uint64_t charged = rounded(bytes);
  std::lock_guard<std::mutex> lock(pool_lock);
  if (pool == nullptr) pool = current_pool(stream.context->ordinal);
  if (bytes > (std::uint64_t{1} << 48) || !grow(*pool, charged)) return CUDA_ERROR_OUT_OF_MEMORY;
  std::lock_guard<std::mutex> memory(memory_lock);
  Allocation* allocation = take_address(charged);
  if (allocation == nullptr) {
    pool->used -= charged;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  allocation->bytes = bytes;
  allocation->context = stream.context;
  allocation->ordinal = pool->ordinal;
  allocation->kind = MemoryKind::kPool;
  allocation->pool = pool;
  allocation->id = driver.next_id.fetch_add(1);
  ++pool->live;
  *out = allocation->address;
  return CUDA_SUCCESS;
}

bool is_host_location(const CUmemLocation& location) { return location.type >= kLocationHost && location.type <= 4; }

CUresult check_location(const CUmemLocation& location) {
  if (is_host_location(location)) return CUDA_SUCCESS;
  if (location.type != kLocationDevice) return CUDA_ERROR_INVALID_VALUE;
  return valid_ordinal(location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

}  // namespace

void return_to_pool(Allocation* allocation) {
  std::lock_guard<std::mutex> lock(pool_lock);
  Pool* pool = allocation->pool;
  {
    std::lock_guard<std::mutex> memory(memory_lock);
    pool->used -= allocation->charged;
    give_address(allocation);
  }
  if (--pool->live == 0 && pool->doomed) destroy(pool);
}

void trim_pools(int ordinal) {
  std::lock_guard<std::mutex> lock(pool_lock);
  for (Pool* pool : pools) {
    if (pool->ordinal == ordinal) trim(*pool, pool->threshold);
  }
}

}  // namespace sim

using namespace sim;

// --- allocating ---

SIM_STREAM_FN(cuMemAllocAsync, (CUdeviceptr * out, std::size_t bytes, CUstream given), (out, bytes, given)) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  return allocate_from(*stream, nullptr, bytes, out);
}
SIM_STREAM_FN(cuMemAllocFromPoolAsync, (CUdeviceptr * out, std::size_t bytes, CUmemoryPool wanted, CUstream given),
              (out, bytes, wanted, given)) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  Pool* pool = object<Pool>(wanted);
  return pool == nullptr ? CUDA_ERROR_INVALID_VALUE : allocate_from(*stream, pool, bytes, out);
}
SIM_STREAM_FN(cuMemFreeAsync, (CUdeviceptr address, CUstream given), (address, given)) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  if (stream->capture != nullptr) return capture_free(*stream, address);
  Allocation* allocation = nullptr;
  {
    std::lock_guard<std::mutex> lock(memory_lock);
    allocation = find_allocation(address);
  }
  if (allocation == nullptr || allocation->address != address) return CUDA_ERROR_INVALID_VALUE;
  release(allocation);
  return CUDA_SUCCESS;
}

// --- pools ---

SIM_FN(cuMemPoolCreate, (CUmemoryPool * out, const CUmemPoolProps* properties), (out, properties)) {
  if (out == nullptr || properties == nullptr || properties->alloc_type < 1) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_location(properties->location); result != CUDA_SUCCESS) return result;
  auto* pool = new Pool;
  pool->host = is_host_location(properties->location);
  pool->ordinal = pool->host ? 0 : properties->location.id;
  pool->properties = *properties;
  std::lock_guard<std::mutex> lock(pool_lock);
  pools.push_back(pool);
  *out = handle<CUmemoryPool>(pool);
  return CUDA_SUCCESS;
}
SIM_FN(cuMemPoolDestroy, (CUmemoryPool given), (given)) {
  Pool* pool = object<Pool>(given);
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (pool->is_default) return CUDA_ERROR_NOT_PERMITTED;
  std::lock_guard<std::mutex> lock(pool_lock);
  for (Pool*& current : current_pools) {
    if (current == pool) current = nullptr;
  }
  if (pool->live == 0) {
    destroy(pool);
  } else {
    pool->doomed = true;
  }
  return CUDA_SUCCESS;
}
SIM_FN(cuMemPoolTrimTo, (CUmemoryPool given, std::size_t keep), (given, keep)) {
  Pool* pool = object<Pool>(given);
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(pool_lock);
  trim(*pool, keep);
  return CUDA_SUCCESS;
}

static constexpr int kPoolThreshold = 4, kReservedNow = 5, kReservedHigh = 6, kUsedNow = 7, kUsedHigh = 8;

SIM_FN(cuMemPoolGetAttribute, (CUmemoryPool given, int attribute, void* value), (given, attribute, value)) {
  Pool* pool = object<Pool>(given);
  if (pool == nullptr || value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(pool_lock);
  if (attribute >= 1 && attribute <= 3) {
    memcpy(value, &pool->reuse[attribute - 1], sizeof(int));
    return CUDA_SUCCESS;
  }
  std::uint64_t number = 0;
  switch (attribute) {
    case kPoolThreshold:
      number = pool->threshold;
      break;
    case kReservedNow:
      number = pool->reserved;
      break;
    case kReservedHigh:
      number = pool->reserved_high;
      break;
    case kUsedNow:
      number = pool->used;
      break;
    case kUsedHigh:
      number = pool->used_high;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  memcpy(value, &number, sizeof number);
  return CUDA_SUCCESS;
}
SIM_FN(cuMemPoolSetAttribute, (CUmemoryPool given, int attribute, void* value), (given, attribute, value)) {
  Pool* pool = object<Pool>(given);
  if (pool == nullptr || value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(pool_lock);
  if (attribute >= 1 && attribute <= 3) {
    memcpy(&pool->reuse[attribute - 1], value, sizeof(int));
    return CUDA_SUCCESS;
  }
  std::uint64_t number = 0;
  memcpy(&number, value, sizeof number);
  if (attribute == kPoolThreshold) {
    pool->threshold = number;
  } else if (attribute == kReservedHigh && number == 0) {  // high marks can only be reset
    pool->reserved_high = pool->reserved;
  } else if (attribute == kUsedHigh && number == 0) {
    pool->used_high = pool->used;
  } else {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
SIM_FN(cuMemPoolSetAccess, (CUmemoryPool given, const CUmemAccessDesc* list, std::size_t count), (given, list, count)) {
  if (object<Pool>(given) == nullptr || (list == nullptr && count > 0)) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    if (const CUresult result = check_location(list[i].location); result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}
SIM_FN(cuMemPoolGetAccess, (int* flags, CUmemoryPool given, CUmemLocation* location), (flags, given, location)) {
  if (flags == nullptr || location == nullptr || object<Pool>(given) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = 3;
  return check_location(*location);
}

// --- which pool a device uses ---

static CUresult pool_of(CUmemoryPool* out, CUdevice device, bool current) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard<std::mutex> lock(pool_lock);
  *out = handle<CUmemoryPool>(current ? current_pool(device) : default_pool(device));
  return CUDA_SUCCESS;
}
static CUresult set_pool(CUdevice device, CUmemoryPool given) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  Pool* pool = object<Pool>(given);
  if (pool == nullptr || pool->ordinal != device) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(pool_lock);
  current_pools[device] = pool;
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGetDefaultMemPool, (CUmemoryPool * out, CUdevice device), (out, device)) {
  return pool_of(out, device, false);
}
SIM_FN(cuDeviceGetMemPool, (CUmemoryPool * out, CUdevice device), (out, device)) { return pool_of(out, device, true); }
SIM_FN(cuDeviceSetMemPool, (CUdevice device, CUmemoryPool pool), (device, pool)) { return set_pool(device, pool); }
SIM_FN(cuMemGetDefaultMemPool, (CUmemoryPool * out, CUmemLocation* location, int type), (out, location, type)) {
  if (location == nullptr || location->type != kLocationDevice) return CUDA_ERROR_NOT_SUPPORTED;
  return pool_of(out, location->id, false);
}
SIM_FN(cuMemGetMemPool, (CUmemoryPool * out, CUmemLocation* location, int type), (out, location, type)) {
  if (location == nullptr || location->type != kLocationDevice) return CUDA_ERROR_NOT_SUPPORTED;
  return pool_of(out, location->id, true);
}
SIM_FN(cuMemSetMemPool, (CUmemLocation * location, int type, CUmemoryPool pool), (location, type, pool)) {
  if (location == nullptr || location->type != kLocationDevice) return CUDA_ERROR_NOT_SUPPORTED;
  return set_pool(location->id, pool);
}
