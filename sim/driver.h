// The simulated driver within one process: its state, its objects, and how an entry point begins.
//
// One Driver, constant-initialised, so that look-ups work before any constructor has run. Handles are pointers to the
// structs below. Locks, in this order: Driver::lock (contexts, modules, streams as lists), Queue::lock (timeline.h),
// memory lock (memory.h), then the shared device's locks (device.h). None is held while a user's function runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "cuda_abi.h"
#include "device.h"

#define SIM_API extern "C" __attribute__((visibility("default")))

namespace sim {

struct Context;
struct Queue;
struct Stream;
struct Module;

enum class State : int { kFresh, kReady, kForked, kEnded };

struct Driver {
  std::atomic<int> gate{1};  // 0: initialised and no faults asked for, so entry points may go straight on
  std::atomic<State> state{State::kFresh};
  std::mutex lock;
  Shared* shared = nullptr;
  int device_count = 0;             // visible ones
  int devices[kMaxDevices] = {};    // ordinal -> index in the shared set
  Queue* queues[kMaxDevices] = {};  // by ordinal
  std::atomic<std::uint64_t> next_id{1};
  std::atomic<int> lives_dropped{0};  // channels whose proof of life no thread holds at the moment
};
extern Driver driver;

// For the library's tables: a program may end while its threads are still calling, so they are never destroyed.
template <class T>
T& kept_to_the_end() {
  return *new T;
}

inline Device& device_at(int ordinal) { return driver.shared->devices[driver.devices[ordinal]]; }

// First word of every object behind a handle, so that a wrong or stale handle is found out.
enum class Tag : std::uint32_t {
  kContext = 0x43747831,
  kStream = 0x53747231,
  kEvent = 0x45767431,
  kModule = 0x4d6f6431,
  kFunction = 0x46756e31,
  kLibrary = 0x4c696231,
  kKernel = 0x4b726e31,
  kArray = 0x41727931,
  kMipmap = 0x4d697031,
  kPool = 0x506f6f31,
  kGraph = 0x47726131,
  kNode = 0x4e6f6431,
  kExec = 0x47786531,
  kLink = 0x4c6e6b31,
  kUserObject = 0x55736f31,
  kAllocation = 0x416c6c31,
};
template <Tag tag_value>
struct Object {
  Tag tag = tag_value;
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  ~Object() { tag = Tag{}; }
};

// The object behind a handle, or nullptr.
template <class T, class Handle>
T* object(Handle handle) {
  T* candidate = reinterpret_cast<T*>(handle);
  if (candidate == nullptr || (reinterpret_cast<std::uintptr_t>(candidate) & 7) != 0) return nullptr;
  if (reinterpret_cast<std::uintptr_t>(candidate) < 4096) return nullptr;
  return candidate->tag == T::kTag ? candidate : nullptr;
}
template <class Handle, class T>
Handle handle(T* pointer) {
  return reinterpret_cast<Handle>(pointer);
}

// --- how an entry point begins -----------------------------------------------------------------------------------

// The slow way in: not initialised, ended, forked, or a fault wanted. `output` is the call's first output, if any.
// Returns true when the call is to return `result` at once.
bool closed_gate(const char* name, void* output, std::size_t output_bytes, bool needs_init, CUresult& result);

struct Output {
  void* address = nullptr;
  std::size_t bytes = 0;
};
inline Output first_output() { return {}; }
template <class T, class... Rest>
Output first_output(const T& first, const Rest&... rest) {
  if constexpr (std::is_pointer_v<T>) {
    using Pointee = std::remove_pointer_t<T>;
    if constexpr (!std::is_const_v<Pointee> && !std::is_void_v<Pointee> && !std::is_function_v<Pointee>) {
      if constexpr (std::is_scalar_v<Pointee>)
        // NOLINTNEXTLINE(bugprone-sizeof-expression): a pointer to a pointer is meant
        return {const_cast<void*>(static_cast<const void*>(first)), sizeof(Pointee)};
    }
  }
  return first_output(rest...);
}

inline bool gate_stops(const char* name, bool needs_init, Output output, CUresult& result) {
  return driver.gate.load(std::memory_order_relaxed) != 0 &&
         closed_gate(name, output.address, output.bytes, needs_init, result);
}

// SIM_FN(name, (parameters), (arguments)) { body }: one exported entry point.
// SIM_STREAM_FN: the same with its per-thread-default-stream twin; in the body, `mode` says which was called.
#define SIM_EXPORT_(symbol, parameters, arguments, needs_init, call)                                    \
  SIM_API CUresult symbol parameters {                                                                  \
    CUresult stopped;                                                                                   \
    if (::sim::gate_stops(#symbol, needs_init, ::sim::first_output arguments, stopped)) return stopped; \
    return call arguments;                                                                              \
  }
#define SIM_FN(symbol, parameters, arguments)                     \
  static CUresult symbol##_body parameters;                       \
  SIM_EXPORT_(symbol, parameters, arguments, true, symbol##_body) \
  static CUresult symbol##_body parameters
#define SIM_EARLY_FN(symbol, parameters, arguments)                \
  static CUresult symbol##_body parameters;                        \
  SIM_EXPORT_(symbol, parameters, arguments, false, symbol##_body) \
  static CUresult symbol##_body parameters
#define SIM_TWIN_FN_(symbol, twin, parameters, arguments)                                      \
  template <::sim::StreamMode mode>                                                            \
  static CUresult symbol##_body parameters;                                                    \
  SIM_EXPORT_(symbol, parameters, arguments, true, symbol##_body<::sim::StreamMode::kLegacy>)  \
  SIM_EXPORT_(twin, parameters, arguments, true, symbol##_body<::sim::StreamMode::kPerThread>) \
  template <::sim::StreamMode mode>                                                            \
  static CUresult symbol##_body parameters
#define SIM_STREAM_FN(symbol, parameters, arguments) SIM_TWIN_FN_(symbol, symbol##_ptsz, parameters, arguments)
#define SIM_SYNC_FN(symbol, parameters, arguments) SIM_TWIN_FN_(symbol, symbol##_ptds, parameters, arguments)

enum class StreamMode { kLegacy, kPerThread };

// Registers an API entry the way the library's own functions may call it: names of all exports, for the fault table.
bool is_known_symbol(const char* name);

}  // namespace sim
