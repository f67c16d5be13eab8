#include "host/host.h"

#include <pwd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"

namespace kiboko {
namespace {

constexpr std::size_t kCommandKept = 64;     // arguments, in memory and ledger
constexpr std::size_t kArgumentKept = 1024;  // bytes of each
constexpr std::chrono::seconds kSilence{5};  // a driver that is silent for so long is in trouble

void shorten(Ask& ask) {
  if (ask.command.size() > kCommandKept) {
    ask.command.resize(kCommandKept);
    ask.command.emplace_back("…");
  }
  for (std::string& argument : ask.command)
    if (argument.size() > kArgumentKept) argument = argument.substr(0, kArgumentKept) + "…";
}

// The user that a process belongs to.
Result<uid_t> uid_of(pid_t pid) {
  struct stat found {};
  const std::string path = fmt::format("/proc/{}", pid);
  if (::stat(path.c_str(), &found) != 0) return fail(Errc::NotFound, "there is no process {}", pid);
  return found.st_uid;
}

Need held_need(const Grant& grant, const GrantDevice& device, const DeviceState& state) {
  if (grant.kind == GrantKind::Exclusive) return {state.memory_grantable(), kAllCores, true};
  return {device.limit, device.cores.value_or(CorePercent{0}), false};
}

}  // namespace

std::string user_name(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (::getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr) return found->pw_name;
  return std::to_string(uid);
}

Host::Host(HostOptions options, net::Loop& loop, const Clock& clock, Ledger ledger, Cgroups cgroups,
           const Watcher& watcher)
    : options_(std::move(options)),
      loop_(loop),
      clock_(clock),
      ledger_(std::move(ledger)),
      cgroups_(std::move(cgroups)),
      watcher_(watcher),
      agent_uid_(::geteuid()),
      started_ms_(now_ms()) {}

Host::~Host() = default;

std::int64_t Host::now_ms() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(clock_.wall().time_since_epoch()).count();
}

GrantId Host::new_id() const {
  for (;;) {
    std::uint32_t number = 0;
    if (::getrandom(&number, sizeof number, 0) != sizeof number) continue;
    GrantId id{fmt::format("g-{:08x}", number)};
    if (table_.contains(id) || find_ended(id) != nullptr) continue;
    return id;
  }
}

// The one who asks, checked: a user may name a process of their own, root any.
Result<ProcessId> Host::keeper_of(const Ask& ask, const Caller& caller) const {
  const pid_t pid = ask.keeper_pid != 0 ? ask.keeper_pid : caller.pid;
  const ProcessId keeper = TRY(identify_process(pid).map_error(about("keeper_pid {}", pid)));
  const uid_t uid = TRY(uid_of(pid));
  if (uid != caller.uid && caller.uid != 0)
    return fail(Errc::Forbidden, "keeper_pid {} belongs to {}, not to {}", pid, user_name(uid), user_name(caller.uid));
  return keeper;
}

LiveGrant& Host::add(GrantRecord record) {
  const GrantId id = record.grant.id;
  auto live = std::make_unique<LiveGrant>(loop_, [this, id] { check_later(id); });
  live->record = std::move(record);
  live->serial = next_serial_++;
  live->paths = paths_of(options_.runtime_dir, id);
  return *(table_[id] = std::move(live));
}

// May this caller have what is asked for at all?
Result<void> Host::admit(const Ask& ask, const Caller& caller) const {
  if (!caller.known) return fail(Errc::Forbidden, "grants are made over the agent's unix socket only");
  if (agent_uid_ != 0 && caller.uid != agent_uid_)
    return fail(Errc::Forbidden,
                "this agent runs as {} and can make grants for {} alone; an agent that runs as root serves all",
                user_name(agent_uid_), user_name(agent_uid_));
  // The dynamic loader only warns of a preload that is missing, and the program would run without its limits.
  const std::string& shim = options_.programs.shim;
  if (!wants_whole_device(ask) && ::access(shim.c_str(), R_OK) != 0)
    return fail(Errc::Unavailable, "{} is missing, and without it a share has no limits: install Kiboko as a whole",
                shim);
  const auto waiting_of_user = std::ranges::count_if(table_, [&](const auto& entry) {
    return entry.second->grant().state == GrantState::Waiting && entry.second->grant().owner.uid == caller.uid;
  });
  if (static_cast<std::size_t>(waiting_of_user) >= options_.queue_per_user)
    return fail(Errc::Conflict, "{} has {} asks waiting, the most one user may have", user_name(caller.uid),
                waiting_of_user);
  return {};
}

Result<GrantRecord> Host::new_record(Ask ask, const Caller& caller) const {
  GrantRecord record;
  record.boot_id = TRY(boot_id());
  Grant& grant = record.grant;
  grant.id = new_id();
  grant.owner = {caller.uid, caller.gid, user_name(caller.uid)};
  grant.mode = enforces() && caller.uid != 0 ? GrantMode::Enforced : GrantMode::Cooperative;
  grant.kind = wants_whole_device(ask) ? GrantKind::Exclusive : GrantKind::Share;
  grant.default_applied = uses_default_share(ask);
  grant.keeper_pid = ask.keeper_pid;
  grant.created_ms = now_ms();
  grant.asked = std::move(ask);
  return record;
}

Result<Host::Answer> Host::ask(Ask ask, const Caller& caller) {
  TRY(admit(ask, caller));
  const ProcessId keeper = TRY(keeper_of(ask, caller));
  shorten(ask);
  ask.keeper_pid = keeper.pid;
  if (auto placed = place(devices(), ask); !placed && !placed.error().fits_when_free) {
    note_refusal(caller.uid, placed.error());
    return Answer{std::move(placed.error()), {}};
  }
  LiveGrant& live = add(TRY(new_record(std::move(ask), caller)));
  const GrantId id = live.grant().id;
  auto answer = [&]() -> Result<Answer> {
    TRY(live.members.set_keeper(keeper));
    return start_or_wait(live);
  }();
  if (!answer || answer->refusal) table_.erase(id);
  return answer;
}

// The new ask as the last of the queue.
Result<Host::Answer> Host::start_or_wait(LiveGrant& live) {
  const QueueStep step = queue_step();
  for (const auto& started : step.started) {
    if (started.key != live.serial) continue;
    TRY(start(live, started.placement));
    return Answer{{}, live.grant().id};
  }
  const auto delayed = std::ranges::find(step.delayed, live.serial, &QueueStep::Delayed::key);
  if (delayed == step.delayed.end()) return fail(Errc::Internal, "the queue lost grant {}", live.grant().id.text);
  if (!live.grant().asked.wait) {
    note_refusal(live.grant().owner.uid, delayed->refusal);
    return Answer{delayed->refusal, {}};
  }
  set_waiting(live, delayed->position, delayed->refusal);
  TRY(save(live, {event(live, "waiting",
                        fmt::format("{} waits: {}", live.grant().owner.user, live.grant().waiting->reason))}));
  return Answer{{}, live.grant().id};
}

// A script that asks in a loop must not fill the log: one line a second for each user, the rest is only counted.
void Host::note_refusal(uid_t uid, const Refusal& refusal) {
  const Instant now = clock_.now();
  const auto [last, first] = last_refusal_.try_emplace(uid, now);
  if (!first && now - last->second < std::chrono::seconds(1)) {
    ++event_counts_["refused"];
    return;
  }
  last->second = now;
  Event event;
  event.kind = "refused";
  event.sentence = fmt::format("{} was refused ({}): {}", user_name(uid), name(refusal.code), refusal.sentence);
  log_event(std::move(event));
}

std::vector<WaitingAsk> Host::waiting_asks() const {
  std::vector<WaitingAsk> waiting;
  for (const auto& [id, live] : table_)
    if (live->grant().state == GrantState::Waiting)
      waiting.push_back(
          {live->serial, live->grant().owner.uid, live->grant().created_ms, live->serial, live->grant().asked});
  return waiting;
}

std::map<uid_t, unsigned> Host::held_by_user() const {
  std::map<uid_t, unsigned> held;
  for (const auto& [id, live] : table_)
    if (holds_share(live->grant().state)) ++held[live->grant().owner.uid];
  return held;
}

QueueStep Host::queue_step() const { return step_queue(devices(), waiting_asks(), held_by_user()); }

std::vector<GrantDevice> Host::granted_devices(const Placement& placement) const {
  const std::vector<DeviceState> states = devices();
  std::vector<GrantDevice> granted;
  for (const PlacedDevice& placed : placement.devices) {
    const Device& device = states[placed.position].device;
    std::optional<CorePercent> cores;
    if (placed.need.cores > CorePercent{}) cores = placed.need.cores;
    granted.push_back({device.uuid, device.index, device.model, device.total,
                       placement.exclusive ? device.total : placed.need.memory, cores});
  }
  std::ranges::sort(granted, {}, &GrantDevice::index);
  return granted;
}

Result<void> Host::start(LiveGrant& live, const Placement& placement) {
  Grant before = live.grant();
  Grant& grant = live.grant();
  grant.devices = granted_devices(placement);
  grant.state = GrantState::Granted;
  grant.waiting.reset();
  const auto attempt = [&]() -> Result<void> {
    if (grant.kind == GrantKind::Share) live.page = TRY(GrantPageFile::create(live.paths, grant));
    if (live.page) live.page->beat(clock_.now_ns());
    std::string what;
    for (const GrantDevice& device : grant.devices)
      what += fmt::format("{}{} on device {}", what.empty() ? "" : ", ",
                          grant.kind == GrantKind::Exclusive ? "all" : to_text(device.limit), device.index);
    return save(live, {event(live, "granted", fmt::format("{} has {}", grant.owner.user, what))});
  };
  if (const auto done = attempt(); !done) {
    live.page.reset();
    (void)remove_grant_files(live.paths);
    live.grant() = std::move(before);
    return done;
  }
  if (cgroups_.available()) {
    const auto made = cgroups_.create(grant.id);
    live.in_cgroup = made.has_value();
    if (!made) log::warning("grant {} is held by process handles alone: {}", grant.id.text, made.error().message);
    if (made && grant.kind == GrantKind::Exclusive) {
      std::vector<int> others;
      for (const DeviceState& state : devices())
        if (state.device.minor >= 0 && !state.device.simulated &&
            std::ranges::find(grant.devices, state.device.uuid, &GrantDevice::uuid) == grant.devices.end())
          others.push_back(state.device.minor);
      if (const auto hidden = cgroups_.deny_devices(grant.id, others); !hidden)
        log::warning("grant {}: other devices are hidden by variables alone: {}", grant.id.text,
                     hidden.error().message);
    }
  }
  tell_pacer();
  changed(live);
  return {};
}

void Host::on_shares_changed(std::function<void(std::vector<host::PacedGrant>)> callback) {
  shares_changed_ = std::move(callback);
  tell_pacer();
}

void Host::tell_pacer() const {
  if (!shares_changed_) return;
  std::vector<host::PacedGrant> paced;
  for (const auto& [id, live] : table_) {
    if (!live->page) continue;
    host::PacedGrant grant{id.text, live->page->mapping(), live->paths.region, live->grant().owner.uid, {}};
    for (unsigned i = 0; i < live->grant().devices.size(); ++i)
      grant.devices.push_back({live->grant().devices[i].uuid.text, i});
    paced.push_back(std::move(grant));
  }
  shares_changed_(std::move(paced));
}

void Host::set_waiting(LiveGrant& live, unsigned position, const Refusal& refusal) {
  GrantWaiting waiting{position, live.grant().created_ms, refusal.code, refusal.sentence};
  if (!live.note.empty()) waiting.reason = live.note;
  if (live.grant().waiting == waiting) return;
  live.grant().waiting = std::move(waiting);
  changed(live);
}

void Host::advance_queue() {
  const QueueStep step = queue_step();
  const auto by_serial = [this](std::size_t serial) {
    return std::ranges::find_if(table_, [&](const auto& entry) { return entry.second->serial == serial; });
  };
  for (const auto& started : step.started) {
    LiveGrant& live = *by_serial(started.key)->second;
    const auto begun = start(live, started.placement);
    live.note = begun ? "" : begun.error().message;
    // The rest of the step was planned on top of this one.
    if (!begun) {
      set_waiting(live, 1, Refusal{RefusalCode::Busy, live.note, {}, {}, true});
      return;
    }
  }
  for (const auto& delayed : step.delayed)
    set_waiting(*by_serial(delayed.key)->second, delayed.position, delayed.refusal);
}

Host::Explanation Host::explain(const Ask& ask, const Caller& caller) const {
  Explanation explanation;
  const std::vector<DeviceState> states = devices();
  explanation.default_applied = uses_default_share(ask);
  for (const DeviceState& state : states) {
    auto refusal = refusal_on(state, ask);
    if (!refusal) {
      const Need need = need_on(state, ask);
      refusal = DeviceRefusal{state.device.uuid,    state.device.index,          RefusalCode::Busy, {},
                              to_text(need.memory), to_text(state.memory_free())};
    }
    explanation.answers.push_back(std::move(*refusal));
  }
  std::vector<WaitingAsk> waiting = waiting_asks();
  waiting.push_back({0, caller.uid, now_ms(), ~std::uint64_t{0}, ask});
  const QueueStep step = step_queue(states, std::move(waiting), held_by_user());
  for (const auto& started : step.started)
    if (started.key == 0) explanation.devices = granted_devices(started.placement);
  for (const auto& delayed : step.delayed) {
    if (delayed.key != 0) continue;
    explanation.refusal = delayed.refusal;
    explanation.would_wait = delayed.refusal.fits_when_free;
    explanation.position = delayed.position;
  }
  return explanation;
}

std::optional<std::string> Host::driver_trouble() const {
  const Watcher::View view = watcher_.latest();
  if (view.waiting >= kSilence) return fmt::format("NVML has not answered for {}", format_duration(view.waiting));
  if (!view.error.empty()) return view.error;
  return std::nullopt;
}

std::vector<DeviceState> Host::devices() const {
  const Watcher::View view = watcher_.latest();
  std::vector<DeviceState> states;
  if (!view.survey) return states;
  const auto trouble = driver_trouble();
  for (const Device& device : view.survey->devices) {
    DeviceState state{device, options_.reserve, options_.slots, {}, {}, 0, false};
    if (trouble) {
      state.device.healthy = false;
      state.device.trouble = *trouble;
    }
    for (const auto& [id, live] : table_) {
      if (!holds_share(live->grant().state)) continue;
      for (const GrantDevice& granted : live->grant().devices)
        if (granted.uuid == device.uuid) take(state, held_need(live->grant(), granted, state));
    }
    states.push_back(std::move(state));
  }
  return states;
}

const LiveGrant* Host::find(const GrantId& id) const {
  const auto found = table_.find(id);
  return found == table_.end() ? nullptr : found->second.get();
}

const Grant* Host::find_ended(const GrantId& id) const {
  const auto found = std::ranges::find(ended_, id, &Grant::id);
  return found == ended_.end() ? nullptr : &*found;
}

std::vector<const LiveGrant*> Host::live() const {
  std::vector<const LiveGrant*> all;
  for (const auto& [id, live] : table_) all.push_back(live.get());
  std::ranges::sort(all, {}, &LiveGrant::serial);
  return all;
}

std::vector<const Grant*> Host::ended() const {
  std::vector<const Grant*> all;
  for (const Grant& grant : ended_) all.push_back(&grant);
  return all;
}

std::vector<const LiveGrant*> Host::queue() const {
  std::vector<const LiveGrant*> waiting;
  for (const auto& [id, live] : table_)
    if (live->grant().state == GrantState::Waiting) waiting.push_back(live.get());
  std::ranges::sort(waiting, {}, [](const LiveGrant* live) {
    return std::pair(live->grant().waiting ? live->grant().waiting->position : ~0U, live->serial);
  });
  return waiting;
}

Environment Host::environment(const LiveGrant& live) const {
  return environment_of(live.grant(), live.paths.page, options_.programs);
}

Result<std::vector<Event>> Host::events_after(std::int64_t id, std::size_t at_most) const {
  return ledger_.events_after(id, at_most);
}

}  // namespace kiboko
