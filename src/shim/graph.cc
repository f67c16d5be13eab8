// A graph is charged when it is launched, as one unit; what is captured is not run and not charged.
#include "shim/graph.h"

#include "shim/graph_memory.h"
#include "shim/launch.h"
#include "shim/route.h"

namespace kiboko::shim {

std::atomic<int> captures{0};

// Streams join a capture through events, so the driver is asked, not a list of ours.
bool capturing(CUstream stream) {
  if (captures.load(std::memory_order_relaxed) == 0 || real.cuStreamIsCapturing == nullptr) return false;
  int status = 0;
  return real.cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS && status != 0;
}

RelaxedCapture::RelaxedCapture()
    : mode_(CU_STREAM_CAPTURE_MODE_RELAXED),
      changed_(captures.load(std::memory_order_relaxed) != 0 && real.cuThreadExchangeStreamCaptureMode != nullptr &&
               real.cuThreadExchangeStreamCaptureMode(&mode_) == CUDA_SUCCESS) {}

RelaxedCapture::~RelaxedCapture() {
  if (changed_) real.cuThreadExchangeStreamCaptureMode(&mode_);
}

namespace {

// What is open ends before the capture: an event of ours that came later would be captured, too.
template <class Begin>
CUresult begin_capture(Begin begin) {
  if (active()) {
    const RelaxedCapture relaxed;
    if (ContextState* context = current_context()) close_all(*context, true);
    if (lease.stream_state != nullptr) flush_lease(*lease.stream_state);  // the next launches are only recorded
  }
  const CUresult result = begin();
  if (result == CUDA_SUCCESS) captures.fetch_add(1, std::memory_order_relaxed);
  return result;
}

// A capture that was invalidated still has to be ended, with an error.
CUresult ended(CUresult result) {
  int count = captures.load(std::memory_order_relaxed);
  while (count > 0 && !captures.compare_exchange_weak(count, count - 1, std::memory_order_relaxed)) {
  }
  return result;
}

}  // namespace
}  // namespace kiboko::shim

using namespace kiboko::shim;

SHIM_EXPORT CUresult cuStreamBeginCapture(CUstream stream) {
  KIBOKO_DRIVER(cuStreamBeginCapture);
  return begin_capture([&] { return real.cuStreamBeginCapture(stream); });
}
SHIM_EXPORT CUresult cuStreamBeginCapture_ptsz(CUstream stream) {
  KIBOKO_DRIVER(cuStreamBeginCapture_ptsz);
  return begin_capture([&] { return real.cuStreamBeginCapture_ptsz(stream); });
}
SHIM_EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
  KIBOKO_DRIVER(cuStreamBeginCapture_v2);
  return begin_capture([&] { return real.cuStreamBeginCapture_v2(stream, mode); });
}
SHIM_EXPORT CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, int mode) {
  KIBOKO_DRIVER(cuStreamBeginCapture_v2_ptsz);
  return begin_capture([&] { return real.cuStreamBeginCapture_v2_ptsz(stream, mode); });
}
SHIM_EXPORT CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode* dependencies,
                                                 const void* data, std::size_t count, int mode) {
  KIBOKO_DRIVER(cuStreamBeginCaptureToGraph);
  return begin_capture(
      [&] { return real.cuStreamBeginCaptureToGraph(stream, graph, dependencies, data, count, mode); });
}
SHIM_EXPORT CUresult cuStreamBeginCaptureToGraph_ptsz(CUstream stream, CUgraph graph, const CUgraphNode* dependencies,
                                                      const void* data, std::size_t count, int mode) {
  KIBOKO_DRIVER(cuStreamBeginCaptureToGraph_ptsz);
  return begin_capture(
      [&] { return real.cuStreamBeginCaptureToGraph_ptsz(stream, graph, dependencies, data, count, mode); });
}
SHIM_EXPORT CUresult cuStreamBeginRecaptureToGraph(CUstream stream, int mode, CUgraph graph, void* callback,
                                                   void* data) {
  KIBOKO_DRIVER(cuStreamBeginRecaptureToGraph);
  return begin_capture([&] { return real.cuStreamBeginRecaptureToGraph(stream, mode, graph, callback, data); });
}
SHIM_EXPORT CUresult cuStreamBeginRecaptureToGraph_ptsz(CUstream stream, int mode, CUgraph graph, void* callback,
                                                        void* data) {
  KIBOKO_DRIVER(cuStreamBeginRecaptureToGraph_ptsz);
  return begin_capture([&] { return real.cuStreamBeginRecaptureToGraph_ptsz(stream, mode, graph, callback, data); });
}
// Into a command list of a graphics API, which submits it itself.
SHIM_EXPORT CUresult cuStreamBeginCaptureToCig(CUstream stream, void* parameters) {
  KIBOKO_DRIVER(cuStreamBeginCaptureToCig);
  return begin_capture([&] { return real.cuStreamBeginCaptureToCig(stream, parameters); });
}
SHIM_EXPORT CUresult cuStreamBeginCaptureToCig_ptsz(CUstream stream, void* parameters) {
  KIBOKO_DRIVER(cuStreamBeginCaptureToCig_ptsz);
  return begin_capture([&] { return real.cuStreamBeginCaptureToCig_ptsz(stream, parameters); });
}
SHIM_EXPORT CUresult cuStreamEndCaptureToCig(CUstream stream) {
  KIBOKO_DRIVER(cuStreamEndCaptureToCig);
  return ended(real.cuStreamEndCaptureToCig(stream));
}
SHIM_EXPORT CUresult cuStreamEndCaptureToCig_ptsz(CUstream stream) {
  KIBOKO_DRIVER(cuStreamEndCaptureToCig_ptsz);
  return ended(real.cuStreamEndCaptureToCig_ptsz(stream));
}
SHIM_EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  KIBOKO_DRIVER(cuStreamEndCapture);
  return ended(real.cuStreamEndCapture(stream, graph));
}
SHIM_EXPORT CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph* graph) {
  KIBOKO_DRIVER(cuStreamEndCapture_ptsz);
  return ended(real.cuStreamEndCapture_ptsz(stream, graph));
}

SHIM_EXPORT CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
  KIBOKO_LAUNCH(cuGraphLaunch);
  return governed(stream, {exec, 0},
                  [&] { return with_graph_memory(exec, stream, [&] { return real.cuGraphLaunch(exec, stream); }); });
}
SHIM_EXPORT CUresult cuGraphLaunch_ptsz(CUgraphExec exec, CUstream stream) {
  KIBOKO_LAUNCH(cuGraphLaunch_ptsz);
  return governed(per_thread(stream), {exec, 0}, [&] {
    return with_graph_memory(exec, per_thread(stream), [&] { return real.cuGraphLaunch_ptsz(exec, stream); });
  });
}
