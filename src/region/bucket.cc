// bucket.h. Every word is read as if a stranger had written it: values are clamped to an hour of device time before
// they are scaled by the rate (at most 10,000 times) and added, so that nothing can leave 64 bits.
#include "region/bucket.h"

namespace kiboko::region {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMostWork = 3600 * kSecond;
constexpr std::int64_t kMostTime = std::int64_t{1} << 61;
constexpr std::int64_t kLeastDebtCap = 2 * kSecond;
constexpr std::uint32_t kWhole = 10'000;

std::int64_t clamp(std::int64_t value, std::int64_t low, std::int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// How much the arrival time moves for `work` ns of device time.
std::int64_t scaled(std::int64_t work, Rate rate) {
  const std::int64_t parts = rate.permyriad == 0 ? 1 : rate.permyriad > kWhole ? kWhole : rate.permyriad;
  return clamp(work, -kMostWork, kMostWork) * std::int64_t{kWhole} / parts;
}

std::int64_t credit(std::int64_t depth_ns, Rate rate) { return scaled(clamp(depth_ns, 0, kMostWork), rate); }

std::int64_t debt_cap(const DeviceWords& words, Rate rate) {
  const std::uint64_t longest = words.longest_unit_ns.load(std::memory_order_relaxed);
  const std::int64_t unit =
      longest < static_cast<std::uint64_t>(kMostWork) ? static_cast<std::int64_t>(longest) : kMostWork;
  const std::int64_t cap = scaled(unit, rate);
  return cap > kLeastDebtCap ? cap : kLeastDebtCap;
}

// The latest arrival time that makes sense at `now`.
std::int64_t latest(const DeviceWords& words, Rate rate, std::int64_t now, std::int64_t depth_ns) {
  return now + credit(depth_ns, rate) + debt_cap(words, rate);
}

template <class Next>
void move_on(DeviceWords& words, Next next) {
  std::int64_t seen = words.tat_ns.load(std::memory_order_relaxed);
  while (!words.tat_ns.compare_exchange_weak(seen, next(seen), std::memory_order_relaxed)) {
  }
}

// ---- the timeline -------------------------------------------------------------------------------------------------

constexpr std::uint64_t kEpochShift = 48;
constexpr std::uint64_t kBitsMask = (1ull << kEpochShift) - 1;
constexpr std::uint64_t kLatestNs = 1ull << 62;
// A ring word ahead of ours by at most so many turns (a minute) was written by somebody later; by more, it is a
// leftover whose 16 bits of epoch came round.
constexpr std::uint16_t kAheadTurns = 64;

std::uint64_t nearest_bit(std::uint64_t ns) { return (ns + kCoverBitNs / 2) / kCoverBitNs; }
std::uint16_t epoch_of(std::uint64_t word_number) { return static_cast<std::uint16_t>(word_number / kCoverWords); }
std::uint64_t ones(std::uint64_t count) { return (1ull << count) - 1; }  // count <= 48

std::uint64_t count_bits(std::uint64_t bits) { return static_cast<std::uint64_t>(__builtin_popcountll(bits)); }

// Sets `bits` of word `number` of the timeline; returns how many were not set before.
std::uint64_t mark(DeviceWords& words, std::uint64_t number, std::uint64_t bits) {
  Shared<std::uint64_t>& word = words.cover[number % kCoverWords];
  const std::uint16_t epoch = epoch_of(number);
  std::uint64_t seen = word.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint16_t ahead = static_cast<std::uint16_t>((seen >> kEpochShift) - epoch);
    if (ahead != 0 && ahead <= kAheadTurns) return count_bits(bits);  // older than the ring
    const std::uint64_t before = ahead == 0 ? seen & kBitsMask : 0;
    const std::uint64_t next = static_cast<std::uint64_t>(epoch) << kEpochShift | before | bits;
    if (next == seen || word.compare_exchange_weak(seen, next, std::memory_order_relaxed))
      return count_bits(bits & ~before);
  }
}

}  // namespace

std::int64_t ready_at(const DeviceWords& words, Rate rate, std::int64_t now, std::int64_t depth_ns) {
  now = clamp(now, 0, kMostTime);
  const std::int64_t arrival =
      clamp(words.tat_ns.load(std::memory_order_relaxed), now, latest(words, rate, now, depth_ns));
  return arrival - credit(depth_ns, rate);
}

void charge_time(DeviceWords& words, Rate rate, std::int64_t now, std::int64_t cost_ns, std::int64_t depth_ns) {
  if (cost_ns <= 0) return;
  now = clamp(now, 0, kMostTime);
  const std::int64_t most = latest(words, rate, now, depth_ns);
  const std::int64_t step = scaled(cost_ns, rate);
  move_on(words, [=](std::int64_t arrival) { return clamp(arrival, now, most) + step; });
  words.charged_ns.fetch_add(static_cast<std::uint64_t>(cost_ns), std::memory_order_relaxed);
}

bool try_charge_time(DeviceWords& words, Rate rate, std::int64_t now, std::int64_t cost_ns, std::int64_t depth_ns) {
  if (cost_ns <= 0) return true;
  now = clamp(now, 0, kMostTime);
  const std::int64_t most = latest(words, rate, now, depth_ns);
  const std::int64_t step = scaled(cost_ns, rate), start = now + credit(depth_ns, rate);
  std::int64_t seen = words.tat_ns.load(std::memory_order_relaxed);
  do {
    if (clamp(seen, now, most) > start) return false;
  } while (!words.tat_ns.compare_exchange_weak(seen, clamp(seen, now, most) + step, std::memory_order_relaxed));
  words.charged_ns.fetch_add(static_cast<std::uint64_t>(cost_ns), std::memory_order_relaxed);
  return true;
}

void correct_time(DeviceWords& words, Rate rate, std::int64_t now, std::int64_t delta_ns, std::int64_t depth_ns) {
  if (delta_ns == 0) return;
  now = clamp(now, 0, kMostTime);
  const std::int64_t most = latest(words, rate, now, depth_ns);
  const std::int64_t step = scaled(delta_ns, rate);
  move_on(words, [=](std::int64_t arrival) {
    arrival = clamp(arrival, -kMostTime, most);
    if (step < 0 && arrival <= now) return arrival;  // the credit is full already
    return clamp(arrival + step, step < 0 ? now : -kMostTime, most);
  });
  words.charged_ns.fetch_add(static_cast<std::uint64_t>(delta_ns), std::memory_order_relaxed);
}

std::uint64_t cover(DeviceWords& words, std::uint64_t start_ns, std::uint64_t end_ns) {
  if (end_ns > kLatestNs) end_ns = kLatestNs;
  if (start_ns >= end_ns) return 0;
  std::uint64_t bit = nearest_bit(start_ns);
  const std::uint64_t end = nearest_bit(end_ns);
  const std::uint64_t words_to_end = (end + kCoverBits - 1) / kCoverBits;
  std::uint64_t fresh_ns = 0;
  if (words_to_end > kCoverWords && bit < (words_to_end - kCoverWords) * kCoverBits) {
    bit = (words_to_end - kCoverWords) * kCoverBits;
    fresh_ns = bit * kCoverBitNs - start_ns;
  }
  while (bit < end) {
    const std::uint64_t number = bit / kCoverBits, first = bit % kCoverBits;
    const std::uint64_t count = end - bit < kCoverBits - first ? end - bit : kCoverBits - first;
    fresh_ns += mark(words, number, ones(count) << first) * kCoverBitNs;
    bit += count;
  }
  words.covered_ns.fetch_add(fresh_ns, std::memory_order_relaxed);
  return fresh_ns;
}

std::uint64_t covered_bits(const DeviceWords& words, std::uint64_t time_ns) {
  const std::uint64_t number = time_ns / kCoverWordNs;
  const std::uint64_t word = words.cover[number % kCoverWords].load(std::memory_order_relaxed);
  return word >> kEpochShift == epoch_of(number) ? word & kBitsMask : 0;
}

}  // namespace kiboko::region
