// A charge around one driver call: made before it, kept if the driver agrees, undone otherwise.
//
// Lives on the stack of one hook; holds nothing locked.
#pragma once

#include "shim/imports.h"
#include "shim/pool.h"
#include "shim/route.h"
#include "shim/state.h"

namespace kiboko::shim {

// The driver is known and has exactly this variant.
template <class Function>
bool ready(Function* const& function) {
  return (__builtin_expect(active(), 1) || discover_driver()) && function != nullptr;
}

// With `more` on top, as things look at this moment.
inline bool over_limit(unsigned device, std::uint64_t more) {
  const region::AccountView view = account_view(device);
  if (view.limit == 0) return false;
  const std::uint64_t total = account().total(device);
  const std::uint64_t others = view.correction > 0 ? static_cast<std::uint64_t>(view.correction) : 0;
  return more > view.limit || total > view.limit - more || others > view.limit - more - total;
}

// Charges, if need be after giving back what this process's pools hold without using it: that is what the driver
// does before it refuses memory. Room that only came about because the maker of imported memory has gone is none.
inline bool admit(unsigned device, std::uint64_t bytes, region::ChargeKind kind) {
  if (__builtin_expect(account().charge(device, bytes, kind, account_view(device)), 1)) {
    if (__builtin_expect(imports_held.load(std::memory_order_relaxed) == 0, 1)) return true;
    charge_orphans();
    if (!over_limit(device, 0)) return true;
    account().refund(device, bytes, kind);
  }
  return pool_reclaim(device) && account().charge(device, bytes, kind, account_view(device));
}

class Charge {
 public:
  Charge(unsigned device, std::uint64_t bytes, region::ChargeKind kind = region::ChargeKind::Data)
      : device_(device), kind_(kind), bytes_(bytes), admitted_(admit(device, bytes, kind)) {}
  ~Charge() {
    if (admitted_) account().refund(device_, bytes_, kind_);
  }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

  explicit operator bool() const { return admitted_; }
  std::uint64_t bytes() const { return bytes_; }
  // Changes the charge to what was really taken. False: that does not fit, and the charge is as before.
  bool correct(std::uint64_t bytes) {
    if (bytes > bytes_ && !admit(device_, bytes - bytes_, kind_)) return false;
    if (bytes < bytes_) account().refund(device_, bytes_ - bytes, kind_);
    bytes_ = bytes;
    return true;
  }
  void keep() { admitted_ = false; }

 private:
  unsigned device_;
  region::ChargeKind kind_;
  std::uint64_t bytes_;
  bool admitted_;
};

// ---- charges that follow a figure of the driver's
// --------------------------------------------------------------------

// A word of such a charge: {kUnitBytes units:40, version:24}. The version moves with each change, so that a figure read
// before is never written over one read after.
inline std::uint64_t charged_bytes(std::uint64_t word) { return (word >> 24) * kUnitBytes; }
inline std::uint64_t next_charge(std::uint64_t word, std::uint64_t bytes) {
  return (bytes / kUnitBytes) << 24 | ((word + 1) & 0xffffff);
}

// Moves the charge in `word` to what `read` says is taken; `credit` bytes are charged already and go up in it. Where
// nothing can be read they are taken for what was added, until the next reading. False: it grew beyond them by more
// than the limit allows, even after `trim` (counted all the same: the memory is taken).
template <class Read, class Trim>
bool settle_charge(std::atomic<std::uint64_t>& word, unsigned device, std::uint64_t credit, bool may_refuse, Read read,
                   Trim trim) {
  bool trimmed = false;
  for (;;) {
    std::uint64_t before = word.load(std::memory_order_acquire), taken = 0;
    if (!read(&taken)) taken = charged_bytes(before) + credit;
    taken = (taken + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
    const std::uint64_t paid = charged_bytes(before) + credit;
    if (taken <= paid) {
      if (taken != charged_bytes(before) && !word.compare_exchange_strong(before, next_charge(before, taken))) continue;
      if (paid != taken) account().refund(device, paid - taken, region::ChargeKind::Data);
      return true;
    }
    const std::uint64_t more = taken - paid;
    if (!may_refuse || trimmed) {
      account().add(device, more, region::ChargeKind::Data);
    } else if (!account().charge(device, more, region::ChargeKind::Data, account_view(device))) {
      trim();
      trimmed = true;
      continue;
    }
    if (word.compare_exchange_strong(before, next_charge(before, taken))) return !trimmed || !over_limit(device, 0);
    account().refund(device, more, region::ChargeKind::Data);
  }
}

}  // namespace kiboko::shim
