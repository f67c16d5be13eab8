// Once a second: what the regions and the devices say.
//
// A process that the driver sees on a device is somebody's: it holds a slot in the region of a grant of that device,
// or belongs to a grant that has the device whole. Anybody else is a stranger. One look may come between a program's
// first call and its slot, so it takes two surveys to be called one. A process that was executed anew keeps the slot of
// the program before it: it must have the library, too.
#include <sys/stat.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "host/host.h"

namespace kiboko {
namespace {

constexpr unsigned kPruneTicks = 3600;
constexpr std::chrono::milliseconds kToPassTheGate{200};
constexpr std::uint64_t kContendedNs = 3'000'000'000;  // until the next looks, with some patience

bool has_device(const Grant& grant, const DeviceUuid& uuid) {
  return std::ranges::find(grant.devices, uuid, &GrantDevice::uuid) != grant.devices.end();
}

}  // namespace

void Host::tick() {
  std::vector<GrantId> ids;
  for (const auto& [id, live] : table_) ids.push_back(id);
  const std::uint64_t now_ns = clock_.now_ns();
  for (const GrantId& id : ids) {
    LiveGrant* live = find_live(id);
    if (live == nullptr) continue;
    if (live->page) live->page->beat(now_ns);
    if (holds_share(live->grant().state)) sample(*live);
    check(*live);
  }
  look_for_strangers();
  tell_of_strangers(now_ns);
  std::erase_if(unsaved_, [this](const GrantRecord& record) { return ledger_.save(record).has_value(); });
  if (++ticks_ % kPruneTicks == 0)
    if (const auto pruned = ledger_.prune(options_.history, options_.events); !pruned)
      log::warning("{}", pruned.error().message);
  // Devices may have come back.
  if (std::ranges::any_of(table_, [](const auto& e) { return e.second->grant().state == GrantState::Waiting; }))
    advance_queue();
}

void Host::sample(LiveGrant& live) {
  if (live.grant().kind == GrantKind::Exclusive) {
    if (const auto view = watcher_.latest(); view.survey)
      live.meter.read_whole(live.grant(), live.members.processes(), *view.survey);
    return;
  }
  const auto region = regions_.read(live.paths.region, live.grant());
  if (!region && region.error().code == Errc::NotFound) watch_drain(live, 0);  // nobody has used a device yet
  if (!region) return lose_region(live, region.error());
  live.region_failures = 0;
  watch_drain(live, region->busy_until_ns);
  // The region is the tenant's word; a process of it counts only if it is alive and the owner's.
  for (const RegionSlotView& slot : region->slots) {
    if (live.members.has(slot.process.pid)) continue;
    struct stat found {};
    if (::stat(fmt::format("/proc/{}", slot.process.pid).c_str(), &found) != 0) continue;
    if (found.st_uid == live.grant().owner.uid && liveness(slot.process) == Liveness::Alive)
      (void)live.members.add(slot.process);
  }
  const auto view = watcher_.latest();
  live.meter.read_share(live.grant(), *region, live.members.processes(), view.survey.get(), clock_.now_ns());
  look_for_tampering(live, *region, view);
}

// Also a child of a member that took another user's id before anybody saw it.
bool Host::belongs(const LiveGrant& live, pid_t pid) const {
  constexpr int kMostAncestors = 32;
  for (int i = 0; i < kMostAncestors && pid > 1; ++i) {
    if (live.members.has(pid)) return true;
    const auto stat = process_stat(pid);
    if (!stat) return false;
    pid = stat->parent;
  }
  return false;
}

void Host::look_for_tampering(LiveGrant& live, const RegionView& region, const Watcher::View& view) {
  if (!live.page) return;
  const auto found =
      live.tampering.look({.grant = live.grant(),
                           .region = region,
                           .page_generation = live.page->page().live.generation.load(std::memory_order_relaxed),
                           .survey = view.survey.get(),
                           .survey_serial = view.serial,
                           .now_ns = clock_.now_ns(),
                           .belongs = [&](pid_t pid) { return belongs(live, pid); }});
  for (const Tampering& one : found) {
    Event tampered = event(live, "tampered", one.sentence);
    tampered.severity = Severity::Warning;
    tampered.device = one.device;
    tampered.pid = one.pid;
    log_event(std::move(tampered));
  }
}

// Programs say until when they expect to be busy. One that had passed the gate when the word came says so a little
// later.
void Host::watch_drain(LiveGrant& live, std::uint64_t busy_until_ns) {
  if (!live.grant().suspended || live.drained || !live.suspended_at) return;
  if (clock_.now() - *live.suspended_at < kToPassTheGate || busy_until_ns > clock_.now_ns()) return;
  live.drained = true;
  log_event(event(live, "drained", "suspended, and nothing of it is in flight any more"));
  changed(live);
}

// The first program fills the region while we may be looking, so it takes three looks to call it damaged.
void Host::lose_region(LiveGrant& live, const Error& error) {
  constexpr unsigned kLooks = 3;
  if (error.code == Errc::NotFound && !live.meter.was_read()) return;  // nobody has filled it yet
  if (live.region_failures == kLooks || ++live.region_failures < kLooks) return;
  live.meter.forget();
  Event lost = event(live, "region", fmt::format("what the grant uses is not known any more: {}", error.message));
  lost.severity = Severity::Warning;
  log_event(std::move(lost));
}

std::optional<Stranger> Host::stranger(const DeviceSample& device, const DeviceProcess& process) {
  Stranger stranger;
  stranger.device = device.uuid;
  stranger.seen = process;
  const auto identity = identify_process(process.pid);
  for (const auto& [id, live] : table_) {
    if (!holds_share(live->grant().state) || !has_device(live->grant(), device.uuid)) continue;
    const bool member = live->members.has(process.pid);
    const bool has_slot = live->meter.has_slot(process.pid);
    if (has_slot && !(identity && library_check_.lacks_library(*identity))) return std::nullopt;
    if (member && live->grant().kind == GrantKind::Exclusive) return std::nullopt;
    if (member || has_slot) stranger.grant = id;
  }
  if (!identity) return std::nullopt;  // gone in between
  stranger.process = *identity;
  if (const auto stat = process_stat(process.pid)) stranger.command = stat->command;
  struct stat found {};
  if (::stat(fmt::format("/proc/{}", process.pid).c_str(), &found) == 0) stranger.uid = found.st_uid;
  return stranger;
}

void Host::look_for_strangers() {
  const Watcher::View view = watcher_.latest();
  if (!view.survey || view.serial == surveys_seen_) return;
  surveys_seen_ = view.serial;
  library_check_.begin_round();
  std::vector<Stranger> seen, confirmed;
  for (const DeviceSample& device : view.survey->samples)
    for (const DeviceProcess& process : device.processes)
      if (auto found = stranger(device, process)) seen.push_back(std::move(*found));
  const auto among = [](const std::vector<Stranger>& list, const Stranger& one) {
    return std::ranges::any_of(list,
                               [&](const Stranger& s) { return s.device == one.device && s.process == one.process; });
  };
  for (const Stranger& one : seen) {
    if (!among(suspects_, one)) continue;
    confirmed.push_back(one);
    if (among(strangers_, one)) continue;
    Event event;
    event.severity = Severity::Warning;
    event.kind = one.grant.text.empty() ? "stranger" : "without_slot";
    event.grant = one.grant;
    event.device = one.device;
    event.pid = one.process.pid;
    event.sentence =
        one.grant.text.empty()
            ? fmt::format("process {} ({}) of {} uses device {} without a grant", one.process.pid, one.command,
                          user_name(one.uid), one.device.text)
            : fmt::format("process {} ({}) of grant {} uses device {} past the library: its limits do not hold",
                          one.process.pid, one.command, one.grant.text, one.device.text);
    log_event(std::move(event));
  }
  strangers_ = std::move(confirmed);
  suspects_ = std::move(seen);
  for (const Device& device : view.survey->devices) {
    const auto [known, fresh] = device_health_.try_emplace(device.uuid.text, device.healthy);
    if (known->second == device.healthy && (!fresh || device.healthy)) continue;
    known->second = device.healthy;
    Event event;
    event.severity = device.healthy ? Severity::Info : Severity::Warning;
    event.kind = "device";
    event.device = device.uuid;
    event.sentence =
        fmt::format("device {} is {}", device.index, device.healthy ? "well again" : "unhealthy: " + device.trouble);
    log_event(std::move(event));
  }
}

// A limit that counts only while others use the device counts beside a stranger too. The pacer does not know of them.
void Host::tell_of_strangers(std::uint64_t now_ns) {
  for (const Stranger& stranger : strangers_) {
    if (stranger.seen.compute_percent == 0U) continue;
    for (const auto& [id, live] : table_) {
      if (!live->page) continue;
      const auto& devices = live->grant().devices;
      for (std::size_t i = 0; i < devices.size(); ++i)
        if (devices[i].uuid == stranger.device)
          live->page->page().live.devices[i].contended_until_ns.store(now_ns + kContendedNs, std::memory_order_relaxed);
    }
  }
}

}  // namespace kiboko
