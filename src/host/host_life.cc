// From the first process of a grant to its end.
//
// A grant lives while anything holds it: a process of its own, or its keeper. Its processes are those attached, those
// found in its control group, and those that hold a slot of its region. The keeper counts because it still has to tell
// of descendants that outlive the program (where there is no control group, nobody else knows them).
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "host/host.h"
#include "sched/place.h"

namespace kiboko {
namespace {

constexpr std::size_t kEndedInMemory = 256;

Result<uid_t> uid_of(pid_t pid) {
  struct stat found {};
  if (::stat(fmt::format("/proc/{}", pid).c_str(), &found) != 0)
    return fail(Errc::NotFound, "there is no process {}", pid);
  return found.st_uid;
}

}  // namespace

Event Host::event(const LiveGrant& live, const char* kind, std::string sentence) const {
  Event event;
  event.time_ms = now_ms();
  event.kind = kind;
  event.grant = live.grant().id;
  if (!live.grant().devices.empty()) event.device = live.grant().devices.front().uuid;
  event.sentence = std::move(sentence);
  return event;
}

Result<void> Host::save(LiveGrant& live, std::vector<Event> events) {
  live.record.holders = live.members.holders();
  const auto saved = ledger_.save(live.record, events);
  ledger_trouble_ = saved ? std::nullopt : std::optional(saved.error().message);
  if (!saved) return saved;
  for (const Event& event : events) {
    ++event_counts_[event.kind];
    log::info("{} {}: {}", event.grant.text, event.kind, event.sentence);
  }
  return {};
}

void Host::log_event(Event event) {
  if (event.time_ms == 0) event.time_ms = now_ms();
  log::info("{}{}{}: {}", event.grant.text, event.grant.text.empty() ? "" : " ", event.kind, event.sentence);
  ++event_counts_[event.kind];
  const auto saved = ledger_.add_events({&event, 1});
  ledger_trouble_ = saved ? std::nullopt : std::optional(saved.error().message);
}

LiveGrant* Host::find_live(const GrantId& id) {
  const auto found = table_.find(id);
  return found == table_.end() ? nullptr : found->second.get();
}

Result<LiveGrant*> Host::managed(const GrantId& id, const Caller& caller) {
  LiveGrant* live = find_live(id);
  if (live == nullptr && find_ended(id) != nullptr) return fail(Errc::Conflict, "grant {} has ended", id.text);
  if (live == nullptr) return fail(Errc::NotFound, "there is no grant {}", one_line(id.text.substr(0, 64)));
  if (!caller.may_manage(live->grant()))
    return fail(Errc::Forbidden, "grant {} belongs to {}", id.text, live->grant().owner.user);
  return live;
}

void Host::changed(LiveGrant& live) {
  ++live.grant().revision;
  const auto watchers = std::exchange(live.watchers, {});
  for (const auto& [number, callback] : watchers) callback();
}

std::uint64_t Host::watch(const GrantId& id, std::function<void()> callback) {
  LiveGrant* live = find_live(id);
  if (live == nullptr) return 0;
  live->watchers[next_watcher_] = std::move(callback);
  return next_watcher_++;
}

void Host::unwatch(const GrantId& id, std::uint64_t watcher) {
  if (LiveGrant* live = find_live(id)) live->watchers.erase(watcher);
}

Result<void> Host::attach(const GrantId& id, pid_t pid, const Caller& caller) {
  LiveGrant& live = *TRY(managed(id, caller));
  if (live.grant().state != GrantState::Granted && live.grant().state != GrantState::Running)
    return fail(Errc::Conflict, "grant {} is {}: a process can be attached once it is granted and until it ends",
                id.text, name(live.grant().state));
  // Its processes end with the grant: neither we nor init may be one of them.
  if (pid <= 1 || pid == ::getpid()) return fail(Errc::Invalid, "process {} cannot belong to a grant", pid);
  const ProcessId process = TRY(identify_process(pid));
  const uid_t uid = TRY(uid_of(pid));
  if (uid != caller.uid && !caller.manages_all)
    return fail(Errc::Forbidden, "process {} belongs to {}, not to {}", pid, user_name(uid), user_name(caller.uid));
  if (live.in_cgroup) TRY(cgroups_.add(id, pid));
  TRY(live.members.add(process));
  const bool first = live.grant().state == GrantState::Granted;
  live.grant().state = GrantState::Running;
  if (first) live.grant().started_ms = now_ms();
  TRY(save(live, {event(live, "attached", fmt::format("process {} runs", pid))}));
  if (first) changed(live);
  return {};
}

Result<void> Host::resize(const GrantId& id, const Resize& resize, const Caller& caller) {
  LiveGrant& live = *TRY(managed(id, caller));
  Grant& grant = live.grant();
  if (grant.kind == GrantKind::Exclusive)
    return fail(Errc::Invalid, "grant {} has its devices whole: there is nothing to resize", id.text);
  if (grant.state != GrantState::Granted && grant.state != GrantState::Running)
    return fail(Errc::Conflict, "grant {} is {}: only what is granted or running can be resized", id.text,
                name(grant.state));
  std::vector<GrantDevice> resized = grant.devices;
  const std::vector<DeviceState> states = devices();
  for (GrantDevice& device : resized) {
    const Need held{device.limit, device.cores.value_or(CorePercent{0}), false};
    if (resize.memory) device.limit = *resize.memory;
    if (resize.cores) device.cores = *resize.cores;
    const Need wanted{device.limit, device.cores.value_or(CorePercent{0}), false};
    const auto state = std::ranges::find(states, device.uuid, [](const DeviceState& s) { return s.device.uuid; });
    if (state == states.end())
      return fail(Errc::Unavailable, "device {} is not there now: grant {} keeps its size", device.uuid.text, id.text);
    if (const auto refusal = resize_refusal(*state, held, wanted)) return fail(Errc::Conflict, "{}", refusal->sentence);
  }
  const Grant before = grant;
  grant.devices = std::move(resized);
  if (resize.memory) grant.asked.memory = resize.memory;
  if (resize.memory) grant.asked.memory_percent.reset();
  if (resize.cores) grant.asked.cores = resize.cores;
  grant.default_applied = grant.default_applied && !resize.memory;
  const GrantDevice& first = grant.devices.front();
  const auto saved = save(live, {event(live, "resized",
                                       fmt::format("now {}{} a device", to_text(first.limit),
                                                   first.cores ? fmt::format(" and {} %", first.cores->count) : ""))});
  if (!saved) {
    grant = before;
    return saved;
  }
  if (live.page) live.page->publish(grant);
  changed(live);
  advance_queue();
  return {};
}

Result<void> Host::suspend(const GrantId& id, bool on, const Caller& caller) {
  LiveGrant& live = *TRY(managed(id, caller));
  Grant& grant = live.grant();
  if (grant.kind == GrantKind::Exclusive)
    return fail(Errc::Invalid, "grant {} has its devices whole: no library of ours is in its programs to hold them",
                id.text);
  if (grant.state != GrantState::Granted && grant.state != GrantState::Running)
    return fail(Errc::Conflict, "grant {} is {}: only what is granted or running can be suspended and resumed", id.text,
                name(grant.state));
  if (grant.suspended == on) return {};
  grant.suspended = on;
  const std::string who = user_name(caller.uid);
  if (const auto saved = save(live, {on ? event(live, "suspended", "its programs launch nothing more, says " + who)
                                        : event(live, "resumed", "its programs go on, says " + who)});
      !saved) {
    grant.suspended = !on;
    return saved;
  }
  live.suspended_at = clock_.now();
  live.drained = false;
  if (live.page) live.page->suspend(on);
  changed(live);
  return {};
}

Result<void> Host::release(const GrantId& id, std::chrono::milliseconds grace, const Caller& caller) {
  if (find_live(id) == nullptr && find_ended(id) != nullptr) return {};
  LiveGrant& live = *TRY(managed(id, caller));
  const std::string who = user_name(caller.uid);
  if (live.grant().state == GrantState::Waiting) {
    end(live, "withdrawn by " + who, "withdrawn");
    advance_queue();
    return {};
  }
  adopt_members(live);
  if (live.members.empty()) {
    end(live, "released by " + who);
    advance_queue();
    return {};
  }
  live.grant().state = GrantState::Ending;
  live.grant().end_reason = "released by " + who;
  live.kill_at = clock_.now() + grace;
  if (live.grant().suspended && live.page) live.page->suspend(false);  // so that it can end in good order
  live.grant().suspended = false;
  TRY(save(live, {event(live, "releasing", fmt::format("{} ends its processes", who))}));
  terminate(live, grace.count() > 0 ? SIGTERM : SIGKILL);
  changed(live);
  return {};
}

void Host::terminate(LiveGrant& live, int signal) {
  live.members.signal(signal);
  // A stopped process gets its TERM only once it goes on.
  if (signal == SIGTERM) live.members.signal(SIGCONT);
}

// Whoever is in the control group belongs to the grant.
void Host::adopt_members(LiveGrant& live) {
  if (!live.in_cgroup) return;
  for (const pid_t pid : cgroups_.processes(live.grant().id)) {
    if (live.members.has(pid)) continue;
    if (const auto process = identify_process(pid)) (void)live.members.add(*process);
  }
}

void Host::check_later(const GrantId& id) {
  loop_.post([this, id, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    if (LiveGrant* live = find_live(id)) check(*live);
  });
}

// Has anything ended?
void Host::check(LiveGrant& live) {
  adopt_members(live);
  if (live.members.drop_ended() > 0) {
    if (live.page) live.page->process_died();
    adopt_members(live);
  }
  const GrantState state = live.grant().state;
  if (!live.members.empty()) {
    // Started behind our back: found in the group before anybody attached it.
    if (state == GrantState::Granted) {
      live.grant().state = GrantState::Running;
      live.grant().started_ms = now_ms();
      (void)save(live, {});
      changed(live);
    }
    if (state == GrantState::Ending && live.kill_at && clock_.now() >= *live.kill_at) terminate(live, SIGKILL);
    return;
  }
  if (state == GrantState::Ending) {
    end(live, live.grant().end_reason);
  } else if (live.members.keeper_alive()) {
    return;
  } else if (state == GrantState::Waiting) {
    end(live, "whoever asked has gone", "withdrawn");
  } else {
    end(live, state == GrantState::Running ? "its last process ended" : "whoever asked has gone");
  }
  advance_queue();
}

// The share is free from here on. If the ledger cannot be written now, that is made up for later: should the agent die
// before, the next one finds no process alive and comes to the same end.
void Host::end(LiveGrant& live, const std::string& reason, const char* kind) {
  const GrantId id = live.grant().id;
  live.grant().state = GrantState::Ended;
  live.grant().ended_ms = now_ms();
  live.grant().end_reason = reason;
  live.grant().waiting.reset();
  if (const auto saved = save(live, {event(live, kind, reason)}); !saved) {
    log::error("grant {} ended, but {}", id.text, saved.error().message);
    unsaved_.push_back(live.record);
  }
  live.page.reset();
  if (const auto removed = remove_grant_files(live.paths); !removed) log::warning("{}", removed.error().message);
  if (live.in_cgroup)
    if (const auto removed = cgroups_.remove(id); !removed) log::warning("{}", removed.error().message);
  ended_.push_back(live.grant());
  if (ended_.size() > kEndedInMemory) ended_.erase(ended_.begin());
  ++ended_.back().revision;
  const auto watchers = std::exchange(live.watchers, {});
  table_.erase(id);  // `live` is gone
  tell_pacer();
  for (const auto& [number, callback] : watchers) callback();
}

}  // namespace kiboko
