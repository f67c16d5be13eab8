// A charge around one driver call: made before it, kept if the driver agrees, undone otherwise.
//
// Lives on the stack of one hook; holds nothing locked.
#pragma once

#include "shim/pool.h"
#include "shim/route.h"
#include "shim/state.h"

namespace kiboko::shim {

// The driver is known and has exactly this variant.
template <class Function>
bool ready(Function* const& function) {
  return (__builtin_expect(active(), 1) || discover_driver()) && function != nullptr;
}

// Charges, if need be after giving back what this process's pools hold without using it: that is what the driver
// does before it refuses memory.
inline bool admit(unsigned device, std::uint64_t bytes, region::ChargeKind kind) {
  if (__builtin_expect(account().charge(device, bytes, kind, account_view(device)), 1)) return true;
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

}  // namespace kiboko::shim
