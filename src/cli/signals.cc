#include "cli/signals.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>

namespace kiboko::cli {

Result<Signals> Signals::for_waiting() {
  Signals signals;
  ::sigemptyset(&signals.blocked_);
  ::sigprocmask(SIG_BLOCK, nullptr, &signals.callers_mask_);
  // PIPE: our own messages may go to a reader that left. Blocked rather than ignored, for the program's sake.
  sigset_t pipe;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::sigprocmask(SIG_BLOCK, &pipe, nullptr);
  TRY(signals.block({SIGHUP, SIGINT, SIGQUIT, SIGTERM}));
  return signals;
}

Result<void> Signals::take_all() {
  // A caller that ignores SIGCHLD makes the kernel throw our child's status away.
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  struct sigaction previous {};
  ::sigaction(SIGCHLD, &standard, &previous);
  callers_child_ignored_ = previous.sa_handler == SIG_IGN;
  // TTOU and TTIN are only blocked, not read: giving the terminal away must not stop us.
  sigset_t terminal;
  ::sigemptyset(&terminal);
  ::sigaddset(&terminal, SIGTTOU);
  ::sigaddset(&terminal, SIGTTIN);
  ::sigprocmask(SIG_BLOCK, &terminal, nullptr);
  return block({SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT, SIGALRM, SIGCHLD});
}

Result<void> Signals::block(std::initializer_list<int> signals) {
  for (const int signal : signals) ::sigaddset(&blocked_, signal);
  ::sigprocmask(SIG_BLOCK, &blocked_, nullptr);
  const int fd = ::signalfd(fd_.get(), &blocked_, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return fail_errno(errno, "watch for signals");
  if (fd != fd_.get()) fd_.reset(fd);
  return {};
}

std::optional<signalfd_siginfo> Signals::next() const {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return std::nullopt;
  return info;
}

void Signals::restore() const {
  if (callers_child_ignored_) ::signal(SIGCHLD, SIG_IGN);
  ::sigprocmask(SIG_SETMASK, &callers_mask_, nullptr);
}

void die_of(int signal) {
  ::prctl(PR_SET_DUMPABLE, 0);  // the program has left its core file already, if it was to leave one
  ::signal(signal, SIG_DFL);
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, signal);
  ::kill(::getpid(), signal);
  ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
}

}  // namespace kiboko::cli
