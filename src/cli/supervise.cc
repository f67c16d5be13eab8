#include "cli/supervise.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/process.h"
#include "base/text.h"

namespace kiboko::cli {
namespace {

constexpr int kLookMillis = 200;

class Supervisor {
 public:
  Supervisor(pid_t program, Signals& signals, const Terminal& terminal, std::function<bool()> look)
      : program_(program), signals_(signals), terminal_(terminal), look_(std::move(look)) {}

  Ending run() {
    while (!ending_) {
      pollfd ready{signals_.fd(), POLLIN, 0};
      const int count = ::poll(&ready, 1, look_ ? kLookMillis : -1);
      while (const auto info = signals_.next()) handle(*info);
      if (count == 0 && look_ && look_()) look_ = nullptr;
    }
    terminal_.take_from(program_);
    return *ending_;
  }

 private:
  void handle(const signalfd_siginfo& info) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGCHLD) return reap();
    if (static_cast<pid_t>(info.ssi_pid) == program_ && info.ssi_code <= 0) return;  // the program signals its parent
    if (signal == SIGCONT) return resume();
    // From the keyboard: in the same group the program has had it already; a group of its own gets it whole. From a
    // process: it was meant for one process, and that is the program.
    const bool from_keyboard = info.ssi_code == SI_KERNEL;
    if (!from_keyboard)
      ::kill(program_, signal);
    else if (terminal_.own_group())
      ::kill(-program_, signal);
  }

  void reap() {
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0;) {
      if (pid != program_) continue;  // an orphan of the program, now ours
      if (WIFEXITED(status)) ending_ = Ending{false, WEXITSTATUS(status)};
      if (WIFSIGNALED(status)) ending_ = Ending{true, WTERMSIG(status)};
      if (WIFSTOPPED(status)) follow_stop(WSTOPSIG(status));
    }
  }

  // The shell must see its job stopped, or it would wait for ever. Only what a terminal does is followed: a service
  // whose program somebody stops by hand has no shell that would continue us.
  void follow_stop(int signal) {
    const bool job_control = signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
    if (!job_control || !terminal_.present()) return;
    if (signal != SIGTSTP && terminal_.give_to(program_)) {  // `fg` made us the foreground without a word
      ::kill(-program_, SIGCONT);
      return;
    }
    terminal_.take_from(program_);
    ::kill(::getpid(), SIGSTOP);  // the shell's `fg` or `bg` wakes us with SIGCONT, which resume() passes on
  }

  void resume() {
    terminal_.give_to(program_);
    ::kill(terminal_.own_group() ? -program_ : program_, SIGCONT);
  }

  const pid_t program_;
  Signals& signals_;
  const Terminal& terminal_;
  std::function<bool()> look_;
  std::optional<Ending> ending_;
};

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  const auto text = read_file(fmt::format("/proc/{}/task/{}/children", pid, pid));
  if (!text) return children;
  for (const std::string_view part : split(trim(*text), ' '))
    if (const auto child = parse_integer<pid_t>(part)) children.push_back(*child);
  return children;
}

}  // namespace

void become_subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

Ending supervise(pid_t program, Signals& signals, const Terminal& terminal, std::function<bool()> look) {
  return Supervisor{program, signals, terminal, std::move(look)}.run();
}

std::vector<pid_t> descendants_of(pid_t pid) {
  constexpr std::size_t kMost = 4096;  // a program that forks without end must not keep us here
  std::vector<pid_t> found = children_of(pid);
  for (std::size_t i = 0; i < found.size() && found.size() < kMost; ++i)
    for (const pid_t child : children_of(found[i])) found.push_back(child);
  std::erase_if(found, [](pid_t one) {
    const auto stat = process_stat(one);
    return !stat || stat->ended();
  });
  return found;
}

std::vector<pid_t> remaining_descendants() { return descendants_of(::getpid()); }

}  // namespace kiboko::cli
