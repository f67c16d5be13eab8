// Moving bytes: one shape for every copy and every set.
#pragma once

#include "timeline.h"

namespace sim {

// depth planes of height rows of width bytes; addresses are the process's own.
struct Move {
  char* to = nullptr;
  const char* from = nullptr;
  std::size_t width = 0, height = 1, depth = 1;
  std::size_t to_pitch = 0, to_plane = 0, from_pitch = 0, from_plane = 0;
  bool host_side = false;  // crosses the bus
  std::uint64_t bytes() const { return std::uint64_t{width} * height * depth; }
};

struct Fill {
  CUdeviceptr to = 0;
  std::size_t pitch = 0;
  std::uint32_t value = 0;
  unsigned element = 1;               // bytes: 1, 2, 4
  std::size_t width = 0, height = 1;  // width in elements
  std::uint64_t bytes() const { return std::uint64_t{width} * element * height; }
};

// Checks the addresses and lays the copy out.
CUresult lay_out(const CUDA_MEMCPY3D& copy, Move& move);
CUresult check(const Fill& fill);

void run(const Move& move);
void run(const Fill& fill);

}  // namespace sim
