// The list of driver functions, and cuGetProcAddress over it.
//
// The real driver answers with the newest variant introduced at or before the version asked for, and never with one
// newer than itself. SIM_DRIVER (11050 … 13040) sets the version simulated here. dlsym still sees every export:
// hiding names from it would take one library per version.
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <iterator>

#include "driver.h"
#include "lookup.h"

// Every export, as something that has an address. A function without simulated behaviour is defined here.
#define SIMULATED(base, symbol, version, mode) extern "C" void symbol();
#define REFUSED(base, symbol, version, mode)                           \
  SIM_API CUresult symbol() {                                          \
    CUresult stopped;                                                  \
    if (::sim::gate_stops(#symbol, true, {}, stopped)) return stopped; \
    return CUDA_ERROR_NOT_SUPPORTED;                                   \
  }
#include "functions.def"
#undef SIMULATED
#undef REFUSED

namespace sim {
namespace {

enum Mode : std::uint8_t { kAny, kLegacy, kPerThread };

struct Function {
  const char* base;
  const char* symbol;
  int version;
  Mode mode;
  void (*address)();
};

// clang-format off
#define SIMULATED(base, symbol, version, mode) {#base, #symbol, version, mode, symbol},
#define REFUSED(base, symbol, version, mode) {#base, #symbol, version, mode, reinterpret_cast<void (*)()>(symbol)},
const Function kFunctions[] = {
#include "functions.def"
};
// clang-format on
#undef SIMULATED
#undef REFUSED

constexpr int kOldest = 11050, kNewest = 13040, kUsual = 13000;

int version_wanted() {
  const char* text = getenv("SIM_DRIVER");
  if (text == nullptr) return kUsual;
  char* end = nullptr;
  const long version = strtol(text, &end, 10);
  if (*end != 0 || version < kOldest || version > kNewest) return kUsual;
  return static_cast<int>(version);
}

std::atomic<int> version_now{0};

int driver_version() {
  const int known = version_now.load(std::memory_order_relaxed);
  if (known != 0) return known;
  read_driver_version();
  return version_now.load(std::memory_order_relaxed);
}

struct Choice {
  const Function* function = nullptr;
  bool known = false;  // some variant exists in this driver
};

// Of the variants of `base` for the stream mode, the newest at or before `version`.
Choice choose(const char* base, int version, bool per_thread) {
  const auto less = [](const Function& function, const char* name) { return strcmp(function.base, name) < 0; };
  Choice choice;
  const Function* fallback = nullptr;
  for (auto at = std::lower_bound(std::begin(kFunctions), std::end(kFunctions), base, less);
       at != std::end(kFunctions) && strcmp(at->base, base) == 0; ++at) {
    if (at->version > driver_version()) continue;
    choice.known = true;
    if (at->version > version) continue;
    const Function*& best = at->mode == kPerThread ? choice.function : fallback;
    if (at->mode == kPerThread && !per_thread) continue;
    if (best == nullptr || at->version > best->version) best = at;
  }
  if (choice.function == nullptr) choice.function = fallback;
  return choice;
}

CUresult look_up(const char* name, void** out, int version, std::uint64_t flags, int* status) {
  constexpr std::uint64_t kPerThreadFlag = 2;
  if (name == nullptr || out == nullptr || flags > kPerThreadFlag || version < 0) return CUDA_ERROR_INVALID_VALUE;
  const Choice choice = choose(name, version, flags == kPerThreadFlag);
  *out = choice.function == nullptr ? nullptr : reinterpret_cast<void*>(choice.function->address);
  if (status != nullptr) *status = choice.function != nullptr ? 0 : choice.known ? 2 : 1;
  return choice.function != nullptr ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

}  // namespace

void read_driver_version() { version_now = version_wanted(); }

bool is_known_symbol(const char* name) {
  return std::any_of(std::begin(kFunctions), std::end(kFunctions),
                     [&](const Function& function) { return strcmp(function.symbol, name) == 0; });
}

CUresult get_driver_version(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = driver_version();
  return CUDA_SUCCESS;
}

CUresult get_proc_address(const char* name, void** out, int version, std::uint64_t flags, int* status) {
  return look_up(name, out, version, flags, status);
}

}  // namespace sim
