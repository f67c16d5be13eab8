// Event times are differences between two events of one context, as a float of milliseconds. To place them on the
// host's clock, each context keeps a base event whose host time is known, and moves on to a newer base every second,
// before a float of milliseconds becomes coarser than a microsecond. An end that would lie in the future shows that the
// base was taken too late; it is moved back.
//
// A program may let the device idle between two launches of one segment (it polls, or does other work, without a
// synchronisation that we would see). Such a segment is longer than the work in it: it is charged by what its units
// are known to take, and the stream's next segments hold one launch each until they line up again.
#include "shim/segments.h"

#include <string.h>
#include <time.h>

#include "region/bucket.h"
#include "shim/governor.h"
#include "shim/graph.h"
#include "shim/launch.h"
#include "shim/table.h"

namespace kiboko::shim {

namespace {

constexpr unsigned kContexts = 64;
constexpr unsigned kStreamBits = 8;
constexpr unsigned kStreams = 1U << kStreamBits;
constexpr std::uint64_t kGone = ~std::uint64_t{0};  // key of a stream that was destroyed: its place may be taken
constexpr unsigned kSegments = 256;
constexpr std::int64_t kRebaseNs = 1'000'000'000;
constexpr std::int64_t kAnchorNs = 100'000;
constexpr std::int64_t kNotAnchored = std::int64_t{1} << 61;
constexpr unsigned kNotReadyBeforeGivingUp = 4;
constexpr std::int64_t kBriefNs = 500'000;  // work of a round that a program waits for

enum : std::uint32_t { kFree = 0, kOpening = 1, kOpen = 2, kPending = 3 };

}  // namespace

struct ContextState {
  std::atomic<CUcontext> context;
  unsigned device;
  CUstream private_stream;
  CUevent base_event;
  std::int64_t base_ns;  // CLOCK_MONOTONIC at base_event, or kNotAnchored
  std::atomic<int> settling;
  std::atomic<std::uint32_t> hint;
  std::atomic<std::int64_t> expected_ns;  // pending and open
  std::atomic<std::uint32_t> pending;
  std::atomic<Segment*> closed;  // newest first, as closers push them
  Segment* oldest;               // in order, owned by whoever holds `settling`
  Segment* newest;
  StreamState streams[kStreams];
  CUstream handles[kStreams];
  Segment segments[kSegments];
};

namespace {

constinit ContextState contexts[kContexts] = {};

std::int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

std::int64_t elapsed_ns(CUevent from, CUevent to, bool* ok) {
  float milliseconds = 0;
  if (real.cuEventElapsedTime(&milliseconds, from, to) != CUDA_SUCCESS) *ok = false;
  return static_cast<std::int64_t>(static_cast<double>(milliseconds) * 1e6);
}

// The base event, which nothing of the program precedes, tells at once where events lie on the host's clock, unless the
// device is somebody else's at the moment: then the first segment does it (measure).
void anchor(ContextState& context) {
  context.base_ns = kNotAnchored;
  if (real.cuEventRecord(context.base_event, context.private_stream) != CUDA_SUCCESS) return;
  const std::int64_t give_up = now_ns() + kAnchorNs;
  for (std::int64_t now = now_ns(); now < give_up; now = now_ns()) {
    const CUresult result = real.cuEventQuery(context.base_event);
    if (result == CUDA_SUCCESS) context.base_ns = now_ns();
    if (result != CUDA_ERROR_NOT_READY) return;
  }
}

bool prepare(ContextState& context) {
  CUdevice ordinal = -1;
  if (real.cuCtxGetDevice(&ordinal) != CUDA_SUCCESS) return false;
  const int device = index_of(ordinal);
  if (device < 0) return false;
  context.device = static_cast<unsigned>(device);
  if (real.cuStreamCreate(&context.private_stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS &&
      real.cuEventCreate(&context.base_event, 0) == CUDA_SUCCESS)
    anchor(context);
  return true;
}

void reset(ContextState& context) {
  const CUcontext none = nullptr;
  memset(static_cast<void*>(&context), 0, sizeof context);
  context.context.store(none, std::memory_order_release);
}

CUcontext const kPreparing = reinterpret_cast<CUcontext>(1);

Segment* take_free(ContextState& context) {
  const std::uint32_t first = context.hint.fetch_add(1, std::memory_order_relaxed);
  for (unsigned i = 0; i < kSegments; ++i) {
    Segment& segment = context.segments[(first + i) % kSegments];
    std::uint32_t expected = kFree;
    if (segment.state.load(std::memory_order_relaxed) == kFree &&
        segment.state.compare_exchange_strong(expected, kOpening, std::memory_order_acquire))
      return &segment;
  }
  return nullptr;
}

bool make_events(Segment& segment) {
  if (segment.start != nullptr) return true;
  return real.cuEventCreate(&segment.start, CU_EVENT_BLOCKING_SYNC) == CUDA_SUCCESS &&
         real.cuEventCreate(&segment.end, CU_EVENT_BLOCKING_SYNC) == CUDA_SUCCESS;
}

void push_closed(ContextState& context, Segment* segment) {
  context.pending.fetch_add(1, std::memory_order_relaxed);
  Segment* top = context.closed.load(std::memory_order_relaxed);
  do {
    segment->next = top;
  } while (!context.closed.compare_exchange_weak(top, segment, std::memory_order_release, std::memory_order_relaxed));
}

// Moves what closers pushed to the end of the ordered list. Under `settling`.
void take_closed(ContextState& context) {
  Segment* top = context.closed.exchange(nullptr, std::memory_order_acquire);
  Segment* first = nullptr;
  Segment* last = top;
  while (top != nullptr) {
    Segment* below = top->next;
    top->next = first;
    first = top;
    top = below;
  }
  if (first == nullptr) return;
  (context.newest != nullptr ? context.newest->next : context.oldest) = first;
  context.newest = last;
}

struct Measured {
  std::int64_t start_ns, end_ns;
};

bool measure(ContextState& context, Segment& segment, std::int64_t now, Measured* out) {
  bool ok = true;
  const std::int64_t length = elapsed_ns(segment.start, segment.end, &ok);
  if (!ok || length < 0) return false;
  const std::int64_t from_base = elapsed_ns(context.base_event, segment.start, &ok);
  if (!ok) {  // without a base the best guess is that it has just ended
    *out = {now - length, now};
    return true;
  }
  std::int64_t start = context.base_ns + from_base;
  if (start + length > now) {
    const std::int64_t late = start + length - now;
    context.base_ns -= late;
    start -= late;
  }
  *out = {start, start + length};
  if (from_base > kRebaseNs) {
    CUevent old = context.base_event;
    context.base_event = segment.end;
    context.base_ns = out->end_ns;
    segment.end = old;
  }
  return true;
}

// Is the segment longer than its work by more than errors of the estimates explain?
// Others' turns stretch it too, so the question has an answer only while nobody else is there.
bool has_gaps(const Segment& segment, unsigned device, std::int64_t length, std::int64_t now) {
  if (segment.tight || segment.cost == nullptr || !is_known(*segment.cost)) return false;
  return length > segment.expected_ns + segment.expected_ns / 4 + 50'000 && alone_on(device, now);
}

void count_launches(const ContextState& context, std::uint32_t launches) {
  state.region.ext().counters[state.slot.index].device[context.device].launches.fetch_add(launches,
                                                                                          std::memory_order_relaxed);
}

void account(ContextState& context, Segment& segment, const Measured& measured, std::int64_t now) {
  region::DeviceWords& words = state.region.ext().devices[context.device];
  const std::int64_t length = measured.end_ns - measured.start_ns;
  const bool gaps = has_gaps(segment, context.device, length, now);
  // With gaps, only as much time as the work takes is covered, from the start on.
  const std::int64_t work = gaps ? segment.expected_ns : length;
  const auto covered = static_cast<std::int64_t>(region::cover(words, static_cast<std::uint64_t>(measured.start_ns),
                                                               static_cast<std::uint64_t>(measured.start_ns + work)));
  correct_charge(context.device, now, covered - segment.expected_ns);

  state.region.ext().counters[state.slot.index].device[context.device].busy_ns.fetch_add(
      static_cast<std::uint64_t>(work), std::memory_order_relaxed);
  count_launches(context, segment.launches);

  if (segment.cost != nullptr && segment.launches != 0 && !gaps) {
    if (!is_known(*segment.cost)) release_probe(context.device);
    learn(*segment.cost, static_cast<std::uint64_t>(length) / segment.launches, alone_on(context.device, now));
    note_unit(context.device, length / segment.launches);
  }
  if (segment.stream == nullptr) return;
  if (gaps) {
    const std::uint32_t run = segment.stream->gaps.fetch_add(1, std::memory_order_relaxed);
    segment.stream->tight.store(8U << (run < 5 ? run : 5), std::memory_order_relaxed);
  } else if (!segment.tight) {
    segment.stream->gaps.store(0, std::memory_order_relaxed);
  }
}

void release(ContextState& context, Segment& segment) {
  context.expected_ns.fetch_sub(segment.expected_ns, std::memory_order_relaxed);
  segment.state.store(kFree, std::memory_order_release);
}

// False while the segment is not done.
bool settle_one(ContextState& context, Segment& segment) {
  const CUresult result = real.cuEventQuery(segment.end);
  if (result == CUDA_ERROR_NOT_READY) return false;
  const std::int64_t now = now_ns();
  Measured measured{};
  if (result == CUDA_SUCCESS && measure(context, segment, now, &measured)) account(context, segment, measured, now);
  context.pending.fetch_sub(1, std::memory_order_relaxed);
  release(context, segment);
  return true;
}

std::uint64_t stream_key(CUstream stream) {
  auto key = reinterpret_cast<std::uint64_t>(stream) * 2 + 1;
  if (stream == reinterpret_cast<CUstream>(2)) key ^= reinterpret_cast<std::uintptr_t>(&lease) << 1;  // one per thread
  return key;
}

}  // namespace

// More contexts than we keep: another one of the device is charged. Its events do not fit this context's streams, so
// nothing is measured.
static ContextState* stand_in() {
  CUdevice ordinal = -1;
  if (real.cuCtxGetDevice == nullptr || real.cuCtxGetDevice(&ordinal) != CUDA_SUCCESS) return nullptr;
  for (ContextState& context : contexts)
    if (static_cast<int>(context.device) == index_of(ordinal)) return &context;
  return nullptr;
}

ContextState* current_context() {
  CUcontext current = nullptr;
  if (real.cuCtxGetCurrent == nullptr || real.cuCtxGetCurrent(&current) != CUDA_SUCCESS || current == nullptr)
    return nullptr;
  for (ContextState& context : contexts) {
    CUcontext there = context.context.load(std::memory_order_acquire);
    if (there == current) return &context;
    if (there != nullptr) continue;
    if (!context.context.compare_exchange_strong(there, kPreparing, std::memory_order_acq_rel)) continue;
    if (!prepare(context)) {
      reset(context);
      return nullptr;
    }
    context.context.store(current, std::memory_order_release);
    return &context;
  }
  return stand_in();
}

unsigned device_of(const ContextState& context) { return context.device; }
CUcontext handle_of(const ContextState& context) { return context.context.load(std::memory_order_relaxed); }

StreamState* stream_state(ContextState& context, CUstream stream) {
  const std::uint64_t key = stream_key(stream);
  const auto first = static_cast<unsigned>((key * 0x9e3779b97f4a7c15ULL) >> (64 - kStreamBits));
  for (int attempt = 0; attempt < 4; ++attempt) {
    unsigned free = kStreams;
    for (unsigned probe = 0; probe < kStreams; ++probe) {
      const unsigned at = (first + probe) % kStreams;
      const std::uint64_t there = context.streams[at].key.load(std::memory_order_acquire);
      if (there == key) return &context.streams[at];
      if (free == kStreams && (there == 0 || there == kGone)) free = at;
      if (there == 0) break;
    }
    if (free == kStreams) return nullptr;
    StreamState& entry = context.streams[free];
    std::uint64_t there = entry.key.load(std::memory_order_relaxed);
    if ((there == 0 || there == kGone) && entry.key.compare_exchange_strong(there, key, std::memory_order_acq_rel)) {
      context.handles[free] = stream;
      return &entry;
    }
  }
  return nullptr;
}

bool open_segment(ContextState& context, StreamState& stream_state, CUstream stream, bool measured) {
  if (stream_state.open.load(std::memory_order_acquire) != nullptr) return true;
  Segment* segment = take_free(context);
  if (segment == nullptr) return true;  // everything is in flight: this launch goes unmeasured, its charge stands
  if (measured && (!make_events(*segment) || real.cuEventRecord(segment->start, stream) != CUDA_SUCCESS)) {
    segment->state.store(kFree, std::memory_order_release);
    return false;
  }
  segment->context = &context;
  segment->stream = &stream_state;
  segment->cost = nullptr;
  segment->expected_ns = 0;
  segment->launches = 0;
  segment->tight = false;
  segment->measured = measured;
  stream_state.expected_ns.store(0, std::memory_order_relaxed);
  stream_state.launches.store(0, std::memory_order_relaxed);
  stream_state.cost.store(nullptr, std::memory_order_relaxed);
  stream_state.mixed.store(false, std::memory_order_relaxed);
  segment->state.store(kOpen, std::memory_order_release);
  Segment* none = nullptr;
  if (!stream_state.open.compare_exchange_strong(none, segment, std::memory_order_acq_rel))
    segment->state.store(kFree, std::memory_order_release);  // another thread opened one at the same time
  return true;
}

std::int64_t close_segment(StreamState& stream_state, CUstream stream, bool before_wait) {
  Segment* segment = stream_state.open.exchange(nullptr, std::memory_order_acq_rel);
  if (segment == nullptr) return 0;
  flush_lease(stream_state);
  stream_state.serial.fetch_add(1, std::memory_order_acq_rel);
  segment->launches = stream_state.launches.load(std::memory_order_relaxed);
  segment->expected_ns = stream_state.expected_ns.load(std::memory_order_relaxed);
  segment->cost =
      stream_state.mixed.load(std::memory_order_relaxed) ? nullptr : stream_state.cost.load(std::memory_order_relaxed);
  segment->tight = segment->launches == 1;
  if (before_wait && segment->expected_ns < kBriefNs)
    stream_state.brief_runs.fetch_add(1, std::memory_order_relaxed);
  else
    stream_state.brief_runs.store(0, std::memory_order_relaxed);
  ContextState& context = *segment->context;
  if (capturing(stream)) {  // joined by an event since: our event would become part of the program's graph
    count_launches(context, segment->launches);
    segment->state.store(kFree, std::memory_order_release);
    return 0;
  }
  if (!segment->measured) {
    count_launches(context, segment->launches);
    const std::int64_t expected = segment->expected_ns;
    segment->state.store(kFree, std::memory_order_release);
    return before_wait ? expected : 0;
  }
  context.expected_ns.fetch_add(segment->expected_ns, std::memory_order_relaxed);
  if (real.cuEventRecord(segment->end, stream) != CUDA_SUCCESS) {
    release(context, *segment);
    return 0;
  }
  segment->state.store(kPending, std::memory_order_release);
  push_closed(context, segment);
  return 0;
}

std::int64_t close_all(ContextState& context, bool before_wait) {
  std::int64_t unmeasured = 0;
  for (unsigned i = 0; i < kStreams; ++i) {
    StreamState& stream = context.streams[i];
    if (stream.open.load(std::memory_order_relaxed) == nullptr) continue;
    const CUstream handle = context.handles[i];
    if (stream.key.load(std::memory_order_relaxed) != stream_key(handle)) continue;  // another thread's own stream
    unmeasured += close_segment(stream, handle, before_wait);
  }
  return unmeasured;
}

void settle_unmeasured(ContextState& context, std::int64_t expected_ns) {
  if (expected_ns <= 0) return;
  const std::int64_t now = now_ns();
  const auto covered = static_cast<std::int64_t>(region::cover(state.region.ext().devices[context.device],
                                                               static_cast<std::uint64_t>(now - expected_ns),
                                                               static_cast<std::uint64_t>(now)));
  correct_charge(context.device, now, covered - expected_ns);
  state.region.ext().counters[state.slot.index].device[context.device].busy_ns.fetch_add(
      static_cast<std::uint64_t>(expected_ns), std::memory_order_relaxed);
}

void settle(ContextState& context) {
  if (context.pending.load(std::memory_order_relaxed) == 0) return;
  if (context.settling.exchange(1, std::memory_order_acquire) != 0) return;
  const RelaxedCapture relaxed;
  take_closed(context);
  unsigned not_ready = 0;
  Segment** link = &context.oldest;
  Segment* before = nullptr;
  while (*link != nullptr && not_ready < kNotReadyBeforeGivingUp) {
    Segment* segment = *link;
    Segment* after = segment->next;  // read before settle_one frees it
    if (!settle_one(context, *segment)) {
      ++not_ready;
      before = segment;
      link = &segment->next;
      continue;
    }
    *link = after;
    if (after == nullptr) context.newest = before;
  }
  context.settling.store(0, std::memory_order_release);
}

InFlight in_flight(const ContextState& context) {
  return {context.expected_ns.load(std::memory_order_relaxed), context.pending.load(std::memory_order_relaxed)};
}

void forget_context(CUcontext gone) {
  for (ContextState& context : contexts)
    if (context.context.load(std::memory_order_acquire) == gone) {
      while (context.settling.exchange(1, std::memory_order_acquire) != 0) {
      }
      reset(context);
    }
}

void forget_stream(CUstream gone) {
  ContextState* context = gone == nullptr ? nullptr : current_context();
  if (context == nullptr) return;
  const std::uint64_t key = stream_key(gone);
  for (StreamState& stream : context->streams) {
    if (stream.key.load(std::memory_order_acquire) != key) continue;
    close_segment(stream, gone, false);
    stream.tight.store(0, std::memory_order_relaxed);
    stream.gaps.store(0, std::memory_order_relaxed);
    stream.brief_runs.store(0, std::memory_order_relaxed);
    stream.key.store(kGone, std::memory_order_release);
  }
}

void forget_everything() {
  for (ContextState& context : contexts)  // the others' pages stay untouched
    if (context.context.load(std::memory_order_relaxed) != nullptr) reset(context);
}

}  // namespace kiboko::shim
