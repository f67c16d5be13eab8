// The memory account of a grant: charge before allocate, refund after free.
//
// Admitted total never exceeds the limit (I1): a charge is visible in the claimer's own slot before the sum over live
// slots is read, so the last claimer in the total order sees all earlier ones. Near the limit (within slack()) charges
// go one at a time through the device's memory lock (memory_lock.h), so that of two racers for the last room exactly
// one wins; a lock taken over from the dead cannot break the limit, for I1 does not rest on it. A charge far from the
// limit and a refund make no system call; nor does one near it unless the lock is contended or the charge is refused.
//
// An Account is two words by value; any thread of the slot's process may use it, also several at once.
#pragma once

#include "region/slots.h"

namespace kiboko::region {

struct AccountView {
  std::uint64_t limit = 0;      // bytes; 0 = no limit, charges are only counted. The caller has already taken the
                                // least of the grant page's and the region's (which can tighten, never loosen)
  std::int64_t correction = 0;  // bytes seen on the device that no slot charged; added to the sum when positive
};

enum class ChargeKind : std::uint8_t { Data, Context, Module };  // columns of the v1.2 mirror

class Account {
 public:
  Account(Mapping& region, const Slot& slot) : region_(&region), slot_(slot) {}
  // True: `bytes` are charged to this slot on `device`. False: over the limit, nothing charged (the refusal counted in
  // the slot's oom_refusals), and slots of dead processes were taken back first. `device` >= kMaxDevices is refused.
  bool charge(unsigned device, std::uint64_t bytes, ChargeKind kind, const AccountView& view);
  // Charges without a check: what exists already (contexts, pool growth seen after the fact).
  void add(unsigned device, std::uint64_t bytes, ChargeKind kind);
  // Takes off at most what this slot has charged (never wraps).
  void refund(unsigned device, std::uint64_t bytes, ChargeKind kind);
  // Sum over all live slots, saturating.
  std::uint64_t total(unsigned device) const;
  std::uint64_t own(unsigned device) const;

 private:
  bool is_alone() const;
  std::uint64_t counted_before(unsigned device, const AccountView& view) const;
  bool charge_near_limit(unsigned device, std::uint64_t bytes, ChargeKind kind, const AccountView& view);
  bool try_charge_locked(unsigned device, std::uint64_t bytes, ChargeKind kind, const AccountView& view);
  bool wait_for_room(unsigned device, std::uint64_t bytes, const AccountView& view) const;
  void put(unsigned device, std::uint64_t bytes, ChargeKind kind);
  void take(unsigned device, std::uint64_t bytes, ChargeKind kind);
  void show(unsigned device);
  Shared<std::uint64_t>& word(unsigned device) const;
  HamiUsage& mirror(unsigned device) const;

  Mapping* region_;
  Slot slot_;
};

// How close to the limit charges are serialised: an eighth of the limit, 64 MiB at least.
std::uint64_t slack(std::uint64_t limit);

// Rounds as drivers do: 512 B steps below 1 MiB, 2 MiB steps from there. Saturates.
std::uint64_t rounded(std::uint64_t bytes);

}  // namespace kiboko::region
