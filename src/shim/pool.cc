// A pool takes memory from the device in pieces of its own choosing and keeps it after frees, until a synchronisation
// or a trim. So what counts is what it has reserved (RESERVED_MEM_CURRENT), whatever the program asked of it.
//
// The rounded request is charged before the call. After it the pool's charge is moved to the reserved figure, and the
// request's charge pays for the growth: too much is refunded, more than that must fit as well. The figure is read from
// the driver and written with a compare-and-swap on a word that carries a version, so that of two threads on one pool
// neither writes an older reading over a newer one: the growth is charged once, by whoever sees it first.
//
// Near the limit a pool that has room within what it holds may still serve a request, and what pools hold without
// using it is given back before anything is refused.
#include "shim/charge.h"
#include "shim/context.h"
#include "shim/graph.h"
#include "shim/graph_memory.h"

namespace kiboko::shim {

using region::ChargeKind;

std::atomic<bool> pools_used{false};

namespace {

constexpr unsigned kMaxPools = 4096;  // at once; allocations of those beyond are charged one by one
constexpr std::uint64_t kFree = 0, kTaken = 1;
constexpr int kUncharged = -1, kNotGranted = -2;  // instead of a device
constexpr int kReservedNow = CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, kUsedNow = 7, kLocationId = 11, kLocationType = 12;
constexpr struct {
  std::uint64_t first, last;
} kHostLocations{2, 4};  // host, host by NUMA node, host by the current NUMA node

struct alignas(64) Pool {
  std::atomic<std::uint64_t> handle{kFree};
  std::atomic<int> device{0};
  std::atomic<std::uint32_t> readers{0};  // threads that ask the driver about it; it is not destroyed meanwhile
  std::atomic<std::uint64_t> charged{0};  // as charge.h says
  std::atomic<std::uint64_t> live{0};     // pointers out of it that were not freed
  std::atomic<bool> orphaned{false};      // destroyed while such pointers exist; the driver keeps it until they go
};
Pool all_pools[kMaxPools];  // [0] stays free: index 0 means "not known"
std::atomic<unsigned> pool_limit{1};
std::atomic<std::uint32_t> pool_lock{0};

// Keeps the pool from being destroyed while we ask the driver about it.
class Reading {
 public:
  explicit Reading(Pool& pool) : pool_(pool) {
    pool_.readers.fetch_add(1);
    handle_ = pool_.handle.load();
  }
  ~Reading() { pool_.readers.fetch_sub(1, std::memory_order_release); }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  explicit operator bool() const { return handle_ > kTaken; }
  bool get(int attribute, std::uint64_t* bytes) const {
    return handle_ > kTaken && real.cuMemPoolGetAttribute(handle(), attribute, bytes) == CUDA_SUCCESS;
  }
  bool unused(std::uint64_t* bytes) const {
    std::uint64_t reserved = 0, used = 0;
    if (!get(kReservedNow, &reserved) || !get(kUsedNow, &used)) return false;
    *bytes = reserved > used ? reserved - used : 0;
    return true;
  }
  void trim() const {
    if (handle_ > kTaken && real.cuMemPoolTrimTo != nullptr) real.cuMemPoolTrimTo(handle(), 0);
  }

 private:
  CUmemoryPool handle() const { return reinterpret_cast<CUmemoryPool>(handle_); }
  Pool& pool_;
  std::uint64_t handle_;
};

void refund(unsigned device, std::uint64_t bytes) {
  if (bytes != 0) account().refund(device, bytes, ChargeKind::Data);
}

// Moves the pool's charge to what it has reserved. False: that is more than the limit allows.
bool settle(Pool& pool, std::uint64_t credit, bool may_refuse) {
  const Reading reading(pool);
  const auto device = static_cast<unsigned>(pool.device.load(std::memory_order_relaxed));
  if (!reading) return refund(device, credit), true;  // it is being destroyed
  return settle_charge(
      pool.charged, device, credit, may_refuse, [&](std::uint64_t* bytes) { return reading.get(kReservedNow, bytes); },
      [&] { reading.trim(); });
}

// ---- which pool ----------------------------------------------------------------------------------------------------

int device_or_not_granted(CUdevice ordinal) {
  const int device = index_of(ordinal);
  return device < 0 ? kNotGranted : device;
}

// Index of a pool, which is from now on `device`'s; 0 = there are too many.
unsigned learn(CUmemoryPool handle, int device) {
  const SpinBit held(pool_lock);
  HandleEntry entry{}, displaced;
  entry.key = reinterpret_cast<std::uintptr_t>(handle);
  if (pools.find(entry.key, &displaced)) return static_cast<unsigned>(displaced.link);
  for (unsigned i = 1; i < kMaxPools; ++i) {
    Pool& pool = all_pools[i];
    if (pool.handle.load(std::memory_order_acquire) != kFree) continue;
    entry.link = i;
    if (!pools.put(entry, &displaced)) return 0;
    pool.device.store(device, std::memory_order_relaxed);
    pool.charged.store(0, std::memory_order_relaxed);
    pool.live.store(0, std::memory_order_relaxed);
    pool.orphaned.store(false, std::memory_order_relaxed);
    pool.handle.store(entry.key, std::memory_order_release);
    if (i >= pool_limit.load(std::memory_order_relaxed)) pool_limit.store(i + 1, std::memory_order_release);
    pools_used.store(true, std::memory_order_release);
    return i;
  }
  return 0;
}

unsigned known_index(CUmemoryPool handle) {
  HandleEntry entry;
  return pools.find(reinterpret_cast<std::uintptr_t>(handle), &entry) ? static_cast<unsigned>(entry.link) : 0;
}

bool can_ask() { return real.cuMemPoolGetAttribute != nullptr; }

// A pool whose making we did not see: a device's own, or one that a newer driver function gave out.
unsigned learn_unseen(CUmemoryPool handle, CUdevice fallback) {
  std::uint64_t type = 0, id = 0;  // ints, in room for whatever an attribute may be
  if (real.cuMemPoolGetAttribute(handle, kLocationType, &type) != CUDA_SUCCESS) type = 0;
  if (type >= kHostLocations.first && type <= kHostLocations.last) return learn(handle, kUncharged);
  CUdevice ordinal = fallback;
  if (type == CU_MEM_LOCATION_TYPE_DEVICE && real.cuMemPoolGetAttribute(handle, kLocationId, &id) == CUDA_SUCCESS &&
      id < state.ordinal_count)
    ordinal = static_cast<CUdevice>(id);
  return learn(handle, device_or_not_granted(ordinal));
}

// A stream belongs to a device, which need not be the thread's current one.
CUdevice ordinal_of(CUstream stream, Place place) {
  constexpr std::uintptr_t kNamedStreams = 3;  // null, legacy, per-thread: the current context's
  CUcontext context = nullptr;
  if (state.ordinal_count < 2 || reinterpret_cast<std::uintptr_t>(stream) < kNamedStreams ||
      real.cuStreamGetCtx == nullptr || real.cuStreamGetCtx(stream, &context) != CUDA_SUCCESS ||
      context == place.context)
    return place.ordinal;
  const Place other = place_of(context);
  return other.ordinal >= 0 ? other.ordinal : place.ordinal;
}

// ---- allocation ----------------------------------------------------------------------------------------------------

// The request's charge, or none if it would not fit but the pool has the room already. False: it does not fit.
bool charge_request(Pool& pool, unsigned device, std::uint64_t* bytes) {
  if (over_limit(device, *bytes)) {
    const Reading reading(pool);
    std::uint64_t unused = 0;
    if (reading.unused(&unused) && unused >= *bytes) {
      *bytes = 0;
      return true;
    }
  }
  return admit(device, *bytes, ChargeKind::Data);
}

template <class Call, class Undo>
CUresult allocate_plain(CUdeviceptr* out, std::size_t bytes, unsigned device, Call&& call, Undo&& undo) {
  Charge charge(device, region::rounded(bytes));
  if (!charge) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call();
  if (result != CUDA_SUCCESS || *out == 0) return result;
  PointerEntry displaced;
  if (!pointers.put(pointer_entry(*out, charge.bytes(), device, PointerKind::Plain, 0), &displaced)) {
    undo();
    *out = 0;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  charge.keep();
  if (displaced.key != 0 && displaced.what() == PointerKind::Plain)
    refund(static_cast<unsigned>(displaced.device), displaced.bytes());
  return result;
}

template <class Call, class Undo>
CUresult allocate_from(Pool& pool, CUdeviceptr* out, std::size_t bytes, unsigned device, Call&& call, Undo&& undo) {
  std::uint64_t credit = region::rounded(bytes);
  const PointerEntry model =
      pointer_entry(0, credit, device, PointerKind::Pool, static_cast<unsigned>(&pool - all_pools));
  if (!charge_request(pool, device, &credit)) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call();
  const bool made = result == CUDA_SUCCESS && *out != 0;
  if (!made) refund(device, credit);
  const bool fits = settle(pool, made ? credit : 0, made);
  if (!made) return result;
  PointerEntry entry = model, displaced;
  entry.key = *out;
  if (!fits || !pointers.put(entry, &displaced)) {
    undo();
    *out = 0;
    Reading(pool).trim();
    settle(pool, 0, false);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  pool.live.fetch_add(1, std::memory_order_relaxed);
  if (displaced.key != 0 && displaced.what() == PointerKind::Plain)
    refund(static_cast<unsigned>(displaced.device), displaced.bytes());
  else if (displaced.key != 0 && displaced.what() == PointerKind::Pool)
    pool_pointer_freed(displaced);
  return result;
}

// `from` is the pool asked for, or null: the one of the stream's device.
template <class Call, class Undo>
CUresult allocate(CUdeviceptr* out, std::size_t bytes, CUmemoryPool from, CUstream stream, Call&& call, Undo&& undo) {
  if (out == nullptr || bytes == 0) return call();
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const Place place = current_place();
  if (place.context == nullptr && from == nullptr) return call();
  if (capturing(stream)) {  // a node of a graph; charged when the graph gets its memory
    watch_graph_memory();
    return call();
  }
  const CUdevice ordinal = ordinal_of(stream, place);
  int device = device_or_not_granted(ordinal);
  unsigned index = 0;
  const bool given = from != nullptr;
  if (can_ask() && (given || (real.cuDeviceGetMemPool != nullptr &&
                              real.cuDeviceGetMemPool(&from, ordinal) == CUDA_SUCCESS && from != nullptr)))
    if (index = known_index(from); index == 0) index = learn_unseen(from, ordinal);
  if (index != 0) device = all_pools[index].device.load(std::memory_order_relaxed);
  if (device == kUncharged) return call();
  if (device < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  if (index == 0) return allocate_plain(out, bytes, static_cast<unsigned>(device), call, undo);
  return allocate_from(all_pools[index], out, bytes, static_cast<unsigned>(device), call, undo);
}

template <class Call>
CUresult release(CUdeviceptr pointer, Call&& call) {
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  PointerEntry displaced;
  const PointerEntry entry = pointers.take(pointer);
  const CUresult result = call();
  if (entry.key == 0) {
    if (result == CUDA_SUCCESS) graph_memory_freed();
    return result;
  }
  if (result != CUDA_SUCCESS)
    pointers.put(entry, &displaced);
  else if (entry.what() == PointerKind::Plain)
    refund(static_cast<unsigned>(entry.device), entry.bytes());
  else if (entry.what() == PointerKind::Pool)
    pool_pointer_freed(entry);
  return result;
}

// ---- the end of a pool ---------------------------------------------------------------------------------------------

void give_up(Pool& pool) {
  const int device = pool.device.load(std::memory_order_relaxed);
  const std::uint64_t word = pool.charged.exchange(0, std::memory_order_acq_rel);
  if (device >= 0) refund(static_cast<unsigned>(device), charged_bytes(word));
  pool.orphaned.store(false, std::memory_order_relaxed);
  pool.handle.store(kFree, std::memory_order_release);
}

// One pointer less of a pool that is gone but for its pointers.
void shrink_orphan(Pool& pool, std::uint64_t bytes, bool last) {
  if (last) return give_up(pool);
  std::uint64_t word = pool.charged.load(std::memory_order_acquire), less = 0;
  do less = bytes < charged_bytes(word) ? bytes : charged_bytes(word);
  while (!pool.charged.compare_exchange_weak(word, next_charge(word, charged_bytes(word) - less)));
  refund(static_cast<unsigned>(pool.device.load(std::memory_order_relaxed)), less);
}

CUresult destroy(CUmemoryPool handle) {
  HandleEntry displaced;
  const HandleEntry entry = pools.take(reinterpret_cast<std::uintptr_t>(handle));
  if (entry.key == 0) return real.cuMemPoolDestroy(handle);
  Pool& pool = all_pools[entry.link];
  pool.handle.store(kTaken);
  while (pool.readers.load() != 0) region::os::yield_cpu();  // each is in one short question to the driver
  const CUresult result = real.cuMemPoolDestroy(handle);
  if (result != CUDA_SUCCESS) {
    pools.put(entry, &displaced);
    pool.handle.store(entry.key, std::memory_order_release);
    return result;
  }
  pool.orphaned.store(true);
  if (pool.live.load() == 0) give_up(pool);
  return result;
}

}  // namespace

void pool_pointer_freed(const PointerEntry& entry) {
  Pool& pool = all_pools[entry.owner % kMaxPools];
  const bool last = pool.live.fetch_sub(1) == 1;
  if (pool.orphaned.load())
    shrink_orphan(pool, entry.bytes(), last);
  else
    settle(pool, 0, false);
}

void settle_all_pools() {
  if (!active()) return;
  check_imports();
  const unsigned limit = pool_limit.load(std::memory_order_acquire);
  for (unsigned i = 1; i < limit; ++i)
    if (all_pools[i].device.load(std::memory_order_relaxed) >= 0 &&
        charged_bytes(all_pools[i].charged.load(std::memory_order_relaxed)) != 0)
      settle(all_pools[i], 0, false);
  settle_graph_memory();
}

bool trim_pools(unsigned device) {
  bool gave_back = trim_graph_memory(device);
  const unsigned limit = pool_limit.load(std::memory_order_acquire);
  for (unsigned i = 1; i < limit; ++i) {
    Pool& pool = all_pools[i];
    if (pool.device.load(std::memory_order_relaxed) != static_cast<int>(device)) continue;
    const std::uint64_t before = charged_bytes(pool.charged.load(std::memory_order_relaxed));
    {
      const Reading reading(pool);
      std::uint64_t unused = 0;
      if (!reading.unused(&unused) || unused == 0) continue;
      reading.trim();
    }
    settle(pool, 0, false);
    gave_back = gave_back || charged_bytes(pool.charged.load(std::memory_order_relaxed)) < before;
  }
  return gave_back;
}

}  // namespace kiboko::shim

using namespace kiboko::shim;

#define KIBOKO_POOL_HOOKS(suffix)                                                                              \
  SHIM_EXPORT CUresult cuMemAllocAsync##suffix(CUdeviceptr* out, std::size_t bytes, CUstream stream) {         \
    if (!ready(real.cuMemAllocAsync##suffix)) return CUDA_ERROR_NOT_INITIALIZED;                               \
    return allocate(                                                                                           \
        out, bytes, nullptr, stream, [=] { return real.cuMemAllocAsync##suffix(out, bytes, stream); },         \
        [=] {                                                                                                  \
          if (real.cuMemFreeAsync##suffix != nullptr) real.cuMemFreeAsync##suffix(*out, stream);               \
        });                                                                                                    \
  }                                                                                                            \
  SHIM_EXPORT CUresult cuMemAllocFromPoolAsync##suffix(CUdeviceptr* out, std::size_t bytes, CUmemoryPool pool, \
                                                       CUstream stream) {                                      \
    if (!ready(real.cuMemAllocFromPoolAsync##suffix)) return CUDA_ERROR_NOT_INITIALIZED;                       \
    const auto call = [=] { return real.cuMemAllocFromPoolAsync##suffix(out, bytes, pool, stream); };          \
    if (pool == nullptr) return call();                                                                        \
    return allocate(out, bytes, pool, stream, call, [=] {                                                      \
      if (real.cuMemFreeAsync##suffix != nullptr) real.cuMemFreeAsync##suffix(*out, stream);                   \
    });                                                                                                        \
  }                                                                                                            \
  SHIM_EXPORT CUresult cuMemFreeAsync##suffix(CUdeviceptr pointer, CUstream stream) {                          \
    if (!ready(real.cuMemFreeAsync##suffix)) return CUDA_ERROR_NOT_INITIALIZED;                                \
    return release(pointer, [=] { return real.cuMemFreeAsync##suffix(pointer, stream); });                     \
  }
KIBOKO_POOL_HOOKS()
KIBOKO_POOL_HOOKS(_ptsz)
#undef KIBOKO_POOL_HOOKS

SHIM_EXPORT CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* properties) {
  if (!ready(real.cuMemPoolCreate)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = real.cuMemPoolCreate(pool, properties);
  if (result != CUDA_SUCCESS || gate == Gate::Pass || pool == nullptr || properties == nullptr) return result;
  const CUmemLocation location = properties->location;
  learn(*pool, location.type == CU_MEM_LOCATION_TYPE_DEVICE ? device_or_not_granted(location.id) : kUncharged);
  return result;
}

SHIM_EXPORT CUresult cuMemPoolDestroy(CUmemoryPool pool) {
  if (!ready(real.cuMemPoolDestroy)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? real.cuMemPoolDestroy(pool) : CUDA_ERROR_OPERATING_SYSTEM;
  return destroy(pool);
}

namespace {
template <class Call>
CUresult and_settle(CUmemoryPool handle, Call&& call) {
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = call();
  if (result != CUDA_SUCCESS || gate == Gate::Pass) return result;
  const unsigned index = known_index(handle);
  if (index != 0 && all_pools[index].device.load(std::memory_order_relaxed) >= 0) settle(all_pools[index], 0, false);
  return result;
}
}  // namespace

SHIM_EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool pool, std::size_t keep_bytes) {
  if (!ready(real.cuMemPoolTrimTo)) return CUDA_ERROR_NOT_INITIALIZED;
  return and_settle(pool, [=] { return real.cuMemPoolTrimTo(pool, keep_bytes); });
}

SHIM_EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void* value) {
  if (!ready(real.cuMemPoolSetAttribute)) return CUDA_ERROR_NOT_INITIALIZED;
  return and_settle(pool, [=] { return real.cuMemPoolSetAttribute(pool, attribute, value); });
}

// Charged to the process that made it.
SHIM_EXPORT CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool* pool, void* handle, int type,
                                                        unsigned long long flags) {
  if (!ready(real.cuMemPoolImportFromShareableHandle)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = real.cuMemPoolImportFromShareableHandle(pool, handle, type, flags);
  if (result == CUDA_SUCCESS && gate == Gate::Account && pool != nullptr) learn(*pool, kUncharged);
  return result;
}
