// Work submitted to a stream that is being captured becomes nodes of a graph.
#pragma once

#include "launch.h"
#include "timeline.h"

namespace sim {

// What a captured call adds to the stream's graph.
CUresult capture_kernel(Stream& stream, const Launch& launch, const KernelCost& cost);
CUresult capture_host(Stream& stream, CUhostFn function, void* user_data);
CUresult capture_record(Stream& stream, Event& event, unsigned flags);
CUresult capture_wait(Stream& stream, Event& event, unsigned flags);

// A call that cannot be captured: spoils the capture and returns 900.
CUresult refuse_capture(Stream& stream);
// The same for calls that wait for a stream; success when nothing is being captured.
CUresult forbid_in_capture(Stream* stream);
// The stream goes away while it is captured.
void abandon_capture(Stream& stream);

// cuStreamWaitEvent on objects already found.
CUresult wait_event(Stream& stream, Event& event, unsigned flags);

}  // namespace sim
