// Stream capture and executable graphs.
#pragma once

#include <atomic>

#include "shim/abi.h"

namespace kiboko::shim {

extern std::atomic<int> captures;  // under way in this process

// Is work on `stream` being recorded? One load while nobody captures.
bool capturing(CUstream stream);

// Our own events and queries must not spoil a capture of the program's: while one is under way, the calling thread says
// that it takes no part.
class RelaxedCapture {
 public:
  RelaxedCapture();
  ~RelaxedCapture();
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  int mode_;
  bool changed_;
};

}  // namespace kiboko::shim
