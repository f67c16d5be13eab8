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

CUresult cost_of(const Launch& launch, int ordinal, KernelCost& cost);
// cuEventRecord on a stream already found.
CUresult record_on(Stream& stream, CUevent event);

}  // namespace sim
