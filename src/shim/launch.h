// The launch gate: holds the program's work to its compute share, and keeps account of it.
//
// One word says what a launch must do, so that where nothing is limited a launch costs one load and one compare. A
// thread takes credit from the shared bucket in leases of half a millisecond of device time; while a lease lasts, a
// launch reads no clock and writes no shared line. What the work really took is measured by events around runs of
// launches (segments.h) and put right in the bucket afterwards.
#pragma once

#include <atomic>

#include "shim/route.h"
#include "shim/segments.h"
#include "shim/state.h"

namespace kiboko::shim {

enum class LaunchMode : int {
  Unknown,   // CUDA has not started as far as we know
  Pass,      // nothing is limited and nobody asks
  Governed,  // count, measure, and hold back where the policy says so
};
extern std::atomic<LaunchMode> launch_mode;

// What a launch is charged for before it is measured: a kernel with its grid's size, or an executable graph.
struct Unit {
  const void* handle;
  std::uint64_t volume;  // blocks; 0 for a graph
};

// Thread-local, initial-exec.
struct Lease {
  std::uint32_t runs;     // launches of `unit` on `stream` that need nobody's leave
  std::uint32_t granted;  // what `runs` was in the beginning
  std::uint32_t serial;   // of the segment that our launches go to
  std::uint32_t cost_ns;  // of one launch
  const void* handle;     // of the unit
  std::uint64_t volume;   // likewise
  CUstream stream;
  StreamState* stream_state;
  CUcontext context;
  std::int64_t left_ns;       // credit of the bucket not yet launched, but for the runs taken
  std::uint32_t first;        // 1: the launch that asked for the runs is not flushed yet
  std::uint32_t close_after;  // end the segment after this launch
};
extern constinit thread_local Lease lease;

// Called once by activate() with the phase it found, and in the child of a fork.
void launch_configure(Phase phase);
void launch_after_fork();

// May this thread launch `unit` on `stream` now? Waits when the policy says so. False: CUDA is refused.
bool gate(CUstream stream, const Unit& unit);
// After the driver took the launch, when lease.close_after is set.
void after_launch();

// Adds what this thread launched since the last flush to the open segment of `stream_state`, if it is the one.
void flush_lease(StreamState& stream_state);

// Runs `call` (the driver's own launch) under the gate.
template <class Call>
inline CUresult governed(CUstream stream, const Unit& unit, Call call);

// The handle under which a stream is known: per-thread entry points mean another stream by 0.
inline CUstream per_thread(CUstream stream) {
  return stream == nullptr ? reinterpret_cast<CUstream>(2) : stream;  // CU_STREAM_PER_THREAD
}

bool in_context(CUcontext context);

// The same unit on the same stream as last time, with credit left.
inline bool lease_covers(CUstream stream, const Unit& unit) {
  Lease& l = lease;
  if (l.runs == 0 || l.handle != unit.handle || l.volume != unit.volume || l.stream != stream ||
      l.stream_state->serial.load(std::memory_order_relaxed) != l.serial)
    return false;
  // 0, 1 and 2 mean a stream of the thread's context, which may be another device's by now.
  if (reinterpret_cast<std::uintptr_t>(stream) <= 2 && !state.single_device.load(std::memory_order_relaxed) &&
      !in_context(l.context))
    return false;
  --l.runs;
  return true;
}

// First line of a hook that launches, in place of KIBOKO_DRIVER.
#define KIBOKO_LAUNCH(function)                                                                              \
  if ((::kiboko::shim::launch_mode.load(std::memory_order_relaxed) == ::kiboko::shim::LaunchMode::Unknown && \
       !::kiboko::shim::discover_driver()) ||                                                                \
      ::kiboko::shim::real.function == nullptr)                                                              \
  return CUDA_ERROR_NOT_INITIALIZED

template <class Call>
inline CUresult governed(CUstream stream, const Unit& unit, Call call) {
  if (launch_mode.load(std::memory_order_relaxed) != LaunchMode::Pass) [[unlikely]] {
    if (!lease_covers(stream, unit) && !gate(stream, unit)) return CUDA_ERROR_OPERATING_SYSTEM;
    const CUresult result = call();
    if (lease.close_after != 0) after_launch();
    return result;
  }
  return call();
}

}  // namespace kiboko::shim
