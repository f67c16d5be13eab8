// What this process may use: the one mutable state of the shim, and how it comes to be.
//
// Constant-initialised, so that hooks work before any constructor has run. Filled by activate() on the first call
// that starts CUDA; read by every hook from any thread. The grant page is the authority on limits; where there is none,
// HAMi's variables are. Environment and region may tighten a limit, never loosen it.
#pragma once

#include <atomic>

#include "region/account.h"
#include "region/grant_page.h"
#include "region/mapping.h"
#include "shim/abi.h"

namespace kiboko::shim {

inline constexpr unsigned kMaxOrdinals = 64;  // CUDA device ordinals

enum class Phase : int {
  Idle,      // nobody used CUDA yet
  Starting,  // one thread is in activate()
  Active,    // limits known, slot claimed
  Free,      // nothing was granted and nothing limits us: every call is the driver's
  Refused,   // limits cannot be read: CUDA does not start
  Forked,    // child of a process that used CUDA: the driver refuses it, we stay out
};

struct Limits {                                // of one device; each word may change at any moment
  std::atomic<std::uint64_t> memory_bytes{0};  // 0 = none
  std::atomic<std::uint32_t> core_percent{0};  // 0 = none
};

struct State {
  std::atomic<Phase> phase{Phase::Idle};
  // From the page or from HAMi's variables. `ready` says that these are filled, which NVML's answers need without
  // CUDA ever starting; a slot is claimed only by activate().
  std::atomic<int> attached{0};  // 0 no, 1 yes, 2 failed, 3 nothing is limited
  const region::GrantPage* page = nullptr;
  region::Mapping region;
  region::Slot slot;
  unsigned device_count = 0;  // of the grant; without a page those of the region when we came
  char uuids[region::kMaxDevices][96] = {};
  std::uint64_t physical_bytes[region::kMaxDevices] = {};  // 0 = not known
  Limits limits[region::kMaxDevices];
  std::atomic<std::uint64_t> generation{0};  // of the page, as cached in limits
  std::atomic<std::uint32_t> reap_generation{0};
  std::atomic<region::CorePolicy> policy{region::CorePolicy::Default};
  std::atomic<std::uint32_t> priority{1};
  std::int64_t record_interval_ns = 0;  // between writes of the last kernel's time; 0 = every second
  // CUDA ordinal → index in the grant, or -1: this device was not granted.
  int index_of_ordinal[kMaxOrdinals] = {};
  unsigned ordinal_count = 0;
  std::atomic<std::uint32_t> unified{0};   // bit i: device i of the grant has no memory of its own but the host's
  std::atomic<bool> single_device{false};  // one ordinal, which is index 0
};
extern State state;

// Starts us after the driver has started. Thread-safe; later calls return what the first found. False = Refused; the
// caller answers CUDA_ERROR_OPERATING_SYSTEM. Prints one line to stderr when it refuses.
bool activate();

// Page, region and limits without a slot, for NVML. False when they cannot be read.
bool attach();

// What HAMi's variables say about the device of that UUID, which is at `index` of the region or, where there is none
// yet, of the driver; 0 = no limit; after attach(). For NVML where there is no page and CUDA has not told its devices.
std::uint64_t variable_limit(const char* uuid, unsigned index);
// Takes back the slots of the dead if nobody of this process did within the last second.
void reap_once_a_second(region::Mapping& region);

inline bool active() { return state.phase.load(std::memory_order_acquire) == Phase::Active; }

// What a hook that allocates does first. Active: account. Otherwise pass to the driver, or refuse.
enum class Gate { Account, Pass, Refuse };
inline Gate enter();

// Follows the page when the agent has changed it.
inline void refresh_limits();

// Index in the grant of the calling thread's current device, or -1 (no context, or a device that was not granted).
// Where there is one device only, nobody is asked: the caller knows that there is a context.
int ask_current_device();
inline int current_device() { return state.single_device.load(std::memory_order_relaxed) ? 0 : ask_current_device(); }
int index_of(CUdevice ordinal);
// Index in the grant of a UUID as NVML writes it, or -1.
int index_of_uuid(const char* uuid);

// The driver's free memory of such a device is what all programs of the host leave, and moves with any of them.
inline bool is_unified(unsigned device) { return state.unified.load(std::memory_order_relaxed) >> device & 1U; }

inline region::AccountView account_view(unsigned device);
inline region::Account account() { return region::Account(state.region, state.slot); }

// ---- the quick ways ------------------------------------------------------------------------------------------------

Gate enter_slowly();
void follow_page();

// Without a page there is no agent to say that a process died: then we have to look now and then.
inline bool page_moved() {
  const region::GrantPage* page = state.page;
  return page == nullptr ||
         page->live.generation.load(std::memory_order_acquire) != state.generation.load(std::memory_order_relaxed) ||
         page->live.reap_generation.load(std::memory_order_relaxed) !=
             state.reap_generation.load(std::memory_order_relaxed);
}

inline void refresh_limits() {
  if (__builtin_expect(page_moved(), 0)) follow_page();
}

inline Gate enter() {
  if (__builtin_expect(!active(), 0)) return enter_slowly();
  refresh_limits();
  return Gate::Account;
}

inline std::uint64_t tighter_of(std::uint64_t a, std::uint64_t b) { return a == 0 ? b : (b == 0 || a < b ? a : b); }

inline region::AccountView account_view(unsigned device) {
  region::AccountView view;
  view.limit = tighter_of(state.limits[device].memory_bytes.load(std::memory_order_relaxed),
                          state.region.hami().memory_limit[device].load(std::memory_order_relaxed));
  if (state.page != nullptr)
    view.correction = state.page->live.devices[device].correction_bytes.load(std::memory_order_relaxed);
  return view;
}

}  // namespace kiboko::shim
