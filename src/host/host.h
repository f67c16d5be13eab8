// One host's grants: asks in, shares out, until their processes are gone. The heart of kiboko-agent --standalone.
//
// Made by main() and used on its loop's thread alone. What it promises is in the ledger before anybody hears of it.
//
// Order of writing, and what a crash in between leaves:
//   grant    files, then ledger   files that no grant knows: removed at the next start
//   attach   group, then ledger   a process in the grant's group: found there at the next start
//   resize   ledger, then page    a page with the old limits: brought in line at the next start
//   end      ledger, then files   as with a grant
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "host/caller.h"
#include "host/cgroups.h"
#include "host/environment.h"
#include "host/ledger.h"
#include "host/library_check.h"
#include "host/live.h"
#include "host/pacer.h"
#include "model/json.h"
#include "net/loop.h"
#include "node/watcher.h"
#include "sched/queue.h"

namespace kiboko {

struct HostOptions {
  std::string runtime_dir;
  ProgramPaths programs;
  Bytes reserve;                     // of each device, never granted
  unsigned slots = kDefaultSlots;    // grants per device
  std::size_t queue_per_user = 100;  // asks that one user may have waiting
  std::size_t history = 1000;        // ended grants kept
  std::size_t events = 20'000;       // events kept
};

// Somebody on a device whom no grant covers, or a member of a grant that goes round the library.
struct Stranger {
  DeviceUuid device;
  DeviceProcess seen;
  ProcessId process;
  uid_t uid = static_cast<uid_t>(-1);
  std::string command;
  GrantId grant;  // whose member it is, if anybody's
  bool operator==(const Stranger&) const = default;
};

class Host {
 public:
  Host(HostOptions options, net::Loop& loop, const Clock& clock, Ledger ledger, Cgroups cgroups,
       const Watcher& watcher);
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host();

  // Takes up what the ledger holds: running programs keep their grants, what is gone is ended. Once, before requests.
  Result<void> recover();
  // Once a second: looks at groups, regions and devices, beats in every page, ends what has ended.
  void tick();
  // Called on the loop whenever the shares that programs may use change.
  void on_shares_changed(std::function<void(std::vector<host::PacedGrant>)> callback);
  // A last event; programs run on.
  void say_goodbye();

  // What became of an ask. A refusal is an answer, not an error.
  struct Answer {
    std::optional<Refusal> refusal;
    GrantId id;  // when there is no refusal: granted or waiting
  };
  Result<Answer> ask(Ask ask, const Caller& caller);
  struct Explanation {
    std::optional<Refusal> refusal;      // why it would not start now
    std::vector<GrantDevice> devices;    // what it would get
    std::vector<DeviceRefusal> answers;  // each device's; an empty code sentence means that it fits
    bool would_wait = false;
    unsigned position = 0;
    bool default_applied = false;
  };
  Explanation explain(const Ask& ask, const Caller& caller) const;
  Result<void> attach(const GrantId& id, pid_t pid, const Caller& caller);
  Result<void> resize(const GrantId& id, const Resize& resize, const Caller& caller);
  // Its programs launch nothing until it is resumed. Saying so again changes nothing.
  Result<void> suspend(const GrantId& id, bool on, const Caller& caller);
  Result<void> release(const GrantId& id, std::chrono::milliseconds grace, const Caller& caller);

  // Calls back once at the grant's next change. Zero: there is no such grant, or it has ended.
  std::uint64_t watch(const GrantId& id, std::function<void()> callback);
  void unwatch(const GrantId& id, std::uint64_t watcher);

  // Reading.
  const LiveGrant* find(const GrantId& id) const;
  const Grant* find_ended(const GrantId& id) const;
  std::vector<const LiveGrant*> live() const;   // oldest first
  std::vector<const Grant*> ended() const;      // oldest first, the newest few hundred
  std::vector<const LiveGrant*> queue() const;  // next first
  std::vector<DeviceState> devices() const;     // with what is granted of them
  const std::vector<Stranger>& strangers() const { return strangers_; }
  Watcher::View survey() const { return watcher_.latest(); }
  std::optional<std::string> driver_trouble() const;  // "NVML has not answered for 7 s"
  Environment environment(const LiveGrant& live) const;
  Result<std::vector<Event>> events_after(std::int64_t id, std::size_t at_most) const;
  const std::map<std::string, std::uint64_t>& event_counts() const { return event_counts_; }
  const HostOptions& options() const { return options_; }
  const Cgroups& cgroups() const { return cgroups_; }
  const Ledger& ledger() const { return ledger_; }
  const std::optional<std::string>& ledger_trouble() const { return ledger_trouble_; }
  bool enforces() const { return agent_uid_ == 0; }
  std::int64_t started_ms() const { return started_ms_; }

 private:
  using Table = std::map<GrantId, std::unique_ptr<LiveGrant>>;

  // host.cc: asks and the queue
  Result<void> admit(const Ask& ask, const Caller& caller) const;
  Result<ProcessId> keeper_of(const Ask& ask, const Caller& caller) const;
  Result<GrantRecord> new_record(Ask ask, const Caller& caller) const;
  Result<Answer> start_or_wait(LiveGrant& live);
  LiveGrant& add(GrantRecord record);
  Result<void> start(LiveGrant& live, const Placement& placement);
  void set_waiting(LiveGrant& live, unsigned position, const Refusal& refusal);
  void note_refusal(uid_t uid, const Refusal& refusal);
  void advance_queue();
  QueueStep queue_step() const;
  std::vector<WaitingAsk> waiting_asks() const;
  std::map<uid_t, unsigned> held_by_user() const;
  std::vector<GrantDevice> granted_devices(const Placement& placement) const;
  GrantId new_id() const;

  // host_life.cc: from the first process to the end
  LiveGrant* find_live(const GrantId& id);
  Result<LiveGrant*> managed(const GrantId& id, const Caller& caller);
  void adopt_members(LiveGrant& live);
  void check(LiveGrant& live);
  void check_later(const GrantId& id);
  void end(LiveGrant& live, const std::string& reason, const char* kind = "ended");
  void terminate(LiveGrant& live, int signal);
  void changed(LiveGrant& live);
  void tell_pacer() const;
  Result<void> save(LiveGrant& live, std::vector<Event> events);
  void log_event(Event event);
  Event event(const LiveGrant& live, const char* kind, std::string sentence) const;
  std::int64_t now_ms() const;

  // host_start.cc
  void take_up(GrantRecord record, const std::string& boot);
  void reopen_page(LiveGrant& live);
  void remove_strays();

  // host_watch.cc: what the devices and regions say
  void sample(LiveGrant& live);
  void lose_region(LiveGrant& live, const Error& error);
  void watch_drain(LiveGrant& live, std::uint64_t busy_until_ns);
  void look_for_strangers();
  void tell_of_strangers(std::uint64_t now_ns);
  void look_for_tampering(LiveGrant& live, const RegionView& region, const Watcher::View& view);
  bool belongs(const LiveGrant& live, pid_t pid) const;
  std::optional<Stranger> stranger(const DeviceSample& device, const DeviceProcess& process);

  const HostOptions options_;
  net::Loop& loop_;
  const Clock& clock_;
  Ledger ledger_;
  Cgroups cgroups_;
  const Watcher& watcher_;
  const uid_t agent_uid_;
  const std::int64_t started_ms_;

  Table table_;
  std::vector<Grant> ended_;
  std::uint64_t next_serial_ = 1;
  std::uint64_t next_watcher_ = 1;
  std::vector<Stranger> strangers_;  // of the last survey
  std::vector<Stranger> suspects_;   // seen once; strangers if they are there at the next survey
  std::uint64_t surveys_seen_ = 0;
  std::map<std::string, bool> device_health_;  // as last reported in an event
  std::map<std::string, std::uint64_t> event_counts_;
  std::optional<std::string> ledger_trouble_;
  std::vector<GrantRecord> unsaved_;  // ended, but the ledger could not be written: tried again each second
  unsigned ticks_ = 0;
  RegionReader regions_;
  LibraryCheck library_check_;
  std::map<uid_t, Instant> last_refusal_;
  std::function<void(std::vector<host::PacedGrant>)> shares_changed_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for tasks posted to the loop
};

}  // namespace kiboko
