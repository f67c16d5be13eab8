// Contexts: where the calling thread allocates, and what contexts and modules themselves cost.
#pragma once

#include "region/account.h"
#include "shim/abi.h"

namespace kiboko::shim {

struct Place {                  // of two words, to travel in registers
  CUcontext context = nullptr;  // null: the thread has none, and the driver will say so
  std::int16_t ordinal = -1;
  std::int16_t device = -1;  // index in the grant; -1: not granted
  std::uint32_t owner = 0;   // index of the context for pointer and handle entries; 0 = not known
};
static_assert(sizeof(Place) == 16);

// Of the calling thread. One driver call while the thread stays in its context.
Place current_place();

// The place of another context, as far as it is known: `device` is -1 and `ordinal` -1 otherwise.
Place place_of(CUcontext context);

// What a context (index `owner`) has taken for one of its limits, as long as it lives: charged already, or to be
// refunded as far as it was charged.
inline constexpr unsigned kContextLimits = 3;
void charge_to_limit(std::uint32_t owner, int limit, std::uint64_t bytes);
void refund_of_limit(std::uint32_t owner, int limit, std::uint64_t bytes);

// Measures by the driver's free memory what a call takes from the device, and charges that. Charges the estimate
// before the call; the free memory counts only if nobody in the grant was charged or refunded meanwhile.
class Overhead {
 public:
  Overhead(unsigned device, CUdevice ordinal, region::ChargeKind kind, std::uint64_t estimate);
  ~Overhead();  // not finished: nothing was made
  Overhead(const Overhead&) = delete;
  Overhead& operator=(const Overhead&) = delete;
  explicit operator bool() const { return admitted_; }
  // The call succeeded: *bytes is charged from now on. False: it does not fit, nothing is charged any more.
  bool finish(std::uint64_t* bytes);
  // After finish(): *bytes was seen, and not taken from the estimate.
  bool seen() const { return seen_; }

 private:
  bool free_memory(std::uint64_t* bytes);

  unsigned device_;
  CUdevice ordinal_;
  region::ChargeKind kind_;
  std::uint64_t estimate_;
  bool admitted_, holds_baton_ = false, measured_ = false, seen_ = false;
  enum class Source { None, Driver, Nvml } source_ = Source::None;
  std::uint64_t free_before_ = 0, total_before_ = 0;
};

}  // namespace kiboko::shim
