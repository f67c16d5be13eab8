// Event sets: waiting for an Xid, which `kiboko-sim xid` injects.
//
// A set sees the events of the devices registered with it, from the moment of their registration on.
#include <algorithm>
#include <mutex>
#include <new>

#include "nvml_load.h"

using namespace nvml;

namespace {

constexpr Ull kKnownEvents = 0xff9f;  // all bits that the interface defines

}  // namespace

namespace nvml {
struct EventSetTag {
  std::mutex mutex;
  Ull mask[sim::kMaxDevices] = {};
  std::uint64_t since[sim::kMaxDevices] = {};  // events up to this sequence number happened before registration
  std::uint64_t cursor = 0;
};
}  // namespace nvml

namespace {

bool take_event(EventSetTag& set, EventData& out) {
  const std::lock_guard lock(set.mutex);
  sim::EventCopy event;
  while (sim::next_event(management(), set.cursor, event)) {
    if (event.device < 0 || event.device >= device_count()) continue;
    if ((set.mask[event.device] & event.type) == 0 || set.cursor <= set.since[event.device]) continue;
    out = {handle_of(event.device), event.type, event.data, kNoInstance, kNoInstance};
    return true;
  }
  return false;
}

Return wait(EventSet set, unsigned timeout_ms, EventData& out) {
  const std::uint64_t deadline = sim::now_ns() + timeout_ms * 1'000'000ULL;
  for (;;) {
    const std::uint32_t seen = management().bell.load();
    if (take_event(*set, out)) return kSuccess;
    const std::uint64_t now = sim::now_ns();
    if (now >= deadline) return kTimeout;
    sim::wait_for_event(management(), seen, (deadline - now + 999'999) / 1'000'000);
  }
}

}  // namespace

NVML_API nvmlEventSetCreate(EventSet* set) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (set == nullptr) return kInvalidArgument;
  *set = new (std::nothrow) EventSetTag;
  if (*set == nullptr) return kMemory;
  (*set)->cursor = management().claimed.load();
  return kSuccess;
}

NVML_API nvmlEventSetFree(EventSet set) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (set == nullptr) return kInvalidArgument;
  delete set;
  return kSuccess;
}

NVML_API nvmlDeviceGetSupportedEventTypes(Handle handle, Ull* types) {
  return for_card(__func__, handle, [&](const Gpu&) -> Return {
    if (types == nullptr) return kInvalidArgument;
    *types = sim::kEventXid | 0x3;  // and the two ECC events, which never happen
    return kSuccess;
  });
}

NVML_API nvmlDeviceRegisterEvents(Handle handle, Ull types, EventSet set) {
  return for_card(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (set == nullptr) return kInvalidArgument;
    if ((types & ~kKnownEvents) != 0) return kNotSupported;
    const std::lock_guard lock(set->mutex);
    set->mask[gpu.index] |= types;
    set->since[gpu.index] = management().claimed.load();
    return kSuccess;
  });
}

NVML_API nvmlEventSetWait_v2(EventSet set, EventData* data, unsigned timeout_ms) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (set == nullptr || data == nullptr) return kInvalidArgument;
  return wait(set, timeout_ms, *data);
}

NVML_API nvmlEventSetWait(EventSet set, EventDataV1* data, unsigned timeout_ms) {
  if (data == nullptr) return kInvalidArgument;
  EventData full;
  const Return code = nvmlEventSetWait_v2(set, &full, timeout_ms);
  if (code == kSuccess) *data = {full.device, full.eventType, full.eventData};
  return code;
}
