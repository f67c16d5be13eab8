// dlsym must not be wrapped by an ordinary call: RTLD_NEXT and RTLD_DEFAULT are answered relative to the caller's
// return address. The entry points in route_<arch>.S therefore jump to the real function for every name that is not
// ours, and come here only for names in hooks.def. Our own dlsym and dlvsym carry no version, so that a program's
// reference to any version of them is satisfied by ours; for the same reason a call to either from here would find
// ourselves, and the real ones are looked up in libc's tables instead (elf.h).
#include "shim/route.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

#include "region/os.h"
#include "shim/elf.h"
#include "shim/fork.h"

namespace kiboko::shim {

RealFunctions real;

const Hook kHooks[kHookCount] = {
#define CUDA_HOOK(symbol, base, version, mode) {#symbol, #base, reinterpret_cast<void*>(&::symbol), version, mode},
#define NVML_HOOK(symbol) {#symbol, nullptr, reinterpret_cast<void*>(&::symbol), 0, 0},
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
};

namespace {

static_assert(offsetof(RealFunctions, cuArrayGetMemoryRequirements) == kHookCount * sizeof(void*));

constexpr unsigned kBuckets = 512;

constexpr std::uint32_t hash_of(const char* text) {
  std::uint32_t hash = 2166136261U;
  for (; *text != 0; ++text) hash = (hash ^ static_cast<unsigned char>(*text)) * 16777619U;
  return hash ^ (hash >> 15);
}

struct NameTable {
  std::uint16_t slot[kBuckets];  // HookId + 1, open addressing
};

constexpr bool same_name(const char* a, const char* b) {
  for (; *a != 0 && *a == *b; ++a, ++b) {
  }
  return *a == *b;
}

constexpr const char* kNames[] = {
#define CUDA_HOOK(symbol, base, version, mode) #symbol,
#define NVML_HOOK(symbol) #symbol,
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
};

constexpr const char* kBases[] = {
#define CUDA_HOOK(symbol, base, version, mode) #base,
#define NVML_HOOK(symbol) #symbol,
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
};

// The variants of a base stand together, the one that has its name first: row_for relies on it.
constexpr bool grouped() {
  for (unsigned id = 0; id < kHookCount; ++id)
    if (!same_name(kNames[id], kBases[id]) && (id == 0 || !same_name(kBases[id - 1], kBases[id]))) return false;
  return true;
}
static_assert(grouped());

constexpr NameTable make_name_table() {
  NameTable table{};
  for (unsigned id = 0; id < kHookCount; ++id) {
    unsigned at = hash_of(kNames[id]) % kBuckets;
    while (table.slot[at] != 0) at = (at + 1) % kBuckets;
    table.slot[at] = static_cast<std::uint16_t>(id + 1);
  }
  return table;
}
constexpr NameTable kNameTable = make_name_table();

// Most names that are asked for are not ours, and most of those differ from ours in the eight characters behind "cu" or
// "nv": a set of bits tells, without a look at the rest.
constexpr unsigned kFilterBits = 4096;

constexpr unsigned filter_bit(std::uint64_t characters) {
  return static_cast<unsigned>((characters * 0x9e3779b97f4a7c15ULL) >> 52);
}

constexpr std::uint64_t characters_at(const char* text) {
  std::uint64_t characters = 0;
  for (unsigned i = 0; i < 8 && text[i] != 0; ++i)
    characters |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
  return characters;
}

// The same, read as one word where that cannot run into the next page. Both architectures put the first byte lowest.
[[gnu::noinline, gnu::cold]] std::uint64_t characters_at_the_end_of_a_page(const char* text) {
  return characters_at(text);
}
[[gnu::always_inline]] inline std::uint64_t quick_characters_at(const char* text) {
  if (__builtin_expect((reinterpret_cast<std::uintptr_t>(text) & 4095U) > 4088, 0))
    return characters_at_the_end_of_a_page(text);
  std::uint64_t word;
  memcpy(&word, text, sizeof word);
  const std::uint64_t ends = (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;
  if (ends == 0) return word;
  return word & ((std::uint64_t{1} << (static_cast<unsigned>(__builtin_ctzll(ends)) & ~7U)) - 1);
}

struct NameFilter {
  std::uint64_t bits[kFilterBits / 64];
};
constexpr NameFilter make_name_filter() {
  NameFilter filter{};
  for (const char* name : kNames) {
    const unsigned bit = filter_bit(characters_at(name + 2));
    filter.bits[bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
  return filter;
}
constexpr NameFilter kNameFilter = make_name_filter();

// Of a name that has two characters at least.
[[gnu::always_inline]] inline bool may_be_ours(const char* name) {
  const unsigned bit = filter_bit(quick_characters_at(name + 2));
  return (kNameFilter.bits[bit / 64] >> (bit % 64) & 1U) != 0;
}

std::atomic<bool> cuda_known{false}, nvml_known{false};
std::atomic<int> discovering{0};
LoadedLibrary cuda_library, nvml_library;

// Real pointers of the hooked functions → row. Filled once with `real`, read without locks afterwards.
struct PointerTable {
  std::atomic<void*> pointer[kBuckets];
  std::uint16_t row[kBuckets];
  bool shared[kBuckets];  // several variants have this address
};
constinit PointerTable pointers = {};

unsigned pointer_bucket(const void* pointer) {
  return static_cast<unsigned>((reinterpret_cast<std::uintptr_t>(pointer) * 0x9e3779b97f4a7c15ULL) >> 55) % kBuckets;
}

void* real_pointer(unsigned id) {
  void* pointer;
  memcpy(&pointer, reinterpret_cast<const char*>(&real) + id * sizeof(void*), sizeof pointer);
  return pointer;
}

void set_real_pointer(unsigned id, void* pointer) {
  memcpy(reinterpret_cast<char*>(&real) + id * sizeof(void*), &pointer, sizeof pointer);
}

void remember_pointer(void* pointer, unsigned id) {
  unsigned at = pointer_bucket(pointer);
  while (void* there = pointers.pointer[at].load(std::memory_order_relaxed)) {
    if (there == pointer) {  // the rows are told apart by name and version
      if (pointers.row[at] != id) pointers.shared[at] = true;
      return;
    }
    at = (at + 1) % kBuckets;
  }
  pointers.row[at] = static_cast<std::uint16_t>(id);
  pointers.pointer[at].store(pointer, std::memory_order_release);
}

void fill_hooked(const LoadedLibrary& library, bool cuda) {
  for (unsigned id = 0; id < kHookCount; ++id) {
    if ((kHooks[id].base != nullptr) != cuda) continue;
    void* pointer = find_symbol(library, kHooks[id].symbol);
    if (pointer == nullptr) continue;
    set_real_pointer(id, pointer);
    if (cuda) remember_pointer(pointer, id);
  }
}

template <class F>
void assign(F& target, void* pointer) {
  memcpy(&target, &pointer, sizeof pointer);
}

// Of what every driver has, some is called without a look whether it is there. Where it is not, it answers so.
template <class... Arguments>
CUresult lacking(Arguments...) {
  return CUDA_ERROR_NOT_SUPPORTED;
}
template <class... Arguments>
void fill_gap(CUresult (*&function)(Arguments...)) {
  if (function == nullptr) function = lacking<Arguments...>;
}

void fill_cuda(const LoadedLibrary& library) {
  fill_hooked(library, true);
#define X(name, result, arguments) assign(real.name, find_symbol(library, #name));
  KIBOKO_DRIVER_CALLS(X)
#undef X
  fill_gap(real.cuCtxGetDevice);
  // An event that cannot be told the time of would only be waited for.
  if (real.cuEventElapsedTime == nullptr || real.cuEventQuery == nullptr || real.cuEventRecord == nullptr)
    real.cuEventCreate = nullptr;
  fill_gap(real.cuEventCreate);
  fill_gap(real.cuEventElapsedTime);
  fill_gap(real.cuEventQuery);
  fill_gap(real.cuEventRecord);
  fill_gap(real.cuMemPoolGetAttribute);
}

void fill_nvml(const LoadedLibrary& library) {
  fill_hooked(library, false);
#define X(name, result, arguments) assign(real.name, find_symbol(library, #name));
  KIBOKO_NVML_CALLS(X)
#undef X
}

// A driver is a library that starts the API and counts devices, and is not us; the file's name does not matter.
bool is_cuda_driver(const LoadedLibrary& library) {
  return find_symbol(library, "cuInit") != nullptr && find_symbol(library, "cuDeviceGetCount") != nullptr;
}
bool is_nvml(const LoadedLibrary& library) {
  return find_symbol(library, "nvmlDeviceGetCount_v2") != nullptr && find_symbol(library, "nvmlInit_v2") != nullptr;
}

bool learn(const LoadedLibrary& library, bool cuda) {
  if (!library) return false;
  std::atomic<bool>& known = cuda ? cuda_known : nvml_known;
  // Two threads may look up at once; the loser waits for a walk over one symbol table, with no lock of the loader held.
  // A fork that had begun before we watched for it leaves its child with the walk of a thread that it does not have.
  const int self = ::getpid();
  int expected = 0;
  while (!discovering.compare_exchange_weak(expected, self, std::memory_order_acquire)) {
    if (expected == self || expected == 0) {
      expected = 0;
      region::os::yield_cpu();
    }
  }
  if (!known.load(std::memory_order_relaxed)) {
    (cuda ? cuda_library : nvml_library) = library;
    cuda ? fill_cuda(library) : fill_nvml(library);
    known.store(true, std::memory_order_release);
  }
  discovering.store(0, std::memory_order_release);
  return true;
}

// Is `found` a function of the driver that `real` describes? Learns the driver when this is the first sight of it.
bool is_drivers(void* found, bool cuda) {
  std::atomic<bool>& known = cuda ? cuda_known : nvml_known;
  const LoadedLibrary& library = cuda ? cuda_library : nvml_library;
  if (known.load(std::memory_order_acquire)) return library.contains(found);
  watch_forks();
  const LoadedLibrary candidate = find_library_by_address(found);
  if (!(cuda ? is_cuda_driver(candidate) : is_nvml(candidate))) return false;
  return learn(candidate, cuda) && library.contains(found);
}

bool is_ours(const void* address) {
  static std::atomic<std::uintptr_t> begin, end;
  if (end.load(std::memory_order_acquire) == 0) {
    const LoadedLibrary self = find_library_by_address(reinterpret_cast<const void*>(&is_ours));
    begin.store(self.begin, std::memory_order_relaxed);
    end.store(self.end, std::memory_order_release);
  }
  const auto a = reinterpret_cast<std::uintptr_t>(address);
  return a >= begin.load(std::memory_order_relaxed) && a < end.load(std::memory_order_relaxed);
}

}  // namespace

// Apart, so that the names that are not ours pay nothing for it.
[[gnu::noinline]] static HookId find_name(const char* name) {
  for (unsigned at = hash_of(name) % kBuckets; kNameTable.slot[at] != 0; at = (at + 1) % kBuckets) {
    const unsigned id = kNameTable.slot[at] - 1U;
    if (same_text(kHooks[id].symbol, name)) return static_cast<HookId>(id);
  }
  return kHookCount;
}

HookId hook_by_symbol(const char* name) {
  return name[0] != 0 && name[1] != 0 && may_be_ours(name) ? find_name(name) : kHookCount;
}

// What was learnt half way is learnt again, to the same end.
void route_after_fork() { discovering.store(0, std::memory_order_relaxed); }

bool discover_driver() {
  if (cuda_known.load(std::memory_order_acquire)) return true;
  watch_forks();
  return learn(find_library_by_soname("libcuda.so.1"), true);
}

bool discover_nvml() {
  if (nvml_known.load(std::memory_order_acquire)) return true;
  watch_forks();
  return learn(find_library_by_soname("libnvidia-ml.so.1"), false);
}

namespace {

// Bucket of a hooked function's real address, or -1.
int find_pointer(void* pointer) {
  for (unsigned at = pointer_bucket(pointer);; at = (at + 1) % kBuckets) {
    void* there = pointers.pointer[at].load(std::memory_order_acquire);
    if (there == pointer) return static_cast<int>(at);
    if (there == nullptr) return -1;
  }
}

bool same_base(const Hook& row, const char* base) { return row.base != nullptr && same_text(row.base, base); }

// The row that the driver must have chosen: highest version not above the one asked, in the asked stream mode where
// that version has one. `first` is the oldest variant of its base.
const Hook* row_for(unsigned first, int cuda_version, int mode, const void* only_pointer) {
  const Hook* best = nullptr;
  for (unsigned id = first; id < kHookCount && (id == first || same_base(kHooks[id], kHooks[first].symbol)); ++id) {
    const Hook& row = kHooks[id];
    if (row.version > cuda_version || (row.mode != 0 && row.mode != mode) || real_pointer(id) == nullptr) continue;
    if (only_pointer != nullptr && real_pointer(id) != only_pointer) continue;
    if (best == nullptr || row.version > best->version || (row.version == best->version && row.mode == mode))
      best = &row;
  }
  return best;
}

// Would the driver give the same answer for the newest version that hooks.def knows?
bool same_as_known(const char* symbol, const void* found, unsigned long long flags) {
  void* answer = nullptr;
  int status = 0;
  if (real.cuGetProcAddress_v2 != nullptr)
    return real.cuGetProcAddress_v2(symbol, &answer, kNewestKnownCuda, flags, &status) == CUDA_SUCCESS &&
           answer == found;
  return real.cuGetProcAddress(symbol, &answer, kNewestKnownCuda, flags) == CUDA_SUCCESS && answer == found;
}

}  // namespace

void* substitute(const char* symbol, void* found, int cuda_version, unsigned long long flags) {
  const int mode = (flags & 2U) != 0 ? 2 : 0;
  if (const int at = find_pointer(found); at >= 0) {
    const Hook& only = kHooks[pointers.row[at]];
    if (!pointers.shared[at] && same_text(only.base, symbol)) return only.function;
    const HookId first = hook_by_symbol(symbol);
    const Hook* row = row_for(first, cuda_version, mode, found);
    if (row == nullptr) row = row_for(first, INT32_MAX, 2, found);  // the driver's own idea of the version: follow it
    if (row != nullptr) return row->function;
    // cuda.h 12 gives some variants the name of another base (cuGraphInstantiate): the same function, so the same hook.
    return first != kHookCount && !pointers.shared[at] ? only.function : found;
  }
  // A driver may answer with an inner address instead of the exported one. Which variant that is follows from the
  // version asked; beyond the versions that we know, from the driver's own answer for the newest of them.
  const HookId first = hook_by_symbol(symbol);  // the oldest variant has the name of the base
  if (first == kHookCount || !cuda_library.contains(found)) return found;
  if (cuda_version > kNewestKnownCuda && !same_as_known(symbol, found, flags)) return found;
  const Hook* row = row_for(first, cuda_version, mode, nullptr);
  return row != nullptr ? row->function : found;
}

// ---- dlsym and dlvsym, called from route_<arch>.S ------------------------------------------------------------------

using Dlsym = void* (*)(void*, const char*);
using Dlvsym = void* (*)(void*, const char*, const char*);

extern "C" {
__attribute__((visibility("hidden"))) std::atomic<void*> kiboko_real_dlsym{nullptr};
__attribute__((visibility("hidden"))) std::atomic<void*> kiboko_real_dlvsym{nullptr};

// Both live in libc.so.6 from glibc 2.34 on, in libdl.so.2 before. Returns the real dlsym.
__attribute__((visibility("hidden"))) void kiboko_find_real_dlsym() {
  watch_forks();
  for (const char* soname : {"libc.so.6", "libdl.so.2"}) {
    const LoadedLibrary library = find_library_by_soname(soname);
    void* dlsym_pointer = find_symbol(library, "dlsym");
    if (dlsym_pointer == nullptr) continue;
    kiboko_real_dlvsym.store(find_symbol(library, "dlvsym"), std::memory_order_release);
    kiboko_real_dlsym.store(dlsym_pointer, std::memory_order_release);
    return;
  }
}

// The row of a name, or -1. Called for names that begin like ours only.
__attribute__((visibility("hidden"))) int kiboko_hook_index(const char* name) {
  if (!may_be_ours(name)) return -1;
  const HookId id = find_name(name);
  return id == kHookCount ? -1 : static_cast<int>(id);
}

// A name of ours was asked. Handles other than the two special ones do not depend on the caller.
__attribute__((visibility("hidden"))) void* kiboko_hooked_symbol(void* handle, const char* name, const char* version,
                                                                 int id) {
  if (kiboko_real_dlsym.load(std::memory_order_acquire) == nullptr) kiboko_find_real_dlsym();
  const auto next = reinterpret_cast<Dlsym>(kiboko_real_dlsym.load(std::memory_order_acquire));
  const auto next_versioned = reinterpret_cast<Dlvsym>(kiboko_real_dlvsym.load(std::memory_order_acquire));
  if (next == nullptr) return nullptr;
  const auto ask = [&](void* where) {
    return version != nullptr && next_versioned != nullptr ? next_versioned(where, name, version) : next(where, name);
  };
  void* found = ask(handle == RTLD_DEFAULT ? RTLD_NEXT : handle);  // from here, "next" is what follows us
  if (found != nullptr && is_ours(found)) found = ask(RTLD_NEXT);  // a handle of the whole program found ourselves
  if (found == nullptr) return nullptr;
  const Hook& hook = kHooks[id];
  return is_drivers(found, hook.base != nullptr) && real_pointer(static_cast<unsigned>(id)) != nullptr ? hook.function
                                                                                                       : found;
}
}

}  // namespace kiboko::shim

using kiboko::shim::discover_driver;
using kiboko::shim::real;

SHIM_EXPORT CUresult cuGetProcAddress(const char* symbol, void** function, int cuda_version, unsigned long long flags) {
  if (!discover_driver() || real.cuGetProcAddress == nullptr) return CUDA_ERROR_NOT_INITIALIZED;
  const CUresult result = real.cuGetProcAddress(symbol, function, cuda_version, flags);
  if (result == CUDA_SUCCESS && function != nullptr && *function != nullptr)
    *function = kiboko::shim::substitute(symbol, *function, cuda_version, flags);
  return result;
}

SHIM_EXPORT CUresult cuGetProcAddress_v2(const char* symbol, void** function, int cuda_version,
                                         unsigned long long flags, int* status) {
  if (!discover_driver() || real.cuGetProcAddress_v2 == nullptr) return CUDA_ERROR_NOT_INITIALIZED;
  const CUresult result = real.cuGetProcAddress_v2(symbol, function, cuda_version, flags, status);
  if (result == CUDA_SUCCESS && function != nullptr && *function != nullptr)
    *function = kiboko::shim::substitute(symbol, *function, cuda_version, flags);
  return result;
}
