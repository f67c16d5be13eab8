// A grant that its owner has suspended: its programs launch and copy nothing until it is resumed.
//
// The agent says so by a word of the page. Any thread; waits are ended by the page's wake word, by signals that end the
// program, and, where the agent has gone for good, a minute after its last heartbeat.
#pragma once

#include <cstdint>

#include "shim/state.h"

namespace kiboko::shim {

inline bool may_be_suspended() {
  return state.page != nullptr && state.page->live.suspended.load(std::memory_order_relaxed) != 0;
}
bool suspended(std::int64_t now_ns);

// While one exists, this process shows itself as suspended, to the agent and to HAMi's tools.
class ShownAsSuspended {
 public:
  ShownAsSuspended() = default;
  ~ShownAsSuspended();
  ShownAsSuspended(const ShownAsSuspended&) = delete;
  ShownAsSuspended& operator=(const ShownAsSuspended&) = delete;
  void show();

 private:
  bool shown_ = false;
};

// Before work other than launches is given to a stream.
void wait_while_suspended(CUstream stream);
inline void hold_if_suspended(CUstream stream) {
  if (__builtin_expect(may_be_suspended(), 0)) wait_while_suspended(stream);
}

}  // namespace kiboko::shim
