// Work submitted to a stream that is being captured becomes nodes of a graph.
#pragma once

#include "copy.h"
#include "launch.h"
#include "timeline.h"

namespace sim {

// What a captured call adds to the stream's graph.
CUresult capture_kernel(Stream& stream, const Launch& launch, const KernelCost& cost);
CUresult capture_host(Stream& stream, CUhostFn function, void* user_data);
CUresult capture_copy(Stream& stream, const Move& move);
CUresult capture_fill(Stream& stream, const Fill& fill);
// cuMemAllocAsync and cuMemFreeAsync become memory nodes.
CUresult capture_alloc(Stream& stream, std::uint64_t bytes, CUdeviceptr* out);
CUresult capture_free(Stream& stream, CUdeviceptr address);
// cuGraphLaunch becomes a child graph.
CUresult capture_graph(Stream& stream, const struct Graph& graph);
CUresult capture_record(Stream& stream, Event& event, unsigned flags);
CUresult capture_wait(Stream& stream, Event& event, unsigned flags);

// A call that cannot be captured: spoils the capture and returns 900.
CUresult refuse_capture(Stream& stream);
// The same for calls that wait for a stream; success when nothing is being captured.
CUresult forbid_in_capture(Stream* stream);
// While something is captured in global or thread-local mode, calls that may synchronise behind the program's back
// fail. Costs one load when nothing is captured.
CUresult forbid_unsafe();
// The legacy stream would wait for a blocking stream that is being captured: 906.
CUresult forbid_implicit(Stream& legacy);
extern std::atomic<int> captures_active;
// The stream goes away while it is captured.
void abandon_capture(Stream& stream);

}  // namespace sim
