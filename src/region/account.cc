// account.h. The adds and loads that I1 rests on are sequentially consistent.
//
// A charge far from the limit is added at once and looked at after. If others came in between and the sum is over, it
// is withdrawn and goes the way of those near the limit; so another one may see, for an instant, a charge that will
// not stay. Nobody is refused for that without having looked again for a while.
#include "region/account.h"

#include "region/memory_lock.h"
#include "region/os.h"

namespace kiboko::region {
namespace {

constexpr std::uint64_t kMiB = 1ull << 20;
constexpr std::uint64_t kLeastSlack = 64 * kMiB;
constexpr std::uint64_t kSmallStep = 512, kLargeStep = 2 * kMiB;
constexpr std::uint64_t kMostBytes = 1ull << 50;  // no device has more
constexpr unsigned kSaneBits = 53;                // 1,024 slots of less than this cannot wrap a sum
constexpr int kLockedLooks = 32;                  // a few µs
constexpr std::uint64_t kTransientWaitNs = 200'000;
constexpr std::uint64_t kSpinNs = 20'000;  // then let others run: they may be what we wait for

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

// Takes at most what is there; returns how much that was.
std::uint64_t take_off(Shared<std::uint64_t>& word, std::uint64_t bytes) {
  std::uint64_t now = word.load(std::memory_order_relaxed);
  std::uint64_t taken;
  do taken = bytes < now ? bytes : now;
  while (!word.compare_exchange_weak(now, now - taken));
  return taken;
}

std::uint64_t sum_over_live(const Extension& ext, unsigned device) {
  const std::uint64_t blocks = ext.header.slot_blocks.load();
  const unsigned end = blocks < kMaxSlots / 64 ? static_cast<unsigned>(blocks) : kMaxSlots / 64;
  std::uint64_t sum = 0;
  for (unsigned block = 0; block < end; ++block) {
    // Slots come in lines of 8; the free ones of a line hold zero, so lines are summed whole.
    for (std::uint64_t live = ext.header.live[block].load(); live != 0;) {
      const unsigned group = static_cast<unsigned>(__builtin_ctzll(live)) / 8;
      std::uint64_t all_bits = 0;
      KIBOKO_STEP("slots of a line about to be summed");
      for (const Shared<std::uint64_t>& charged : ext.charges[block * 8 + group].charged[device]) {
        const std::uint64_t bytes = charged.load();
        sum += bytes;
        all_bits |= bytes;
      }
      if (all_bits >> kSaneBits != 0) return UINT64_MAX;  // somebody spoiled the region
      live &= ~(0xffull << (group * 8));
    }
  }
  return sum;
}

std::uint64_t with_correction(std::uint64_t charged, const AccountView& view) {
  return saturating_add(charged, view.correction > 0 ? static_cast<std::uint64_t>(view.correction) : 0);
}

std::uint64_t counted(const Extension& ext, unsigned device, const AccountView& view) {
  return with_correction(sum_over_live(ext, device), view);
}

bool fits(std::uint64_t counted_bytes, std::uint64_t more, std::uint64_t limit) {
  return saturating_add(counted_bytes, more) <= limit;
}

// The mirror's columns for what is charged in all: `data` is what is neither context nor module.
struct Shown {
  std::uint64_t total, data;
};
Shown shown_for(const HamiUsage& used, std::uint64_t charged) {
  const std::uint64_t others =
      saturating_add(used.context.load(std::memory_order_relaxed), used.module.load(std::memory_order_relaxed));
  return {charged, charged > others ? charged - others : 0};
}
void write(HamiUsage& used, Shown shown) {
  used.total.store(shown.total, std::memory_order_relaxed);
  used.data.store(shown.data, std::memory_order_relaxed);
}
bool shows(const HamiUsage& used, Shown shown) {
  return used.total.load(std::memory_order_relaxed) == shown.total &&
         used.data.load(std::memory_order_relaxed) == shown.data;
}

Shared<std::uint64_t>& column(HamiUsage& used, ChargeKind kind) {
  return kind == ChargeKind::Context ? used.context : used.module;
}

}  // namespace

Shared<std::uint64_t>& Account::word(unsigned device) const {
  return region_->ext().charges[slot_.index / 8].charged[device][slot_.index % 8];
}

HamiUsage& Account::mirror(unsigned device) const { return region_->hami().slots[slot_.index].used[device]; }

bool Account::charge(unsigned device, std::uint64_t bytes, ChargeKind kind, const AccountView& view) {
  if (device >= kMaxDevices) return false;
  const Extension& ext = region_->ext();
  bool kept = bytes <= kMostBytes;
  if (kept && view.limit == 0) {
    put(device, bytes, kind);
  } else if (kept) {
    const std::uint64_t margin = slack(view.limit);
    kept = false;
    if (view.limit > margin && fits(counted_before(device, view), bytes, view.limit - margin)) {
      put(device, bytes, kind);
      kept = fits(counted(ext, device, view), 0, view.limit);
      if (!kept) take(device, bytes, kind);
    }
    kept = kept || charge_near_limit(device, bytes, kind, view);
  }
  KIBOKO_STEP("charge decided");
  if (!kept) region_->ext().counters[slot_.index].device[device].oom_refusals.fetch_add(1, std::memory_order_relaxed);
  return kept;
}

// One process alone in the grant, the usual case, need not sum. Slots below 64 only, as free ones are taken lowest
// first.
bool Account::is_alone() const {
  const ExtensionHeader& header = region_->ext().header;
  return header.slot_blocks.load(std::memory_order_relaxed) == 1 &&
         header.live[0].load(std::memory_order_relaxed) == std::uint64_t{1} << (slot_.index % 64);
}

std::uint64_t Account::counted_before(unsigned device, const AccountView& view) const {
  return is_alone() ? with_correction(word(device).load(std::memory_order_relaxed), view)
                    : counted(region_->ext(), device, view);
}

bool Account::charge_near_limit(unsigned device, std::uint64_t bytes, ChargeKind kind, const AccountView& view) {
  if (bytes > view.limit) return false;
  if (try_charge_locked(device, bytes, kind, view)) return true;
  const bool again = reap_dead_slots(*region_) != 0 || wait_for_room(device, bytes, view);
  return again && try_charge_locked(device, bytes, kind, view);
}

bool Account::try_charge_locked(unsigned device, std::uint64_t bytes, ChargeKind kind, const AccountView& view) {
  const MemoryLock lock(*region_, device, slot_);
  KIBOKO_STEP("memory lock taken");
  put(device, bytes, kind);
  for (int look = 0; look < kLockedLooks; ++look) {
    if (fits(counted(region_->ext(), device, view), 0, view.limit)) return true;
    os::pause_cpu();
  }
  take(device, bytes, kind);
  return false;
}

// Without the lock and without a claim of our own, so that nobody is kept waiting.
bool Account::wait_for_room(unsigned device, std::uint64_t bytes, const AccountView& view) const {
  const std::uint64_t begun = os::now_ns();
  for (std::uint64_t waited = 0; waited < kTransientWaitNs; waited = os::now_ns() - begun) {
    if (fits(counted(region_->ext(), device, view), bytes, view.limit)) return true;
    if (waited < kSpinNs)
      os::pause_cpu();
    else
      os::yield_cpu();
  }
  return false;
}

void Account::add(unsigned device, std::uint64_t bytes, ChargeKind kind) {
  if (device >= kMaxDevices) return;
  put(device, bytes < kMostBytes ? bytes : kMostBytes, kind);
}

void Account::refund(unsigned device, std::uint64_t bytes, ChargeKind kind) {
  if (device < kMaxDevices) take(device, bytes, kind);
}

// The mirror is written before the charge moves: the locked operation that moves it makes the stores visible, so one
// thread alone pays for one locked operation. Another thread of this process in between shows in what is read
// afterwards, and then all is written again.
void Account::put(unsigned device, std::uint64_t bytes, ChargeKind kind) {
  HamiUsage& used = mirror(device);
  Shared<std::uint64_t>& charged = word(device);
  if (kind != ChargeKind::Data) {
    column(used, kind).fetch_add(bytes);
    charged.fetch_add(bytes);
    KIBOKO_STEP("charge visible");
    return show(device);
  }
  const std::uint64_t before = charged.load(std::memory_order_relaxed);
  const Shown shown = shown_for(used, before + bytes);
  write(used, shown);
  KIBOKO_STEP("charge shown");
  const bool alone = charged.fetch_add(bytes) == before;
  KIBOKO_STEP("charge visible");
  if (!alone || !shows(used, shown)) show(device);
}

void Account::take(unsigned device, std::uint64_t bytes, ChargeKind kind) {
  HamiUsage& used = mirror(device);
  Shared<std::uint64_t>& charged = word(device);
  if (kind != ChargeKind::Data) {
    const std::uint64_t taken = take_off(charged, bytes);
    KIBOKO_STEP("charge taken off");
    take_off(column(used, kind), taken);
    return show(device);
  }
  std::uint64_t before = charged.load(std::memory_order_relaxed);
  Shown shown;
  do {
    shown = shown_for(used, before - (bytes < before ? bytes : before));
    write(used, shown);
    KIBOKO_STEP("refund shown");
  } while (!charged.compare_exchange_strong(before, shown.total));
  KIBOKO_STEP("charge taken off");
  if (!shows(used, shown)) show(device);
}

// Whoever writes last has looked at the charge after its stores, so the last values written are the right ones.
void Account::show(unsigned device) {
  HamiUsage& used = mirror(device);
  Shown shown;
  do {
    shown = shown_for(used, word(device).load());
    used.total.store(shown.total);
    used.data.store(shown.data);
    KIBOKO_STEP("mirror written");
  } while (word(device).load() != shown.total || shown_for(used, shown.total).data != shown.data);
}

std::uint64_t Account::total(unsigned device) const {
  if (device >= kMaxDevices) return 0;
  return is_alone() ? word(device).load(std::memory_order_relaxed) : sum_over_live(region_->ext(), device);
}

std::uint64_t Account::own(unsigned device) const { return device < kMaxDevices ? word(device).load() : 0; }

std::uint64_t slack(std::uint64_t limit) { return limit / 8 > kLeastSlack ? limit / 8 : kLeastSlack; }

std::uint64_t rounded(std::uint64_t bytes) {
  const std::uint64_t step = bytes < kMiB ? kSmallStep : kLargeStep;
  return bytes > UINT64_MAX - step + 1 ? UINT64_MAX : (bytes + step - 1) / step * step;
}

}  // namespace kiboko::region
