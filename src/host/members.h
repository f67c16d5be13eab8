// The processes that hold one grant: its keeper, and those that belong to it. Each by a pidfd, so that none is ever
// mistaken for a later process of the same number.
//
// Owned by a LiveGrant, on the Host's loop. `on_change` is called on the loop when a process may have ended.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/file.h"
#include "base/process.h"
#include "host/ledger.h"
#include "net/loop.h"

namespace kiboko {

class Members {
 public:
  Members(net::Loop& loop, std::function<void()> on_change) : loop_(&loop), on_change_(std::move(on_change)) {}

  // NotFound when the process has ended already.
  Result<void> set_keeper(const ProcessId& process);
  Result<void> add(const ProcessId& process);  // again is fine
  bool has(pid_t pid) const;

  // Drops those that have ended; how many members (not keepers) that were.
  std::size_t drop_ended();
  bool keeper_alive() const { return keeper_.has_value(); }
  bool empty() const { return members_.empty(); }
  std::vector<ProcessId> processes() const;
  std::vector<Holder> holders() const;
  void signal(int number) const;

 private:
  struct Held {
    ProcessId process;
    UniqueFd pidfd;
    net::Subscription watch;  // goes before the descriptor
  };
  Result<Held> hold(const ProcessId& process) const;

  net::Loop* loop_;
  std::function<void()> on_change_;
  std::optional<Held> keeper_;
  std::vector<Held> members_;
};

}  // namespace kiboko
