// Kernel launches. The fast path is lease_covers(): the same unit on the same stream as last time, with credit left.
#include "shim/launch.h"

#include "shim/activity.h"
#include "shim/code.h"
#include "shim/governor.h"
#include "shim/graph.h"
#include "shim/route.h"
#include "shim/segments.h"

namespace kiboko::shim {

std::atomic<LaunchMode> launch_mode{LaunchMode::Unknown};
constinit thread_local Lease lease = {};

namespace {

constexpr std::int64_t kSegmentNs = 1'000'000;  // expected work after which a segment is closed
constexpr std::uint32_t kSegmentLaunches = 256;
constexpr std::uint32_t kBriefRuns = 16;
constexpr std::uint32_t kSteadySamples = 16;
constexpr std::uint32_t kLongBriefNs = 50'000;

}  // namespace

void launch_configure(Phase phase) {
  launch_mode.store(phase == Phase::Free ? LaunchMode::Pass : LaunchMode::Governed, std::memory_order_release);
}

void launch_after_fork() {
  launch_mode.store(LaunchMode::Pass, std::memory_order_relaxed);
  forget_everything();
}

bool in_context(CUcontext context) {
  CUcontext current = nullptr;
  return real.cuCtxGetCurrent != nullptr && real.cuCtxGetCurrent(&current) == CUDA_SUCCESS && current == context;
}

void flush_lease(StreamState& stream_state) {
  Lease& l = lease;
  if (l.stream_state != &stream_state) return;
  const std::uint32_t taken = l.granted - l.runs, launches = l.first + taken;
  l.left_ns -= std::int64_t{taken} * l.cost_ns;
  l.first = l.granted = l.runs = 0;
  if (launches == 0) return;
  stream_state.expected_ns.fetch_add(std::int64_t{launches} * l.cost_ns, std::memory_order_relaxed);
  stream_state.launches.fetch_add(launches, std::memory_order_relaxed);
}

namespace {

// Notes in the open segment that it now holds work of this kind.
void note_kind(StreamState& stream_state, Cost& cost) {
  Cost* other = nullptr;
  if (!stream_state.cost.compare_exchange_strong(other, &cost, std::memory_order_relaxed) && other != &cost)
    stream_state.mixed.store(true, std::memory_order_relaxed);
}

bool full(const StreamState& stream_state) {
  return stream_state.expected_ns.load(std::memory_order_relaxed) >= kSegmentNs ||
         stream_state.launches.load(std::memory_order_relaxed) >= kSegmentLaunches;
}

bool use_up(std::atomic<std::uint32_t>& count) {
  std::uint32_t left = count.load(std::memory_order_relaxed);
  return left != 0 && count.compare_exchange_strong(left, left - 1, std::memory_order_relaxed);
}

// A program that waits for each short round, of work that takes the same time each round, is measured now and then.
// Rounds that are not measured are put on the timeline a little too late, which counts when tenants are told apart by
// it: unless a round is so short that measuring would cost more, all are measured then.
bool predictable(const ContextState& context, const StreamState& stream_state, Cost& cost) {
  if (expected_ns(cost) > kLongBriefNs && others_there(device_of(context), monotonic_ns())) return false;
  if (stream_state.brief_runs.load(std::memory_order_relaxed) < kBriefRuns ||
      cost.steady.load(std::memory_order_relaxed) < kSteadySamples)
    return false;
  return (cost.unmeasured.fetch_add(1, std::memory_order_relaxed) * 2654435761U >> 29) != 0;  // seven in eight
}

// How many more launches of that cost the credit covers, and the open segment takes.
std::uint32_t runs_within(std::int64_t left_ns, std::uint32_t cost_ns) {
  if (cost_ns == 0) return kSegmentLaunches - 1;
  const std::int64_t runs = (left_ns < kSegmentNs ? left_ns : kSegmentNs) / cost_ns;
  return runs < kSegmentLaunches - 1 ? static_cast<std::uint32_t>(runs) : kSegmentLaunches - 1;
}

struct Price {
  std::uint32_t ns;
  bool known;
};

// Waits until the lease holds `price_ns`.
void refill(ContextState& context, std::uint32_t price_ns) {
  const std::int64_t lacking = price_ns - lease.left_ns;
  if (lacking <= 0) return;
  const std::int64_t amount = lacking > kLeaseNs ? lacking : kLeaseNs;
  take_lease(context, amount);
  lease.left_ns += amount;
}

// Waits until the lease holds what one launch takes. What was not known may become known during a wait, and then costs
// what it costs; a price that was paid stands.
Price pay(ContextState& context, StreamState& stream_state, CUstream stream, const Cost& cost) {
  Lease& l = lease;
  for (bool probing = false;;) {
    const Price price{expected_ns(cost), is_known(cost)};
    const bool must_probe = !price.known && !probing;
    if (probing && price.known) release_probe(device_of(context));
    if (l.left_ns >= price.ns && !must_probe) return price;
    close_segment(stream_state, stream, false);  // a wait must not be measured as work
    if (l.left_ns >= price.ns) {
      take_probe(context);
      probing = true;
      continue;
    }
    refill(context, price.ns);
    if (price.known) return price;
  }
}

void launch_on(ContextState& context, StreamState& stream_state, CUstream stream, const Unit& unit) {
  Lease& l = lease;
  if (l.stream_state != nullptr) flush_lease(*l.stream_state);
  if (full(stream_state)) close_segment(stream_state, stream, false);
  settle(context);
  if (may_be_held(device_of(context))) {
    close_segment(stream_state, stream, false);
    wait_while_held(context, Held::Launches);
  }
  Cost& cost = cost_of(unit);
  if (!is_known(cost) && cost.unsettled.load(std::memory_order_relaxed) >= 1) {
    close_segment(stream_state, stream, false);
    wait_for_measure(context, cost);
  }
  const Price price = pay(context, stream_state, stream, cost);
  l.left_ns -= price.ns;
  const bool is_kernel = unit.volume != 0;  // a graph's code is loaded when it is instantiated
  const bool first_launch = is_kernel && !price.known && before_first_launch(unit.handle);
  if (watched(device_of(context))) {
    const std::int64_t now = monotonic_ns();
    say_busy_until(device_of(context), now + in_flight(context).expected_ns + price.ns);
  }
  if (!open_segment(context, stream_state, stream, !predictable(context, stream_state, cost))) {
    l.close_after = first_launch ? 1 : 0;
    return;
  }
  note_kind(stream_state, cost);
  l.first = 1;
  l.handle = unit.handle;
  l.volume = unit.volume;
  l.stream = stream;
  l.stream_state = &stream_state;
  l.context = handle_of(context);
  l.serial = stream_state.serial.load(std::memory_order_acquire);
  l.cost_ns = price.ns;
  if (!price.known) cost.unsettled.fetch_add(1, std::memory_order_relaxed);
  const bool alone = !price.known || price.ns >= kSegmentNs || use_up(stream_state.tight);
  if (alone)
    l.close_after = 1;
  else
    l.granted = l.runs = runs_within(l.left_ns, price.ns);
}

// More streams than we keep: charged by what such work is known to take.
void launch_unmeasured(ContextState& context, const Unit& unit) {
  const std::uint32_t expected = expected_ns(cost_of(unit));
  settle(context);
  refill(context, expected);
  lease.left_ns -= expected;
}

}  // namespace

bool gate(CUstream stream, const Unit& unit) {
  if (launch_mode.load(std::memory_order_acquire) == LaunchMode::Unknown || !active()) {
    const Gate verdict = enter();
    if (verdict != Gate::Account) return verdict == Gate::Pass;
  }
  if (capturing(stream)) return true;  // recorded, not run: the graph's launches are charged
  const RelaxedCapture relaxed;
  ContextState* context = current_context();
  if (context == nullptr) return true;  // the driver refuses the launch itself
  if (StreamState* const on = stream_state(*context, stream); on != nullptr)
    launch_on(*context, *on, stream, unit);
  else
    launch_unmeasured(*context, unit);
  return true;
}

void after_launch() {
  lease.close_after = 0;
  const RelaxedCapture relaxed;
  if (lease.stream_state != nullptr) close_segment(*lease.stream_state, lease.stream, false);
  after_first_launch();  // takes its time, which is not the launch's
}

}  // namespace kiboko::shim

using namespace kiboko::shim;

namespace {

std::uint64_t volume(unsigned x, unsigned y, unsigned z) { return std::uint64_t{x} * y * z; }

}  // namespace

SHIM_EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                    unsigned by, unsigned bz, unsigned shared, CUstream stream, void** parameters,
                                    void** extra) {
  KIBOKO_LAUNCH(cuLaunchKernel);
  return governed(stream, {function, volume(gx, gy, gz)}, [&] {
    return real.cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra);
  });
}

SHIM_EXPORT CUresult cuLaunchKernel_ptsz(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                         unsigned by, unsigned bz, unsigned shared, CUstream stream, void** parameters,
                                         void** extra) {
  KIBOKO_LAUNCH(cuLaunchKernel_ptsz);
  return governed(per_thread(stream), {function, volume(gx, gy, gz)}, [&] {
    return real.cuLaunchKernel_ptsz(function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra);
  });
}

SHIM_EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters,
                                      void** extra) {
  KIBOKO_LAUNCH(cuLaunchKernelEx);
  if (config == nullptr) return real.cuLaunchKernelEx(config, function, parameters, extra);
  return governed(config->stream, {function, volume(config->grid_x, config->grid_y, config->grid_z)},
                  [&] { return real.cuLaunchKernelEx(config, function, parameters, extra); });
}

SHIM_EXPORT CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig* config, CUfunction function, void** parameters,
                                           void** extra) {
  KIBOKO_LAUNCH(cuLaunchKernelEx_ptsz);
  if (config == nullptr) return real.cuLaunchKernelEx_ptsz(config, function, parameters, extra);
  return governed(per_thread(config->stream), {function, volume(config->grid_x, config->grid_y, config->grid_z)},
                  [&] { return real.cuLaunchKernelEx_ptsz(config, function, parameters, extra); });
}

SHIM_EXPORT CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                               unsigned by, unsigned bz, unsigned shared, CUstream stream,
                                               void** parameters) {
  KIBOKO_LAUNCH(cuLaunchCooperativeKernel);
  return governed(stream, {function, volume(gx, gy, gz)}, [&] {
    return real.cuLaunchCooperativeKernel(function, gx, gy, gz, bx, by, bz, shared, stream, parameters);
  });
}

SHIM_EXPORT CUresult cuLaunchCooperativeKernel_ptsz(CUfunction function, unsigned gx, unsigned gy, unsigned gz,
                                                    unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                                    CUstream stream, void** parameters) {
  KIBOKO_LAUNCH(cuLaunchCooperativeKernel_ptsz);
  return governed(per_thread(stream), {function, volume(gx, gy, gz)}, [&] {
    return real.cuLaunchCooperativeKernel_ptsz(function, gx, gy, gz, bx, by, bz, shared, stream, parameters);
  });
}

namespace {

// Makes the context of `stream` the thread's, as long as this lives. What cannot be found out is left as it is.
class InContextOf {
 public:
  explicit InContextOf(CUstream stream) {
    CUcontext of_stream = nullptr;
    changed_ = real.cuStreamGetCtx != nullptr && real.cuCtxSetCurrent != nullptr && real.cuCtxGetCurrent != nullptr &&
               real.cuStreamGetCtx(stream, &of_stream) == CUDA_SUCCESS &&
               real.cuCtxGetCurrent(&before_) == CUDA_SUCCESS && of_stream != before_ &&
               real.cuCtxSetCurrent(of_stream) == CUDA_SUCCESS;
  }
  ~InContextOf() {
    if (changed_) real.cuCtxSetCurrent(before_);
  }
  InContextOf(const InContextOf&) = delete;
  InContextOf& operator=(const InContextOf&) = delete;

 private:
  CUcontext before_ = nullptr;
  bool changed_;
};

// The next launch goes to another device: what is open here ends with the one just made.
void end_launch_on(CUstream stream) {
  lease.close_after = 0;
  const InContextOf context(stream);
  const RelaxedCapture relaxed;
  ContextState* const there = capturing(stream) ? nullptr : current_context();
  StreamState* const on = there == nullptr ? nullptr : stream_state(*there, stream);
  if (on != nullptr) close_segment(*on, stream, false);
  after_first_launch();
}

}  // namespace

// One launch per device, each on a stream of its own context: the calling thread's context says nothing about them.
SHIM_EXPORT CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS* launches, unsigned count,
                                                          unsigned flags) {
  KIBOKO_LAUNCH(cuLaunchCooperativeKernelMultiDevice);
  if (launches == nullptr || count == 0 || launch_mode.load(std::memory_order_relaxed) == LaunchMode::Pass)
    return real.cuLaunchCooperativeKernelMultiDevice(launches, count, flags);
  for (unsigned i = 0; i < count; ++i) {
    const CUDA_LAUNCH_PARAMS& one = launches[i];
    const InContextOf context(one.stream);
    if (!gate(one.stream, {one.function, volume(one.grid_x, one.grid_y, one.grid_z)}))
      return CUDA_ERROR_OPERATING_SYSTEM;
  }
  const CUresult result = real.cuLaunchCooperativeKernelMultiDevice(launches, count, flags);
  for (unsigned i = 0; i < count; ++i) end_launch_on(launches[i].stream);
  return result;
}

SHIM_EXPORT CUresult cuLaunch(CUfunction function) {
  KIBOKO_LAUNCH(cuLaunch);
  return governed(nullptr, {function, 1}, [&] { return real.cuLaunch(function); });
}

SHIM_EXPORT CUresult cuLaunchGrid(CUfunction function, int width, int height) {
  KIBOKO_LAUNCH(cuLaunchGrid);
  return governed(nullptr, {function, volume(static_cast<unsigned>(width), static_cast<unsigned>(height), 1)},
                  [&] { return real.cuLaunchGrid(function, width, height); });
}

SHIM_EXPORT CUresult cuLaunchGridAsync(CUfunction function, int width, int height, CUstream stream) {
  KIBOKO_LAUNCH(cuLaunchGridAsync);
  return governed(stream, {function, volume(static_cast<unsigned>(width), static_cast<unsigned>(height), 1)},
                  [&] { return real.cuLaunchGridAsync(function, width, height, stream); });
}
