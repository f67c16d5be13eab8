// An agent that is being replaced leaves its grants suspended, one that died must not leave them so for ever.
#include "shim/suspend.h"

#include "shim/governor.h"
#include "shim/graph.h"
#include "shim/segments.h"

namespace kiboko::shim {
namespace {

constexpr std::int64_t kOutlivesAgentNs = 60'000'000'000;
enum : std::int32_t { kRunning = 1, kSuspended = 2 };  // HAMi's words for a slot

std::atomic<int> waiting_threads{0};

void show_slot(std::int32_t status) {
  state.region.hami().slots[state.slot.index].status.store(status, std::memory_order_relaxed);
  std::atomic<std::uint32_t>& flags = state.region.ext().slots[state.slot.index].flags;
  if (status == kSuspended)
    flags.fetch_or(region::kSlotSuspended, std::memory_order_relaxed);
  else
    flags.fetch_and(~region::kSlotSuspended, std::memory_order_relaxed);
}

}  // namespace

bool suspended(std::int64_t now) {
  if (!may_be_suspended()) return false;
  const auto heartbeat = static_cast<std::int64_t>(state.page->live.heartbeat_ns.load(std::memory_order_relaxed));
  return now - heartbeat <= kOutlivesAgentNs;
}

void ShownAsSuspended::show() {
  if (!shown_ && waiting_threads.fetch_add(1, std::memory_order_relaxed) == 0) show_slot(kSuspended);
  shown_ = true;
}

ShownAsSuspended::~ShownAsSuspended() {
  if (shown_ && waiting_threads.fetch_sub(1, std::memory_order_relaxed) == 1) show_slot(kRunning);
}

void wait_while_suspended(CUstream stream) {
  if (enter() != Gate::Account || capturing(stream)) return;
  const RelaxedCapture relaxed;
  ContextState* context = current_context();
  if (context == nullptr) return;
  close_all(*context, false);  // a wait must not be measured as work
  wait_while_held(*context, Held::Copies);
}

}  // namespace kiboko::shim
