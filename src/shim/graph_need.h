// What the memory nodes of a graph take from a device while it runs, found by walking the graph: the driver tells it
// for the device as a whole, and only after the fact.
//
// No state of its own; any thread may call while nobody changes the graph, which the driver asks for as well.
#pragma once

#include <cstdint>

#include "shim/abi.h"

namespace kiboko::shim {

struct GraphDevices {
  unsigned granted = 0;  // a bit for each device of the grant that the graph has memory on
  bool others = false;   // it has memory on a device that was not granted
};
// Child graphs included. Nothing where the driver does not tell of nodes.
GraphDevices graph_devices(CUgraph graph);

struct GraphNeed {
  std::uint64_t peak = 0;  // at some moment of a launch
  std::uint64_t kept = 0;  // after it: what the graph allocates and does not free
};
GraphNeed graph_need(CUgraph graph, unsigned device);

}  // namespace kiboko::shim
