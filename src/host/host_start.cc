// Taking up after a restart: what the ledger promises against what is still there.
//
// A process is the one of the ledger only if boot, pid namespace, pid and start time all agree. Page files that
// programs may have mapped stay where they are.
#include <signal.h>

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "host/host.h"

namespace kiboko {
namespace {

// How long a grant that was ending when the agent died gets again.
constexpr std::chrono::seconds kGraceAfterRestart{10};

// Only what looks like a grant's is ever removed.
bool is_grant_id(std::string_view text) {
  return text.size() == 10 && text.starts_with("g-") &&
         text.substr(2).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

Result<void> Host::recover() {
  const std::string boot = TRY(boot_id());
  std::vector<GrantRecord> records = TRY(ledger_.grants());
  for (GrantRecord& record : records) {
    if (record.grant.state == GrantState::Ended)
      ended_.push_back(std::move(record.grant));
    else
      take_up(std::move(record), boot);
  }
  remove_strays();
  TRY(ledger_.prune(options_.history, options_.events));
  Event event;
  event.kind = "started";
  event.sentence = fmt::format("the agent started with {} grants from before", table_.size());
  event.time_ms = now_ms();
  TRY(ledger_.add_events({&event, 1}));  // also finds out whether it can be written
  ++event_counts_[event.kind];
  advance_queue();
  return {};
}

void Host::take_up(GrantRecord record, const std::string& boot) {
  const bool same_boot = record.boot_id == boot;
  const std::vector<Holder> holders = record.holders;
  LiveGrant& live = add(std::move(record));
  const GrantId id = live.grant().id;
  live.in_cgroup = cgroups_.exists(id);
  if (!same_boot) return end(live, "the host was restarted");
  for (const Holder& holder : holders) {
    const auto held = holder.role == Holder::Role::Keeper ? live.members.set_keeper(holder.process)
                                                          : live.members.add(holder.process);
    if (!held && held.error().code != Errc::NotFound)
      log::warning("grant {}: {}", live.grant().id.text, held.error().message);
  }
  adopt_members(live);
  if (live.grant().state == GrantState::Waiting) {
    if (!live.members.keeper_alive()) end(live, "whoever asked has gone", "withdrawn");
    return;
  }
  if (live.members.empty() && !live.members.keeper_alive()) return end(live, "it ended while no agent was running");
  if (live.grant().kind == GrantKind::Share) reopen_page(live);
  if (live.page) live.page->process_died();  // some may have died unseen
  if (live.grant().state == GrantState::Ending) live.kill_at = clock_.now() + kGraceAfterRestart;
  if (live.grant().state == GrantState::Ending) terminate(live, SIGTERM);
  log_event(event(live, "adopted", fmt::format("taken up again with {} processes", live.members.processes().size())));
  check_later(id);
}

void Host::reopen_page(LiveGrant& live) {
  auto page = GrantPageFile::reopen(live.paths, live.grant());
  if (!page) {
    Event lost =
        event(live, "adopted", page.error().message + ": a new page was made; programs that run keep the old limits");
    lost.severity = Severity::Warning;
    log_event(std::move(lost));
    // Programs that run go on charging to the region that they have mapped; those to come must find the same one.
    page = GrantPageFile::create(live.paths, live.grant(), RegionFile::Kept);
  }
  if (!page) return log::error("grant {} has no page: {}", live.grant().id.text, page.error().message);
  live.page = std::move(*page);
  live.page->beat(clock_.now_ns());
  live.page->suspend(live.grant().suspended);
  live.suspended_at = clock_.now();
}

void Host::remove_strays() {
  std::vector<GrantId> known;
  for (const auto& [id, live] : table_) known.push_back(id);
  for (const std::string& directory : stray_grant_directories(options_.runtime_dir, known)) {
    const GrantId id{directory.substr(directory.rfind('/') + 1)};
    if (!is_grant_id(id.text)) continue;
    log::info("removing {}: no grant is called so", directory);
    if (const auto removed = remove_grant_files(paths_of(options_.runtime_dir, id)); !removed)
      log::warning("{}", removed.error().message);
  }
  for (const GrantId& id : cgroups_.all())
    if (is_grant_id(id.text) && !table_.contains(id)) (void)cgroups_.remove(id);
}

void Host::say_goodbye() {
  Event event;
  event.kind = "stopped";
  event.sentence = fmt::format("the agent stopped; {} grants stay", table_.size());
  log_event(std::move(event));
}

}  // namespace kiboko
