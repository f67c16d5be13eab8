// Measuring: runs of launches on one stream between two timing events of the driver.
//
// A segment is opened by recording an event before its first launch and closed by recording one after its last; later
// launches and synchronisations of any thread settle it, without a helper thread. Its interval is put on the grant's
// common timeline (region/bucket.h), so that time covered by several streams or processes is charged once.
// Everything is process-local; no lock is held across a driver call; a driver error makes us forget the context.
#pragma once

#include <atomic>
#include <cstdint>

#include "shim/abi.h"
#include "shim/costs.h"

namespace kiboko::shim {

struct ContextState;
struct StreamState;

struct Segment {
  CUevent start, end;
  ContextState* context;
  StreamState* stream;
  Segment* next;
  Cost* cost;  // when all launches were of one unit, else null
  std::int64_t expected_ns;
  std::uint32_t launches;
  bool measured;                     // between events, or not (open_segment)
  bool tight;                        // exactly one launch: start to end is that launch
  std::atomic<std::uint32_t> state;  // see segments.cc
};

struct StreamState {
  std::atomic<std::uint64_t> key;  // stream and context, 0 = free
  std::atomic<Segment*> open;
  std::atomic<std::uint32_t> serial;      // moves whenever a segment closes
  std::atomic<std::uint32_t> tight;       // so many more segments of one launch each
  std::atomic<std::int64_t> expected_ns;  // of the open segment, as flushed by its threads
  std::atomic<std::uint32_t> launches;
  std::atomic<Cost*> cost;
  std::atomic<bool> mixed;                // launches of several units
  std::atomic<std::uint32_t> gaps;        // segments in which the device idled, lately
  std::atomic<std::uint32_t> brief_runs;  // segments in a row that were short and ended by a synchronisation
};

// Of the calling thread's current context; null when there is none or it was not granted a device.
ContextState* current_context();
unsigned device_of(const ContextState& context);
CUcontext handle_of(const ContextState& context);
StreamState* stream_state(ContextState& context, CUstream stream);

// Opens a segment on `stream` if none is open; false on a driver error. An unmeasured one records no events: it is
// for work that is known well and about to be waited for, and is charged by the moment the wait ends.
bool open_segment(ContextState& context, StreamState& state, CUstream stream, bool measured);
// Closes the open one, if any: records its end and hands it to settle(). Returns the expected time of an unmeasured
// one.
std::int64_t close_segment(StreamState& state, CUstream stream, bool before_wait);
// Closes what is open on the context's streams.
std::int64_t close_all(ContextState& context, bool before_wait);
// After the wait: the unmeasured work ended about now.
void settle_unmeasured(ContextState& context, std::int64_t expected_ns);

// Charges what has finished. Cheap when nothing has; one thread at a time, others return at once.
void settle(ContextState& context);
// Device time expected to be in flight, and in how many segments.
struct InFlight {
  std::int64_t expected_ns;
  unsigned segments;
};
InFlight in_flight(const ContextState& context);

void forget_context(CUcontext context);  // it is about to be destroyed
void forget_stream(CUstream stream);     // likewise
void forget_everything();                // in the child of a fork

}  // namespace kiboko::shim
