// What a context costs is not told by the driver and differs between cards: 100 to 600 MiB for the first one of a
// process. The driver's free memory around the call shows it, but cuMemGetInfo needs a context on that device, which
// the first one by nature lacks; then NVML is asked if the program uses it, else a table holds.
//
// The primary context also becomes active unseen (the runtime has its own door to the driver). So its charge follows
// its state: whenever we meet a context for the first time, and after every retain, release and reset, the state is
// read and the charge made to agree.
#include "shim/context.h"

#include "shim/charge.h"
#include "shim/segments.h"

namespace kiboko::shim {

using region::ChargeKind;

namespace {

// ---- known contexts ------------------------------------------------------------------------------------------------

constexpr unsigned kMaxContexts = 1024;  // at once; those beyond are charged, but their memory has no owner
constexpr std::uint64_t kFreeIndex = 0, kTakenIndex = 1;

struct Known {
  std::atomic<std::uint64_t> handle{kFreeIndex};
  std::atomic<int> ordinal{0};
  std::atomic<bool> created{false};  // by cuCtxCreate; else the primary one, or a part of it
  std::atomic<int> attached{0};      // cuCtxAttach less cuCtxDetach
  std::atomic<std::uint64_t> charged{0};
  std::atomic<std::uint64_t> limits[kContextLimits] = {};
};
Known known[kMaxContexts];  // [0] stays free: index 0 means "not known"
std::atomic<unsigned> known_limit{1};
std::atomic<std::uint32_t> known_lock{0};
std::atomic<std::uint32_t> epoch{1};  // moves when a context goes: its handle may be another's tomorrow

// bytes * 2 + 1; 0 = not charged.
std::atomic<std::uint64_t> primary_charge[kMaxOrdinals];
std::atomic<std::uint64_t> measured_context[kMaxOrdinals];

std::uint64_t word_of(CUcontext context) { return reinterpret_cast<std::uintptr_t>(context); }

unsigned find_known(CUcontext context) {
  const unsigned limit = known_limit.load(std::memory_order_acquire);
  for (unsigned i = 1; i < limit; ++i)
    if (known[i].handle.load(std::memory_order_acquire) == word_of(context)) return i;
  return 0;
}

unsigned learn(CUcontext context, CUdevice ordinal, bool created, bool* first_sight) {
  const SpinBit held(known_lock);
  *first_sight = false;
  if (const unsigned there = find_known(context); there != 0) return there;
  *first_sight = true;
  for (unsigned i = 1; i < kMaxContexts; ++i) {
    if (known[i].handle.load(std::memory_order_relaxed) != kFreeIndex) continue;
    known[i].ordinal.store(ordinal, std::memory_order_relaxed);
    known[i].created.store(created, std::memory_order_relaxed);
    known[i].charged.store(0, std::memory_order_relaxed);
    known[i].attached.store(0, std::memory_order_relaxed);
    known[i].handle.store(word_of(context), std::memory_order_release);
    if (i >= known_limit.load(std::memory_order_relaxed)) known_limit.store(i + 1, std::memory_order_release);
    return i;
  }
  return 0;
}

// What is allocated in a context ends with it.
void drop_entries_of(unsigned owner) {
  std::uint64_t data[region::kMaxDevices] = {}, module[region::kMaxDevices] = {};
  pointers.sweep([&](const PointerEntry& entry) {
    if (entry.owner != owner || entry.what() == PointerKind::Pool) return false;
    data[entry.device] += entry.bytes();
    return true;
  });
  arrays.sweep([&](const HandleEntry& entry) {
    if (entry.owner == owner) data[entry.device] += entry.bytes;
    return entry.owner == owner;
  });
  modules.sweep([&](const HandleEntry& entry) {
    if (entry.owner == owner) module[entry.device] += entry.bytes;
    return entry.owner == owner;
  });
  for (unsigned device = 0; device < region::kMaxDevices; ++device) {
    if (data[device] != 0) account().refund(device, data[device], ChargeKind::Data);
    if (module[device] != 0) account().refund(device, module[device], ChargeKind::Module);
  }
}

void forget(unsigned index) {
  if (index == 0) return;
  epoch.fetch_add(1, std::memory_order_release);
  drop_entries_of(index);
  const int device = index_of(known[index].ordinal.load(std::memory_order_relaxed));
  std::uint64_t charged = known[index].charged.exchange(0, std::memory_order_relaxed);
  for (std::atomic<std::uint64_t>& limit : known[index].limits) charged += limit.exchange(0, std::memory_order_relaxed);
  if (device >= 0 && charged != 0) account().refund(static_cast<unsigned>(device), charged, ChargeKind::Context);
  known[index].handle.store(kFreeIndex, std::memory_order_release);
}

// ---- cost ----------------------------------------------------------------------------------------------------------

constexpr int kAttributeMajor = 75, kAttributeMinor = 76;
constexpr std::uint64_t kMiB = 1 << 20;

// What drivers of the 5xx series were seen to take for a bare context on a common card of each generation.
struct ContextCost {
  int capability;  // 10 × major + minor, and everything above up to the next row
  std::uint64_t mib;
};
constexpr ContextCost kContextCosts[] = {{30, 100}, {70, 304}, {75, 102},  {80, 414}, {86, 258},
                                         {89, 420}, {90, 528}, {100, 590}, {120, 520}};

std::uint64_t context_estimate(CUdevice ordinal) {
  if (const std::uint64_t seen = measured_context[ordinal].load(std::memory_order_relaxed); seen != 0) return seen;
  int major = 0, minor = 0;
  // A driver that does not know its own compute capability is no driver we have figures for.
  if (real.cuDeviceGetAttribute == nullptr ||
      real.cuDeviceGetAttribute(&major, kAttributeMajor, ordinal) != CUDA_SUCCESS ||
      real.cuDeviceGetAttribute(&minor, kAttributeMinor, ordinal) != CUDA_SUCCESS)
    return 0;
  std::uint64_t mib = 0;
  for (const ContextCost& cost : kContextCosts)
    if (major * 10 + minor >= cost.capability) mib = cost.mib;
  return mib * kMiB;
}

std::atomic<std::uint32_t> batons[region::kMaxDevices];  // one measurement at a time; who finds it taken does without

// What the next context of this device will cost.
void remember(CUdevice ordinal, const Overhead& overhead, std::uint64_t bytes) {
  if (overhead.seen() && bytes != 0) measured_context[ordinal].store(bytes, std::memory_order_relaxed);
}

bool is_granted(CUdevice ordinal) { return index_of(ordinal) >= 0; }

bool primary_is_active(CUdevice ordinal, bool* active) {
  unsigned flags = 0;
  int answer = 0;
  if (real.cuDevicePrimaryCtxGetState == nullptr ||
      real.cuDevicePrimaryCtxGetState(ordinal, &flags, &answer) != CUDA_SUCCESS)
    return false;
  *active = answer != 0;
  return true;
}

void forget_primary(CUdevice ordinal) {
  const unsigned limit = known_limit.load(std::memory_order_acquire);
  for (unsigned i = 1; i < limit; ++i) {
    if (known[i].ordinal.load(std::memory_order_relaxed) != ordinal || known[i].created.load(std::memory_order_relaxed))
      continue;
    std::uint64_t handle = known[i].handle.load(std::memory_order_acquire);
    if (handle <= kTakenIndex || !known[i].handle.compare_exchange_strong(handle, kTakenIndex)) continue;
    forget_context(reinterpret_cast<CUcontext>(handle));
    forget(i);
  }
}

// True: `bytes` are now what is charged for the primary context. False: it was charged already.
bool set_primary_charge(CUdevice ordinal, std::uint64_t bytes) {
  std::uint64_t none = 0;
  return primary_charge[ordinal].compare_exchange_strong(none, bytes * 2 + 1, std::memory_order_acq_rel);
}

void drop_primary_charge(CUdevice ordinal) {
  const std::uint64_t word = primary_charge[ordinal].exchange(0, std::memory_order_acq_rel);
  if (word > 1) account().refund(static_cast<unsigned>(index_of(ordinal)), word / 2, ChargeKind::Context);
}

// Makes the charge agree with the state; again when it moved meanwhile.
void reconcile_primary(CUdevice ordinal) {
  for (int tries = 0; tries < 3 && is_granted(ordinal); ++tries) {
    bool active = false;
    if (!primary_is_active(ordinal, &active)) return;
    const bool charged = primary_charge[ordinal].load(std::memory_order_acquire) != 0;
    if (active == charged) return;
    if (active) {
      const std::uint64_t bytes = context_estimate(ordinal);
      const auto device = static_cast<unsigned>(index_of(ordinal));
      account().add(device, bytes, ChargeKind::Context);
      if (!set_primary_charge(ordinal, bytes)) account().refund(device, bytes, ChargeKind::Context);
    } else {
      drop_primary_charge(ordinal);
      forget_primary(ordinal);
    }
  }
}

// ---- place ---------------------------------------------------------------------------------------------------------

struct CachedPlace {
  CUcontext context;
  std::uint32_t epoch;
  std::int16_t ordinal;
  std::uint16_t owner;
};
thread_local constinit CachedPlace cached{};

__attribute__((noinline)) Place find_place(CUcontext context, std::uint32_t now) {
  Place place;
  place.context = context;
  CUdevice ordinal = -1;
  if (real.cuCtxGetDevice == nullptr || real.cuCtxGetDevice(&ordinal) != CUDA_SUCCESS) return place;
  place.ordinal = static_cast<std::int16_t>(ordinal);
  place.device = static_cast<std::int16_t>(index_of(ordinal));
  if (place.device < 0) return place;
  bool first_sight = false;
  place.owner = learn(context, ordinal, false, &first_sight);
  if (first_sight) reconcile_primary(ordinal);
  cached = {context, now, place.ordinal, static_cast<std::uint16_t>(place.owner)};
  return place;
}

}  // namespace

Place current_place() {
  const std::uint32_t now = epoch.load(std::memory_order_acquire);
  CUcontext context = nullptr;
  if (real.cuCtxGetCurrent == nullptr || real.cuCtxGetCurrent(&context) != CUDA_SUCCESS || context == nullptr)
    return Place{};
  if (__builtin_expect(cached.context != context || cached.epoch != now, 0)) return find_place(context, now);
  return {context, cached.ordinal, static_cast<std::int16_t>(state.index_of_ordinal[cached.ordinal]), cached.owner};
}

Place place_of(CUcontext context) {
  Place place;
  place.context = context;
  place.owner = find_known(context);
  if (place.owner == 0) return place;
  place.ordinal = static_cast<std::int16_t>(known[place.owner].ordinal.load(std::memory_order_relaxed));
  place.device = static_cast<std::int16_t>(index_of(place.ordinal));
  return place;
}

void charge_to_limit(std::uint32_t owner, int limit, std::uint64_t bytes) {
  known[owner].limits[limit].fetch_add(bytes);
}

void refund_of_limit(std::uint32_t owner, int limit, std::uint64_t bytes) {
  std::atomic<std::uint64_t>& word = known[owner].limits[limit];
  std::uint64_t charged = word.load(), part = 0;
  do part = bytes < charged ? bytes : charged;
  while (!word.compare_exchange_weak(charged, charged - part));
  const int device = index_of(known[owner].ordinal.load(std::memory_order_relaxed));
  if (device >= 0 && part != 0) account().refund(static_cast<unsigned>(device), part, ChargeKind::Context);
}

// ---- measuring -----------------------------------------------------------------------------------------------------

namespace {
// Another grant's allocation in the same moment would be taken for ours. The agent says when others use the device. And
// where the device's memory is the host's, anybody's would.
bool others_use(unsigned device) {
  return state.page != nullptr &&
         state.page->live.devices[device].contended_until_ns.load(std::memory_order_relaxed) > region::os::now_ns();
}

// What a context takes is known within a factor; what code takes is not.
std::uint64_t plausible(ChargeKind kind, std::uint64_t estimate) {
  return kind == ChargeKind::Context && estimate != 0 ? 4 * estimate : 1024 * kMiB;
}
}  // namespace

Overhead::Overhead(unsigned device, CUdevice ordinal, ChargeKind kind, std::uint64_t estimate)
    : device_(device),
      ordinal_(ordinal),
      kind_(kind),
      estimate_(estimate),
      admitted_(estimate == 0 || admit(device, estimate, kind)) {
  if (!admitted_ || others_use(device) || is_unified(device)) return;
  holds_baton_ = batons[device].exchange(1, std::memory_order_acquire) == 0;
  if (!holds_baton_) return;
  total_before_ = account().total(device);
  measured_ = free_memory(&free_before_);
}

Overhead::~Overhead() {
  if (admitted_ && estimate_ != 0) account().refund(device_, estimate_, kind_);
  if (holds_baton_) batons[device_].store(0, std::memory_order_release);
}

bool Overhead::free_memory(std::uint64_t* bytes) {
  if (source_ != Source::Nvml && real.cuMemGetInfo_v2 != nullptr) {
    CUdevice current = -1;
    if (real.cuCtxGetDevice == nullptr || real.cuCtxGetDevice(&current) != CUDA_SUCCESS) current = -1;
    std::size_t free = 0, total = 0;
    if ((current == ordinal_ || state.ordinal_count == 1) && real.cuMemGetInfo_v2(&free, &total) == CUDA_SUCCESS) {
      source_ = Source::Driver;
      *bytes = free;
      return true;
    }
  }
  if (source_ == Source::Driver || !discover_nvml() || real.nvmlDeviceGetHandleByUUID == nullptr ||
      real.nvmlDeviceGetMemoryInfo == nullptr)
    return false;
  nvmlDevice_t handle = nullptr;
  nvmlMemory_t memory{};
  if (real.nvmlDeviceGetHandleByUUID(state.uuids[device_], &handle) != NVML_SUCCESS ||
      real.nvmlDeviceGetMemoryInfo(handle, &memory) != NVML_SUCCESS)
    return false;
  source_ = Source::Nvml;
  *bytes = memory.free;
  return true;
}

bool Overhead::finish(std::uint64_t* bytes) {
  std::uint64_t actual = estimate_, free_after = 0;
  if (measured_ && free_memory(&free_after) && account().total(device_) == total_before_ &&
      free_after <= free_before_ && free_before_ - free_after <= plausible(kind_, estimate_)) {
    actual = (free_before_ - free_after + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
    seen_ = true;
  }
  *bytes = actual;
  if (actual > estimate_ && !admit(device_, actual - estimate_, kind_)) return false;
  if (actual < estimate_) account().refund(device_, estimate_ - actual, kind_);
  admitted_ = false;
  return true;
}

// ---- hooks ---------------------------------------------------------------------------------------------------------

namespace {

template <class Call>
CUresult create(CUcontext* out, CUdevice ordinal, Call&& call) {
  if (out == nullptr) return call();
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  if (!is_granted(ordinal)) return call();  // it may exist, but nothing can be allocated in it
  Overhead overhead(static_cast<unsigned>(index_of(ordinal)), ordinal, ChargeKind::Context, context_estimate(ordinal));
  if (!overhead) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call();
  if (result != CUDA_SUCCESS || *out == nullptr) return result;
  std::uint64_t bytes = 0;
  if (!overhead.finish(&bytes)) {
    if (real.cuCtxDestroy_v2 != nullptr) real.cuCtxDestroy_v2(*out);
    *out = nullptr;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  remember(ordinal, overhead, bytes);
  bool first_sight = false;
  unsigned index = learn(*out, ordinal, true, &first_sight);
  if (index != 0 && !first_sight) {  // the handle of one that went unseen
    forget(index);
    index = learn(*out, ordinal, true, &first_sight);
  }
  if (index != 0) known[index].charged.store(bytes, std::memory_order_relaxed);
  return result;
}

template <class Call>
CUresult destroy(CUcontext context, Call&& call) {
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const unsigned index = context == nullptr ? 0 : find_known(context);
  // Out of the table before the driver may give the handle to the next context.
  if (index != 0) known[index].handle.store(kTakenIndex, std::memory_order_release);
  if (context != nullptr) forget_context(context);  // its events end with it
  const CUresult result = call();
  if (index != 0 && result == CUDA_SUCCESS)
    forget(index);
  else if (index != 0)
    known[index].handle.store(word_of(context), std::memory_order_release);
  if (result == CUDA_SUCCESS) pool_settle();
  return result;
}

// Each cuCtxAttach puts off the end by one cuCtxDetach.
CUresult detach(CUcontext context) {
  const auto call = [=] { return real.cuCtxDetach(context); };
  const unsigned index = active() && context != nullptr ? find_known(context) : 0;
  int attached = known[index].attached.load(std::memory_order_relaxed);
  while (attached > 0 && !known[index].attached.compare_exchange_weak(attached, attached - 1)) {
  }
  if (attached == 0) return destroy(context, call);
  const CUresult result = call();
  if (result != CUDA_SUCCESS) known[index].attached.fetch_add(1);
  return result;
}

CUresult attached(CUresult result, const CUcontext* context) {
  if (result != CUDA_SUCCESS || context == nullptr || enter() != Gate::Account) return result;
  current_place();  // attaching is what makes it known, if nothing was before
  if (const unsigned index = find_known(*context); index != 0) known[index].attached.fetch_add(1);
  return result;
}

CUresult retain(CUcontext* out, CUdevice ordinal) {
  bool active = false;
  if (out == nullptr || !is_granted(ordinal) || !primary_is_active(ordinal, &active))
    return real.cuDevicePrimaryCtxRetain(out, ordinal);
  if (active) {
    const CUresult result = real.cuDevicePrimaryCtxRetain(out, ordinal);
    if (result == CUDA_SUCCESS) reconcile_primary(ordinal);
    return result;
  }
  const auto device = static_cast<unsigned>(index_of(ordinal));
  Overhead overhead(device, ordinal, ChargeKind::Context, context_estimate(ordinal));
  if (!overhead) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = real.cuDevicePrimaryCtxRetain(out, ordinal);
  if (result != CUDA_SUCCESS) return result;
  std::uint64_t bytes = 0;
  if (!overhead.finish(&bytes)) {
    if (real.cuDevicePrimaryCtxRelease_v2 != nullptr) real.cuDevicePrimaryCtxRelease_v2(ordinal);
    *out = nullptr;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  remember(ordinal, overhead, bytes);
  if (!set_primary_charge(ordinal, bytes)) account().refund(device, bytes, ChargeKind::Context);  // two came at once
  bool first_sight = false;
  learn(*out, ordinal, false, &first_sight);
  return result;
}

template <class Call>
CUresult end_primary(CUdevice ordinal, Call&& call) {
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = call();
  if (result != CUDA_SUCCESS) return result;
  reconcile_primary(ordinal);
  pool_settle();
  return result;
}

}  // namespace
}  // namespace kiboko::shim

using namespace kiboko::shim;

SHIM_EXPORT CUresult cuCtxCreate(CUcontext* context, unsigned flags, CUdevice device) {
  if (!ready(real.cuCtxCreate)) return CUDA_ERROR_NOT_INITIALIZED;
  return create(context, device, [=] { return real.cuCtxCreate(context, flags, device); });
}

SHIM_EXPORT CUresult cuCtxCreate_v2(CUcontext* context, unsigned flags, CUdevice device) {
  if (!ready(real.cuCtxCreate_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return create(context, device, [=] { return real.cuCtxCreate_v2(context, flags, device); });
}

SHIM_EXPORT CUresult cuCtxCreate_v3(CUcontext* context, void* affinity, int affinity_count, unsigned flags,
                                    CUdevice device) {
  if (!ready(real.cuCtxCreate_v3)) return CUDA_ERROR_NOT_INITIALIZED;
  return create(context, device, [=] { return real.cuCtxCreate_v3(context, affinity, affinity_count, flags, device); });
}

SHIM_EXPORT CUresult cuCtxCreate_v4(CUcontext* context, void* parameters, unsigned flags, CUdevice device) {
  if (!ready(real.cuCtxCreate_v4)) return CUDA_ERROR_NOT_INITIALIZED;
  return create(context, device, [=] { return real.cuCtxCreate_v4(context, parameters, flags, device); });
}

SHIM_EXPORT CUresult cuCtxDestroy(CUcontext context) {
  if (!ready(real.cuCtxDestroy)) return CUDA_ERROR_NOT_INITIALIZED;
  return destroy(context, [=] { return real.cuCtxDestroy(context); });
}

SHIM_EXPORT CUresult cuCtxDestroy_v2(CUcontext context) {
  if (!ready(real.cuCtxDestroy_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return destroy(context, [=] { return real.cuCtxDestroy_v2(context); });
}

SHIM_EXPORT CUresult cuCtxAttach(CUcontext* context, unsigned flags) {
  if (!ready(real.cuCtxAttach)) return CUDA_ERROR_NOT_INITIALIZED;
  return attached(real.cuCtxAttach(context, flags), context);
}

SHIM_EXPORT CUresult cuCtxDetach(CUcontext context) {
  if (!ready(real.cuCtxDetach)) return CUDA_ERROR_NOT_INITIALIZED;
  return detach(context);
}

SHIM_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (!ready(real.cuDevicePrimaryCtxRetain)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  return gate == Gate::Pass ? real.cuDevicePrimaryCtxRetain(context, device) : retain(context, device);
}

SHIM_EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  if (!ready(real.cuDevicePrimaryCtxRelease)) return CUDA_ERROR_NOT_INITIALIZED;
  return end_primary(device, [=] { return real.cuDevicePrimaryCtxRelease(device); });
}

SHIM_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  if (!ready(real.cuDevicePrimaryCtxRelease_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return end_primary(device, [=] { return real.cuDevicePrimaryCtxRelease_v2(device); });
}

SHIM_EXPORT CUresult cuDevicePrimaryCtxReset(CUdevice device) {
  if (!ready(real.cuDevicePrimaryCtxReset)) return CUDA_ERROR_NOT_INITIALIZED;
  return end_primary(device, [=] { return real.cuDevicePrimaryCtxReset(device); });
}

SHIM_EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  if (!ready(real.cuDevicePrimaryCtxReset_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return end_primary(device, [=] { return real.cuDevicePrimaryCtxReset_v2(device); });
}
