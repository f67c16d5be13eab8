// A process may die with its word in the future, so none of them reaches further than what is in flight is expected to
// take, or a second where a thread waits for it.
#include "shim/activity.h"

#include <time.h>

#include "shim/busy_share.h"
#include "shim/governor.h"

namespace kiboko::shim {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

region::DeviceWords& words_of(unsigned device) { return state.region.ext().devices[device]; }

}  // namespace

void say_busy_until(unsigned device, std::int64_t until) {
  words_of(device).busy_until_ns[state.slot.index % region::kBusyWords].store(static_cast<std::uint64_t>(until),
                                                                              std::memory_order_relaxed);
}

void publish(const ContextState& context, std::int64_t now) {
  region::DeviceWords& words = words_of(device_of(context));
  words.last_launch_ns.store(static_cast<std::uint64_t>(now), std::memory_order_relaxed);
  words.backlog_until_ns.store(static_cast<std::uint64_t>(now + in_flight(context).expected_ns),
                               std::memory_order_relaxed);
  region::HamiRegion& hami = state.region.hami();
  std::int32_t recent = hami.recent_kernel.load(std::memory_order_relaxed);
  if (recent < 0) return;  // who is blocked has not launched
  static std::atomic<std::int64_t> last_second{0};
  const std::int64_t second = now / kSecond;
  std::int64_t seen = last_second.load(std::memory_order_relaxed);
  if (seen == second || !last_second.compare_exchange_strong(seen, second, std::memory_order_relaxed)) return;
  while (recent >= 0 && !hami.recent_kernel.compare_exchange_weak(recent, 2, std::memory_order_relaxed)) {
  }
  publish_busy_share(now);
  static std::atomic<std::int64_t> next_record{0};
  if (now < next_record.load(std::memory_order_relaxed)) return;
  next_record.store(state.record_interval_ns > kSecond ? now + state.record_interval_ns : 0, std::memory_order_relaxed);
  timespec wall;
  clock_gettime(CLOCK_REALTIME_COARSE, &wall);
  hami.last_kernel_time.store(wall.tv_sec, std::memory_order_relaxed);
}

bool begin_wait(const ContextState& context, bool unmeasured) {
  if (state.page == nullptr || (!unmeasured && in_flight(context).segments == 0)) return false;
  say_busy_until(device_of(context), monotonic_ns() + kSecond);
  return true;
}

void end_wait(const ContextState& context) {
  const std::int64_t now = monotonic_ns();
  const InFlight flight = in_flight(context);
  say_busy_until(device_of(context), flight.segments == 0 ? now : now + flight.expected_ns);
}

}  // namespace kiboko::shim
