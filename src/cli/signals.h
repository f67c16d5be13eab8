// The signals that `run` must not die of: blocked, read one by one, and put back for the program.
//
// Blocking leaves every disposition as the caller had it, so the program can inherit them unchanged (a `nohup` stays
// in force). One per process, main thread only, made before any other thread.
#pragma once

#include <signal.h>
#include <sys/signalfd.h>

#include <initializer_list>
#include <optional>

#include "base/file.h"

namespace kiboko::cli {

class Signals {
 public:
  // Blocks what would end a wait: HUP, INT, QUIT, TERM.
  static Result<Signals> for_waiting();
  // From now on all that is forwarded, and CHLD, too.
  Result<void> take_all();

  int fd() const { return fd_.get(); }
  std::optional<signalfd_siginfo> next() const;  // never blocks
  // In a forked child: mask and dispositions as the caller of `kiboko` had them.
  void restore() const;

  Signals(Signals&&) noexcept = default;
  Signals& operator=(Signals&&) noexcept = default;

 private:
  Signals() = default;
  Result<void> block(std::initializer_list<int> signals);
  UniqueFd fd_;
  sigset_t blocked_{};
  sigset_t callers_mask_{};
  bool callers_child_ignored_ = false;
};

// Dies of `signal` as a program does that does not handle it, but without a core file. Returns only if it cannot.
void die_of(int signal);

}  // namespace kiboko::cli
