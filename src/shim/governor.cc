// The policy words are read once per lease, so a changed limit, a new neighbour or a block is in force after at most
// half a millisecond of device time plus what is in flight.
#include "shim/governor.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "region/line.h"
#include "shim/activity.h"
#include "shim/launch.h"

namespace kiboko::shim {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kDepthNs = 5 * kMillisecond;  // of device time: what idleness may save up
// With others on the device a grant is charged for their turns too until the agent gives that back, some 20 ms later.
// It comes in pieces as long as the units are: what of a piece does not fit into the bucket is lost.
constexpr std::int64_t kSharedDepthNs = 20 * kMillisecond;
constexpr std::int64_t kMostSharedDepthNs = 250 * kMillisecond;
constexpr std::int64_t kInFlightNs = 20 * kMillisecond;  // of device time, so that a grant can hand back soon
// Never less ahead than this, or the device idles between two leases.
constexpr std::int64_t kLeastInFlightNs = 1 * kMillisecond;
// Chance may decide among waiters for so long; taking turns at every lease would cost short kernels their pace.
constexpr std::int64_t kByChanceNs = 10 * kMillisecond;
// After that the first in line goes first; others only when the bucket has been ready for so long: less than what is
// saved up meanwhile.
constexpr std::int64_t kLeastGraceNs = 200'000;
constexpr std::int64_t kMostGraceNs = 4 * kMillisecond;
constexpr std::int64_t kNotLongNs = 1'400'000;
constexpr std::int64_t kLeastNap = 50'000;
constexpr std::int64_t kAgentSilentNs = 5 * kSecond;  // then its word that nobody else is there counts no more
constexpr std::int64_t kNap = 2 * kMillisecond;       // longest single sleep: others' corrections move the bucket
constexpr std::int64_t kLongNap = 100 * kMillisecond;
constexpr std::int64_t kDeviceWaitNs = 1000 * kMillisecond;  // work may depend on work not launched yet: never for ever
constexpr std::int64_t kProbeNs = 1000 * kMillisecond;       // for whoever never finishes what he tries
using region::kSlotBits;
constexpr std::uint64_t kSlotMask = region::kMaxSlots - 1;
constexpr std::int64_t kBlockTtlNs = 15 * kSecond;

region::DeviceWords& words_of(unsigned device) { return state.region.ext().devices[device]; }

int processes_of_the_grant() {
  int processes = 0;
  for (const region::Shared<std::uint64_t>& word : state.region.ext().header.live)
    processes += __builtin_popcountll(word.load(std::memory_order_relaxed));
  return processes;
}

struct Rule {
  bool limited;
  region::Rate rate;
  std::int64_t depth_ns;
};

std::uint32_t percent_of(unsigned device) {
  const std::uint32_t own = state.limits[device].core_percent.load(std::memory_order_relaxed);
  const std::uint64_t mirror = state.region.hami().sm_limit[device].load(std::memory_order_relaxed);
  const std::uint32_t asked = own == 0 ? 100 : own;
  return mirror >= 1 && mirror < asked ? static_cast<std::uint32_t>(mirror) : asked;
}

bool agent_is_there(std::int64_t now) {
  return now - static_cast<std::int64_t>(state.page->live.heartbeat_ns.load(std::memory_order_relaxed)) <=
         kAgentSilentNs;
}

// Does the default policy's limit count? Where nobody tells us (no agent, or a silent one), the limit counts.
bool contended(unsigned device, std::int64_t now) {
  if (state.page == nullptr) return state.region.hami().utilization_switch.load(std::memory_order_relaxed) == 1;
  if (!agent_is_there(now)) return true;
  return others_there(device, now);
}

std::int64_t shared_depth(unsigned device) {
  const auto longest = static_cast<std::int64_t>(words_of(device).longest_unit_ns.load(std::memory_order_relaxed));
  if (longest <= kSharedDepthNs) return kSharedDepthNs;
  return longest < kMostSharedDepthNs ? longest : kMostSharedDepthNs;
}

Rule rule_for(unsigned device, std::int64_t now) {
  const std::int64_t depth = others_there(device, now) ? shared_depth(device) : kDepthNs;
  const region::CorePolicy policy = state.policy.load(std::memory_order_relaxed);
  std::uint32_t permyriad = percent_of(device) * 100;
  if (policy == region::CorePolicy::Disable) return {false, {10000}, depth};
  const bool always = policy == region::CorePolicy::Force;
  if (!always && !contended(device, now)) return {false, {10000}, depth};
  if (!always && state.page != nullptr) {
    const std::uint32_t effective = state.page->live.devices[device].rate_permyriad.load(std::memory_order_relaxed);
    if (effective != 0 && agent_is_there(now)) permyriad = effective;
  }
  if (permyriad >= 10000) return {false, {10000}, depth};
  return {true, {permyriad}, depth};
}

bool is_anothers_probe(std::uint64_t probe, std::int64_t now) {
  return probe != 0 && (probe & kSlotMask) != state.slot.index &&
         static_cast<std::int64_t>(probe >> kSlotBits) * kMillisecond >= now;
}

// The agent saw that part of the time we were charged for was used by others.
void apply_give_back(unsigned device, const Rule& rule, std::int64_t now) {
  if (state.page == nullptr) return;
  region::DeviceWords& words = words_of(device);
  const std::uint64_t given = state.page->live.devices[device].give_back_ns.load(std::memory_order_relaxed);
  std::uint64_t applied = words.applied_give_back_ns.load(std::memory_order_relaxed);
  if (given == applied ||
      !words.applied_give_back_ns.compare_exchange_strong(applied, given, std::memory_order_relaxed))
    return;
  const std::uint64_t delta = given - applied;
  if (given > applied && delta < static_cast<std::uint64_t>(kSecond))
    region::correct_time(words, rule.rate, now, -static_cast<std::int64_t>(delta), rule.depth_ns);
}

// HAMi's monitor blocks by a negative recent-kernel word and may die without unblocking: after a minute the grant gets
// 50 ms every 5 s. Our agent's block ends by itself.
bool blocked_by_monitor(std::int64_t now) {
  static std::atomic<std::int64_t> since{0};
  if (state.region.hami().recent_kernel.load(std::memory_order_relaxed) >= 0) {
    if (since.load(std::memory_order_relaxed) != 0) since.store(0, std::memory_order_relaxed);
    return false;
  }
  std::int64_t begun = 0;
  if (since.compare_exchange_strong(begun, now, std::memory_order_relaxed)) begun = now;
  return now - begun < 60 * kSecond || (now / kMillisecond) % 5000 >= 50;
}

bool blocked(unsigned device, std::int64_t now) {
  if (state.page == nullptr) return blocked_by_monitor(now);
  const region::GrantLiveDevice& live = state.page->live.devices[device];
  const auto until = static_cast<std::int64_t>(live.blocked_until_ns.load(std::memory_order_relaxed));
  return live.blocked.load(std::memory_order_relaxed) != 0 && now < until && until < now + 2 * kBlockTtlNs;
}

// While a grant of higher priority may come, the agent says how little the device may have of ours when it does.
struct Ahead {
  bool little;
  std::int64_t most_ns;
};

Ahead allowed_ahead(unsigned device, std::int64_t now) {
  if (state.page == nullptr) return {false, kInFlightNs};
  const std::uint32_t us = state.page->live.devices[device].in_flight_us.load(std::memory_order_relaxed);
  if (us == 0 || !agent_is_there(now)) return {false, kInFlightNs};
  const int processes = processes_of_the_grant();
  const std::int64_t each = std::int64_t{us} * 1000 / (processes < 1 ? 1 : processes);
  return {true, each < kLeastInFlightNs ? kLeastInFlightNs : each < kInFlightNs ? each : kInFlightNs};
}

// How much must end before another lease may follow; <= 0: nothing. What it is taken for may be longer than all that.
// Behind one unit that is not long another may wait, or the device idles between any two.
std::int64_t too_much_ahead(const Ahead& ahead, const InFlight& flight) {
  if (!ahead.little) return flight.segments > 1 ? flight.expected_ns - ahead.most_ns : 0;
  if (flight.segments == 0 || (flight.segments == 1 && flight.expected_ns <= kNotLongNs)) return 0;
  return flight.expected_ns + kLeaseNs - ahead.most_ns;
}

// A little work in flight is soon over, and when it is all there is, the device idles until we see that.
std::int64_t nap_for(const Ahead& ahead, const InFlight& flight, std::int64_t too_much) {
  if (!ahead.little) return kMillisecond;
  const std::int64_t nap = flight.segments > 1 ? too_much : too_much / 8,
                     most = kMillisecond / (flight.segments > 1 ? 1 : 2);
  return nap < kLeastNap ? kLeastNap : nap < most ? nap : most;
}

// How long after `ready` one may go who is not the first in line: the first may have died, or not get a processor.
std::int64_t grace(std::int64_t lease_ns) {
  const std::int64_t part = lease_ns / 4;
  return part < kLeastGraceNs ? kLeastGraceNs : part < kMostGraceNs ? part : kMostGraceNs;
}

// A wait whose reason is looked for after this was read ends as soon as the reason goes.
std::uint32_t wake_word() { return state.page == nullptr ? 0 : state.page->live.wake.load(std::memory_order_acquire); }

void sleep_until(std::int64_t when, std::uint32_t seen) {
  const timespec at{static_cast<time_t>(when / kSecond), static_cast<long>(when % kSecond)};
  if (state.page == nullptr) {
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
    return;
  }
  syscall(SYS_futex, &state.page->live.wake, FUTEX_WAIT_BITSET, seen, &at, nullptr, FUTEX_BITSET_MATCH_ANY);
}

void sleep_until(std::int64_t when) { sleep_until(when, wake_word()); }

// A wait, as the counters and the agent see it.
class Waiting {
 public:
  explicit Waiting(unsigned device) : device_(device), since_(monotonic_ns()) {}
  ~Waiting() {
    if (!announced_) return;
    const auto waited = static_cast<std::uint64_t>(monotonic_ns() - since_);
    region::Extension& ext = state.region.ext();
    ext.devices[device_].waiting.fetch_sub(1, std::memory_order_relaxed);
    ext.counters[state.slot.index].device[device_].throttled_ns.fetch_add(waited, std::memory_order_relaxed);
    ext.waits[device_].count[region::wait_length(waited)].fetch_add(1, std::memory_order_relaxed);
  }
  bool announced() const { return announced_; }
  std::uint64_t place() const { return region::place_in_line(since_, state.slot.index); }
  void announce() {
    if (!announced_) words_of(device_).waiting.fetch_add(1, std::memory_order_relaxed);
    announced_ = true;
  }

 private:
  unsigned device_;
  bool announced_ = false;
  std::int64_t since_;
};

}  // namespace

std::int64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * kSecond + now.tv_nsec;
}

bool others_there(unsigned device, std::int64_t now) {
  return state.page != nullptr && static_cast<std::int64_t>(state.page->live.devices[device].contended_until_ns.load(
                                      std::memory_order_relaxed)) > now;
}

bool alone_on(unsigned device, std::int64_t now) {
  if (others_there(device, now)) return false;
  return processes_of_the_grant() <= 1;
}

void correct_charge(unsigned device, std::int64_t now, std::int64_t delta_ns) {
  const Rule rule = rule_for(device, now);
  region::correct_time(words_of(device), rule.rate, now, delta_ns, rule.depth_ns);
}

void note_unit(unsigned device, std::int64_t length_ns) {
  std::atomic<std::uint64_t>& longest = words_of(device).longest_unit_ns;
  const std::uint64_t old = longest.load(std::memory_order_relaxed);
  const auto length = static_cast<std::uint64_t>(length_ns);
  const std::uint64_t next = length > old ? length : old - old / 64;
  if (next != old) longest.store(next, std::memory_order_relaxed);
}

void wait_while_held(ContextState& context, Held what) {
  const unsigned device = device_of(context);
  Waiting waiting(device);
  ShownAsSuspended shown;
  for (;;) {
    const std::uint32_t seen = wake_word();
    const std::int64_t now = monotonic_ns();
    const bool stopped = suspended(now);
    if (!stopped && (what == Held::Copies || !blocked(device, now))) return;
    const bool drained = in_flight(context).segments == 0;
    say_busy_until(device, drained ? 0 : now + 2 * kNap);
    if (stopped) {  // who is suspended wants nothing of the device
      shown.show();
    } else {
      publish(context, now);
      waiting.announce();
    }
    sleep_until(now + (stopped && drained ? kLongNap : kNap), seen);
    settle(context);
  }
}

std::int64_t take_lease(ContextState& context, std::int64_t lease_ns) {
  const unsigned device = device_of(context);
  region::DeviceWords& words = words_of(device);
  Waiting waiting(device);
  const std::uint64_t place = waiting.place();
  std::int64_t device_patience = monotonic_ns() + kDeviceWaitNs;
  InFlight before = in_flight(context);
  for (;;) {
    refresh_limits();
    if (may_be_held(device)) wait_while_held(context, Held::Launches);
    const std::int64_t now = monotonic_ns();
    const Rule rule = rule_for(device, now);
    apply_give_back(device, rule, now);
    publish(context, now);
    std::int64_t wake = 0;
    std::uint64_t overdue = 0;  // the first in line, where it has waited for long
    const Ahead ahead = allowed_ahead(device, now);
    if (ahead.little) close_all(context, false);
    const InFlight flight = in_flight(context);
    if (flight.segments < before.segments) device_patience = now + kDeviceWaitNs;
    before = flight;
    if (rule.limited && is_anothers_probe(words.probe.load(std::memory_order_relaxed), now)) {
      wake = now + kMillisecond;
    } else if (rule.limited) {
      std::int64_t ready = region::ready_at(words, rule.rate, now, rule.depth_ns);
      const std::uint64_t first = ready > now || waiting.announced()
                                      ? region::stand_in_line(words.first_in_line, place)
                                      : words.first_in_line.load(std::memory_order_relaxed);
      if (first != 0 && now - region::waits_since_ns(first) > kByChanceNs) overdue = first;
      if (overdue != 0 && overdue != place) ready += grace(lease_ns);
      if (ready > now) wake = ready;
    }
    const bool by_its_limit = wake != 0;
    const std::int64_t too_much = too_much_ahead(ahead, flight);
    if (wake == 0 && too_much > 0 && now < device_patience) wake = now + nap_for(ahead, flight, too_much);
    if (wake == 0 && rule.limited && !region::try_charge_time(words, rule.rate, now, lease_ns, rule.depth_ns)) continue;
    if (!by_its_limit) region::leave_line(words.first_in_line, place);
    if (wake == 0) {
      if (overdue != 0) region::leave_line(words.first_in_line, overdue);
      if (!rule.limited) region::charge_time(words, rule.rate, now, lease_ns, rule.depth_ns);
      say_busy_until(device, now + flight.expected_ns + lease_ns);
      return now;
    }
    say_busy_until(device, by_its_limit ? 0 : now + flight.expected_ns + kMillisecond);
    waiting.announce();
    sleep_until(wake < now + kNap ? wake : now + kNap);
    settle(context);
  }
}

// Nobody knows what the first launch of a unit costs, so the bucket cannot hold it back beforehand. Processes that
// start together would all be let through at once, and the grant would pay for seconds; so they try one after the
// other, each when the bucket is level again.
void take_probe(ContextState& context) {
  const unsigned device = device_of(context);
  region::DeviceWords& words = words_of(device);
  std::int64_t give_up = 0;
  for (;;) {
    const std::int64_t now = monotonic_ns();
    const Rule rule = rule_for(device, now);
    if (!rule.limited) return;
    const std::int64_t ready = region::ready_at(words, rule.rate, now, rule.depth_ns);
    if (ready <= now) {
      if (give_up == 0) give_up = now + kProbeNs;
      std::uint64_t seen = words.probe.load(std::memory_order_relaxed);
      const bool free = !is_anothers_probe(seen, now) || now > give_up;
      const auto deadline = static_cast<std::uint64_t>((now + kProbeNs) / kMillisecond);
      const std::uint64_t mine = deadline << kSlotBits | state.slot.index;
      if (free && words.probe.compare_exchange_strong(seen, mine, std::memory_order_relaxed)) return;
      if (free) continue;
    }
    sleep_until(ready > now && ready < now + kMillisecond ? ready : now + kMillisecond);
    settle(context);
  }
}

void release_probe(unsigned device) {
  region::Shared<std::uint64_t>& probe = words_of(device).probe;
  std::uint64_t seen = probe.load(std::memory_order_relaxed);
  if (seen != 0 && (seen & kSlotMask) == state.slot.index)
    probe.compare_exchange_strong(seen, 0, std::memory_order_relaxed);
}

void wait_for_measure(ContextState& context, const Cost& cost) {
  const std::int64_t give_up = monotonic_ns() + kDeviceWaitNs;
  std::int64_t nap = 20'000;
  for (;;) {
    const std::int64_t now = monotonic_ns();
    const std::uint32_t most = rule_for(device_of(context), now).limited ? 1 : 2;
    if (is_known(cost) || cost.unsettled.load(std::memory_order_relaxed) < most || now > give_up) return;
    sleep_until(now + nap);
    if (nap < kMillisecond) nap *= 2;
    settle(context);
  }
}

}  // namespace kiboko::shim
