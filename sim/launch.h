// One launch as asked for, and what it costs.
#pragma once

#include "timeline.h"

namespace sim {

struct Launch {
  CUfunction function;
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
  void** parameters;
  void** extra;
};

// The 64-bit number a kernel is given first, from the array of pointers or from the packed buffer.
std::uint64_t first_parameter(void** parameters, void** extra);
CUresult cost_of(const Launch& launch, int ordinal, KernelCost& cost);
// cuEventRecord on a stream already found.
CUresult record_on(Stream& stream, CUevent event);
// cuStreamWaitEvent on objects already found.
CUresult wait_event(Stream& stream, Event& event, unsigned flags);

}  // namespace sim
