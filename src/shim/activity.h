// Tells those who watch the grant that this process is at work: the agent, by words of the region, and HAMi's monitor.
//
// Any thread; single stores. The agent holds neighbours of lower priority back for as long as busy_until_ns lies ahead,
// so it is moved on when work is launched, and back when the work is known to have ended.
#pragma once

#include <cstdint>

#include "shim/segments.h"
#include "shim/state.h"

namespace kiboko::shim {

// At every look at the bucket.
void publish(const ContextState& context, std::int64_t now_ns);
// Work of this process is in flight until then, as far as we know; 0 = only its own limit keeps it from more.
void say_busy_until(unsigned device, std::int64_t until_ns);
// Around a wait for the device. begin_wait() says whether anything is in flight; end_wait() only if it was.
bool begin_wait(const ContextState& context, bool unmeasured);
void end_wait(const ContextState& context);

// Do neighbours of lower priority wait for this grant's work? Then it says at once when it begins.
inline bool watched(unsigned device) {
  return state.page != nullptr && state.page->live.devices[device].watched.load(std::memory_order_relaxed) != 0;
}

}  // namespace kiboko::shim
