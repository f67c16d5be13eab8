// Synchronisations are where a program's launches visibly end: what is open is closed before, and settled after, so
// that the host's own time between two rounds is not taken for work.
#include "shim/activity.h"
#include "shim/graph.h"
#include "shim/launch.h"
#include "shim/pool.h"
#include "shim/route.h"
#include "shim/segments.h"

namespace kiboko::shim {
namespace {

template <class Close, class Call>
CUresult synchronized(Close close, Call call) {
  if (!active()) return call();
  ContextState* context = nullptr;
  std::int64_t unmeasured = 0;
  bool busy = false;
  {
    const RelaxedCapture relaxed;
    context = current_context();
    if (context != nullptr) {
      unmeasured = close(*context);
      busy = begin_wait(*context, unmeasured > 0);
    }
  }
  const CUresult result = call();
  if (context != nullptr) {
    settle_unmeasured(*context, unmeasured);
    settle(*context);
    if (busy) end_wait(*context);
  }
  pool_settle();
  return result;
}

template <class Call>
CUresult synchronized_stream(CUstream stream, Call call) {
  return synchronized(
      [&](ContextState& context) -> std::int64_t {
        // The legacy stream waits for the others; and who is watched must know whether they still have work.
        if (stream == nullptr || watched(device_of(context))) return close_all(context, true);
        StreamState* const on = stream_state(context, stream);
        return on != nullptr ? close_segment(*on, stream, true) : 0;
      },
      call);
}

template <class Call>
CUresult synchronized_all(Call call) {
  return synchronized([](ContextState& context) { return close_all(context, true); }, call);
}

}  // namespace
}  // namespace kiboko::shim

using namespace kiboko::shim;

SHIM_EXPORT CUresult cuStreamSynchronize(CUstream stream) {
  KIBOKO_DRIVER(cuStreamSynchronize);
  return synchronized_stream(stream, [&] { return real.cuStreamSynchronize(stream); });
}
SHIM_EXPORT CUresult cuStreamSynchronize_ptsz(CUstream stream) {
  KIBOKO_DRIVER(cuStreamSynchronize_ptsz);
  return synchronized_stream(per_thread(stream), [&] { return real.cuStreamSynchronize_ptsz(stream); });
}
SHIM_EXPORT CUresult cuEventSynchronize(CUevent event) {
  KIBOKO_DRIVER(cuEventSynchronize);
  return synchronized_all([&] { return real.cuEventSynchronize(event); });
}
SHIM_EXPORT CUresult cuCtxSynchronize() {
  KIBOKO_DRIVER(cuCtxSynchronize);
  return synchronized_all([&] { return real.cuCtxSynchronize(); });
}
SHIM_EXPORT CUresult cuCtxSynchronize_v2(CUcontext context) {
  KIBOKO_DRIVER(cuCtxSynchronize_v2);
  return synchronized_all([&] { return real.cuCtxSynchronize_v2(context); });
}
SHIM_EXPORT CUresult cuStreamDestroy(CUstream stream) {
  KIBOKO_DRIVER(cuStreamDestroy);
  if (active()) forget_stream(stream);
  return real.cuStreamDestroy(stream);
}
SHIM_EXPORT CUresult cuStreamDestroy_v2(CUstream stream) {
  KIBOKO_DRIVER(cuStreamDestroy_v2);
  if (active()) forget_stream(stream);
  return real.cuStreamDestroy_v2(stream);
}
