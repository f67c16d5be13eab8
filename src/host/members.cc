#include "host/members.h"

#include <poll.h>

#include <algorithm>

namespace kiboko {
namespace {

bool ended(const UniqueFd& pidfd) {
  pollfd poll{pidfd.get(), POLLIN, 0};
  return ::poll(&poll, 1, 0) > 0;
}

}  // namespace

Result<Members::Held> Members::hold(const ProcessId& process) const {
  UniqueFd pidfd = TRY(open_pidfd(process));
  if (ended(pidfd)) return fail(Errc::NotFound, "process {} has ended", process.pid);
  net::Subscription watch = TRY(loop_->when_readable(pidfd.get(), on_change_));
  return Held{process, std::move(pidfd), std::move(watch)};
}

Result<void> Members::set_keeper(const ProcessId& process) {
  keeper_.emplace(TRY(hold(process)));
  return {};
}

Result<void> Members::add(const ProcessId& process) {
  const auto same = [&](const Held& held) { return held.process == process; };
  if (std::ranges::any_of(members_, same)) return {};
  members_.push_back(TRY(hold(process)));
  return {};
}

bool Members::has(pid_t pid) const {
  return std::ranges::any_of(members_, [&](const Held& held) { return held.process.pid == pid; });
}

std::size_t Members::drop_ended() {
  if (keeper_ && ended(keeper_->pidfd)) {
    keeper_->watch.reset();
    keeper_.reset();
  }
  const std::size_t before = members_.size();
  for (Held& held : members_)
    if (ended(held.pidfd)) held.watch.reset();
  std::erase_if(members_, [](const Held& held) { return !held.watch; });
  return before - members_.size();
}

std::vector<ProcessId> Members::processes() const {
  std::vector<ProcessId> processes;
  for (const Held& held : members_) processes.push_back(held.process);
  return processes;
}

std::vector<Holder> Members::holders() const {
  std::vector<Holder> holders;
  if (keeper_) holders.push_back({Holder::Role::Keeper, keeper_->process});
  for (const Held& held : members_) holders.push_back({Holder::Role::Member, held.process});
  return holders;
}

void Members::signal(int number) const {
  for (const Held& held : members_) (void)signal_pidfd(held.pidfd.get(), number);
}

}  // namespace kiboko
