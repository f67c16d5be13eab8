// Decides whether work may start now, and keeps the bucket true: policy, rate, waits, priority.
//
// Any thread. Waits are bounded, poll nothing faster than a millisecond, and end early when the agent moves the page's
// wake word.
#pragma once

#include <cstdint>

#include "region/bucket.h"
#include "shim/segments.h"
#include "shim/state.h"
#include "shim/suspend.h"

namespace kiboko::shim {

inline constexpr std::int64_t kLeaseNs = 500'000;  // of device time; the least that is taken at once

// Puts right what the bucket was charged: measured minus expected.
void correct_charge(unsigned device, std::int64_t now_ns, std::int64_t delta_ns);
// The longest kernel or graph lately, for the agent.
void note_unit(unsigned device, std::int64_t length_ns);

// While something but the bucket forbids to go on: the grant is suspended, and for launches also a grant of higher
// priority at work, or HAMi's monitor.
enum class Held : std::uint8_t { Launches, Copies };
void wait_while_held(ContextState& context, Held what);
inline bool may_be_held(unsigned device) {
  if (state.page == nullptr) return state.region.hami().recent_kernel.load(std::memory_order_relaxed) < 0;
  return state.page->live.devices[device].blocked.load(std::memory_order_relaxed) != 0 || may_be_suspended();
}
// Waits until `cost_ns` of device time may be launched, charges `lease_ns` (at least the cost) and says when it was.
std::int64_t take_lease(ContextState& context, std::int64_t lease_ns);
// Before a unit of unknown length is launched: waits for the bucket, and then at most a second until no other process
// of the grant tries one. False: nothing is limited, so nobody minds.
void take_probe(ContextState& context);
// When it has been measured.
void release_probe(unsigned device);
// Waits, for a bounded time, until the device has caught up so far that one more unit of unknown length may follow: one
// in flight where work is limited, two where it is not.
void wait_for_measure(ContextState& context, const Cost& cost);

// Does the agent see another grant at work on the device?
bool others_there(unsigned device, std::int64_t now_ns);
// Does nobody else use the device now, neither another grant nor another process of this one?
bool alone_on(unsigned device, std::int64_t now_ns);

std::int64_t monotonic_ns();

}  // namespace kiboko::shim
