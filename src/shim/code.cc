// A launch cannot be measured as a whole call, since it passes through the gate in between; the measurement under way
// is kept here. One at a time on each device, as the baton (context.h) allows one.
#include "shim/code.h"

#include <new>

#include "shim/charge.h"
#include "shim/context.h"
#include "shim/governor.h"
#include "shim/launch.h"
#include "shim/pointers.h"

namespace kiboko::shim {

namespace {

// Handles are addresses of less than 48 bits; what belongs to no library has 0 there.
constexpr unsigned kOwnerShift = 48;
std::uint64_t word_of(CUlibrary library) {
  return reinterpret_cast<std::uintptr_t>(library) & ((std::uint64_t{1} << kOwnerShift) - 1);
}

std::atomic<unsigned> libraries_with_code{0};

// Functions that were launched, by a hash: two of the same hash pass for one, and the second is not measured.
constexpr unsigned kLaunchedBits = 1U << 15;
std::atomic<std::uint64_t> launched[kLaunchedBits / 64];

bool first_time(const void* function) {
  const std::uint64_t hash = (reinterpret_cast<std::uintptr_t>(function) * 0x9e3779b97f4a7c15ULL) >> 49;
  const std::uint64_t bit = std::uint64_t{1} << (hash % 64);
  std::atomic<std::uint64_t>& word = launched[hash / 64];
  return (word.load(std::memory_order_relaxed) & bit) == 0 &&
         (word.fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
}

struct UnderWay {
  std::atomic<const Lease*> thread{nullptr};
  std::uint32_t owner = 0;
  alignas(Overhead) unsigned char measurement[sizeof(Overhead)];
};
UnderWay under_way[region::kMaxDevices];

}  // namespace

void keep_code(std::uint32_t owner, unsigned device, CUlibrary library, std::uint64_t bytes) {
  if (bytes == 0) return;
  if (owner == 0) return account().refund(device, bytes, region::ChargeKind::Module);  // nobody would ever give it back
  if (library != nullptr) libraries_with_code.store(1, std::memory_order_relaxed);
  HandleEntry entry{}, displaced{};
  entry.key = word_of(library) | std::uint64_t{owner} << kOwnerShift;
  entry.owner = static_cast<std::uint16_t>(owner);
  entry.device = static_cast<std::uint16_t>(device);
  do {  // another thread may have put its part there meanwhile
    entry.bytes = bytes + modules.take(entry.key).bytes;
    if (!modules.put(entry, &displaced)) return account().refund(device, entry.bytes, region::ChargeKind::Module);
    bytes = displaced.bytes;
  } while (displaced.key != 0);
}

void drop_code(CUlibrary library) {
  if (libraries_with_code.load(std::memory_order_relaxed) == 0) return;
  std::uint64_t bytes[region::kMaxDevices] = {};
  modules.sweep([&](const HandleEntry& entry) {
    if (entry.key >> kOwnerShift != entry.owner || (entry.key ^ word_of(library)) << (64 - kOwnerShift) != 0)
      return false;
    bytes[entry.device] += entry.bytes;
    return true;
  });
  for (unsigned device = 0; device < region::kMaxDevices; ++device)
    if (bytes[device] != 0) account().refund(device, bytes[device], region::ChargeKind::Module);
}

bool before_first_launch(const void* function) {
  if (!first_time(function)) return false;
  const Place place = current_place();
  // What another process has charged and takes only now would be held for code, and for as long as the context lives.
  if (place.device < 0 || !alone_on(static_cast<unsigned>(place.device), monotonic_ns())) return false;
  UnderWay& mine = under_way[place.device];
  const Lease* nobody = nullptr;
  if (!mine.thread.compare_exchange_strong(nobody, &lease, std::memory_order_acquire)) return false;
  mine.owner = place.owner;
  new (mine.measurement) Overhead(static_cast<unsigned>(place.device), place.ordinal, region::ChargeKind::Module, 0);
  return true;
}

void after_first_launch() {
  for (unsigned device = 0; device < state.device_count; ++device) {
    UnderWay& mine = under_way[device];
    if (mine.thread.load(std::memory_order_relaxed) != &lease) continue;
    Overhead& overhead = *std::launder(reinterpret_cast<Overhead*>(mine.measurement));
    std::uint64_t bytes = 0;
    // It is loaded and launched: beyond the limit it counts all the same.
    if (!overhead.finish(&bytes)) account().add(device, bytes, region::ChargeKind::Module);
    overhead.~Overhead();
    const std::uint32_t owner = mine.owner;
    mine.thread.store(nullptr, std::memory_order_release);
    keep_code(owner, device, nullptr, bytes);
  }
}

}  // namespace kiboko::shim

using namespace kiboko::shim;

namespace {

// A call after which the library's code is in the current context.
template <class Call>
CUresult loads(CUlibrary library, Call&& call) {
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const Place place = current_place();
  if (place.device < 0) return call();
  const auto device = static_cast<unsigned>(place.device);
  Overhead overhead(device, place.ordinal, kiboko::region::ChargeKind::Module, 0);
  const CUresult result = call();
  std::uint64_t bytes = 0;
  if (result != CUDA_SUCCESS) return result;
  // Nothing unloads it from one context alone.
  if (!overhead.finish(&bytes)) account().add(device, bytes, kiboko::region::ChargeKind::Module);
  keep_code(place.owner, device, library, bytes);
  return result;
}

CUlibrary library_of(CUkernel kernel) {
  CUlibrary library = nullptr;
  if (real.cuKernelGetLibrary == nullptr || real.cuKernelGetLibrary(&library, kernel) != CUDA_SUCCESS) return nullptr;
  return library;
}

}  // namespace

SHIM_EXPORT CUresult cuLibraryGetModule(CUmodule* module, CUlibrary library) {
  KIBOKO_DRIVER(cuLibraryGetModule);
  return loads(library, [&] { return real.cuLibraryGetModule(module, library); });
}

SHIM_EXPORT CUresult cuLibraryGetGlobal(CUdeviceptr* pointer, std::size_t* bytes, CUlibrary library, const char* name) {
  KIBOKO_DRIVER(cuLibraryGetGlobal);
  return loads(library, [&] { return real.cuLibraryGetGlobal(pointer, bytes, library, name); });
}

SHIM_EXPORT CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  KIBOKO_DRIVER(cuKernelGetFunction);
  return loads(library_of(kernel), [&] { return real.cuKernelGetFunction(function, kernel); });
}

SHIM_EXPORT CUresult cuFuncLoad(CUfunction function) {
  KIBOKO_DRIVER(cuFuncLoad);
  return loads(nullptr, [&] { return real.cuFuncLoad(function); });
}
