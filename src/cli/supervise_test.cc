// Each test forks a keeper, which does what `kiboko run` does from the grant on, and looks at how it ends.
#include "cli/supervise.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "cli/child.h"

namespace kiboko::cli {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

int keep(const std::vector<std::string>& arguments, const Variables& environment) {
  auto signals = Signals::for_waiting();
  if (!signals || !signals->take_all()) return 99;
  become_subreaper();
  const Terminal terminal = Terminal::look();
  const auto path = find_program(arguments.front());
  if (!path) return path.error().status;
  auto child = StoppedChild::start({*path, arguments, environment}, *signals, terminal);
  if (!child) return 99;
  if (const auto gone = child->go(terminal); !gone) return gone.error().status;
  const Ending ending = supervise(child->pid(), *signals, terminal);
  if (ending.signalled) die_of(ending.value);
  return ending.value;
}

// A keeper of `sh -c SCRIPT` whose output the test reads.
class Keeper {
 public:
  explicit Keeper(
      const std::string& script, std::function<void()> before = [] {})
      : Keeper(std::vector<std::string>{"sh", "-c", script}, std::move(before)) {}
  explicit Keeper(
      const std::vector<std::string>& arguments, std::function<void()> before = [] {}) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      before();
      ::_exit(keep(arguments, own_variables()));
    }
    ::close(ends[1]);
    output_ = UniqueFd{ends[0]};
  }

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  // Reads until the output holds `text`.
  std::string wait_for(const std::string& text) {
    char chunk[256];
    while (seen_.find(text) == std::string::npos) {
      const ssize_t got = ::read(output_.get(), chunk, sizeof chunk);
      if (got <= 0) break;
      seen_.append(chunk, static_cast<std::size_t>(got));
    }
    return seen_;
  }
  int status() const {
    int status = -1;
    ::waitpid(pid_, &status, 0);
    return status;
  }
  std::string rest() { return wait_for("\x01 never written"); }

 private:
  pid_t pid_ = 0;
  UniqueFd output_;
  std::string seen_;
};

MATCHER_P(ExitedWith, code, "") { return WIFEXITED(arg) && WEXITSTATUS(arg) == code; }
MATCHER_P(DiedOf, number, "") { return WIFSIGNALED(arg) && WTERMSIG(arg) == number; }

TEST(Supervise, EndsWithTheStatusOfTheProgram) {
  EXPECT_THAT(Keeper("exit 0").status(), ExitedWith(0));
  EXPECT_THAT(Keeper("exit 42").status(), ExitedWith(42));
}

TEST(Supervise, DiesOfTheSignalThatTheProgramDiedOfWithoutACore) {
  for (const int number : {SIGTERM, SIGKILL, SIGSEGV, SIGABRT, SIGINT}) {
    const int status = Keeper("kill -" + std::to_string(number) + " $$").status();
    EXPECT_THAT(status, DiedOf(number));
    EXPECT_FALSE(WCOREDUMP(status));
  }
}

TEST(Supervise, ReportsWhatCannotBeStarted) {
  EXPECT_THAT(Keeper(std::vector<std::string>{"no-such-program-here"}).status(), ExitedWith(127));
  EXPECT_THAT(Keeper(std::vector<std::string>{"/etc/passwd"}).status(), ExitedWith(126));
  EXPECT_THAT(Keeper(std::vector<std::string>{"/"}).status(), ExitedWith(126));
}

TEST(Supervise, ForwardsSignalsToTheProgram) {
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH}) {
    Keeper keeper("trap 'echo got; exit 7' " + std::to_string(number) + "; echo ready; while :; do sleep 0.05; done");
    keeper.wait_for("ready");
    keeper.signal(number);
    EXPECT_THAT(keeper.wait_for("got"), HasSubstr("got")) << number;
    EXPECT_THAT(keeper.status(), ExitedWith(7)) << number;
  }
}

TEST(Supervise, IsEndedByASignalThatTheProgramDoesNotHandle) {
  Keeper keeper("echo ready; exec sleep 100");
  keeper.wait_for("ready");
  keeper.signal(SIGTERM);
  EXPECT_THAT(keeper.status(), DiedOf(SIGTERM));
}

TEST(Supervise, LeavesMaskDispositionsDirectoryAndUmaskToTheProgram) {
  // Not in a shell: shells change some of this for themselves.
  Keeper keeper(std::vector<std::string>{"grep", "-E", "^(Sig(Blk|Ign)|Umask)", "self/status"}, [] {
    sigset_t mask;
    ::sigemptyset(&mask);
    ::sigaddset(&mask, SIGUSR2);
    ::sigprocmask(SIG_BLOCK, &mask, nullptr);
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGCHLD, SIG_IGN);
    ::umask(0027);
    EXPECT_EQ(::chdir("/proc"), 0);
  });
  const std::string text = keeper.rest();
  EXPECT_THAT(text, HasSubstr("SigBlk:\t0000000000000800"));
  EXPECT_THAT(text, HasSubstr("SigIgn:\t0000000000010001"));
  EXPECT_THAT(text, HasSubstr("Umask:\t0027"));
  EXPECT_THAT(keeper.status(), ExitedWith(0));
}

TEST(Supervise, GivesTheProgramNoDescriptorOfItsOwn) {
  Keeper with("ls /proc/self/fd | wc -l");
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t direct = ::fork();
  if (direct == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execlp("sh", "sh", "-c", "ls /proc/self/fd | wc -l", nullptr);
    ::_exit(1);
  }
  ::close(ends[1]);
  char expected[16] = {};
  EXPECT_GT(::read(ends[0], expected, sizeof expected - 1), 0);
  ::close(ends[0]);
  ::waitpid(direct, nullptr, 0);
  EXPECT_EQ(with.rest(), expected);
}

TEST(Supervise, LetsTheProgramRunOnWhenItIsKilled) {
  Keeper keeper("echo pid $$; exec sleep 100");
  const std::string text = keeper.wait_for("\n");
  const pid_t program = std::stoi(text.substr(4));
  keeper.signal(SIGKILL);
  EXPECT_THAT(keeper.status(), DiedOf(SIGKILL));
  EXPECT_EQ(::kill(program, 0), 0);
  ::kill(program, SIGKILL);
}

TEST(Supervise, RunsAScriptWithoutAFirstLineAsShellsDo) {
  const std::string path = testing::TempDir() + "kiboko_script";
  ASSERT_TRUE(write_file_atomically(path, "exit 5\n", 0755));
  EXPECT_THAT(Keeper(std::vector<std::string>{path}).status(), ExitedWith(5));
  ::unlink(path.c_str());
}

TEST(StoppedChild, NeverStartsWhenItIsNotLetGo) {
  const std::string mark = testing::TempDir() + "kiboko_must_not_exist";
  ::unlink(mark.c_str());
  const pid_t keeper = ::fork();
  if (keeper == 0) {
    auto signals = Signals::for_waiting();
    auto child = StoppedChild::start({"/usr/bin/touch", {"touch", mark}, {}}, *signals, Terminal::look());
    const pid_t pid = child->pid();
    { const StoppedChild dropped = std::move(*child); }
    int status = 0;
    ::waitpid(pid, &status, 0);
    ::_exit(WEXITSTATUS(status));
  }
  int status = 0;
  ::waitpid(keeper, &status, 0);
  EXPECT_THAT(status, ExitedWith(kOwnFailure));
  EXPECT_NE(::access(mark.c_str(), F_OK), 0);
}

TEST(RemainingDescendants, AreWhatTheProgramLeftBehind) {
  const pid_t keeper = ::fork();
  if (keeper == 0) {
    const int status = keep({"sh", "-c", "sleep 100 & exit 3"}, own_variables());
    const auto left = remaining_descendants();
    for (const pid_t pid : left) ::kill(pid, SIGKILL);
    ::_exit(status == 3 && left.size() == 1 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(keeper, &status, 0);
  EXPECT_THAT(status, ExitedWith(0));
}

// A pseudo-terminal with a small shell of ours as its session leader: it starts a keeper as a job, as an interactive
// shell does, and tells through its exit status how that went.
class JobControl : public testing::Test {
 protected:
  // `shell` runs in the session leader, with the job's pid.
  void start(const std::string& script, std::function<int(pid_t job)> shell, bool foreground = true) {
    leader_ = ::forkpty(&master_, nullptr, nullptr, nullptr);
    ASSERT_GE(leader_, 0);
    if (leader_ != 0) return;
    ::signal(SIGTTOU, SIG_IGN);
    const pid_t job = ::fork();
    if (job == 0) {
      ::setpgid(0, 0);
      if (foreground) ::tcsetpgrp(0, ::getpgrp());
      ::signal(SIGTTOU, SIG_DFL);
      ::_exit(keep({"sh", "-c", script}, own_variables()));
    }
    ::setpgid(job, job);
    ::_exit(shell(job));
  }
  void type(char key) const { ASSERT_EQ(::write(master_, &key, 1), 1); }
  void wait_for(const std::string& text) {
    char chunk[256];
    while (seen_.find(text) == std::string::npos) {
      const ssize_t got = ::read(master_, chunk, sizeof chunk);
      if (got <= 0) break;
      seen_.append(chunk, static_cast<std::size_t>(got));
    }
    ASSERT_THAT(seen_, HasSubstr(text));
  }
  int status() const {
    int status = -1;
    ::waitpid(leader_, &status, 0);
    return status;
  }
  void TearDown() override { ::close(master_); }

  pid_t leader_ = 0;
  int master_ = -1;
  std::string seen_;
};

constexpr char kInterrupt = 3, kSuspend = 26;

TEST_F(JobControl, TheKeyboardInterruptsTheProgramAndTheJobDiesOfIt) {
  start("echo ready; exec sleep 100", [](pid_t job) {
    int status = 0;
    ::waitpid(job, &status, WUNTRACED);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 99;
  });
  wait_for("ready");
  type(kInterrupt);
  EXPECT_THAT(status(), ExitedWith(SIGINT));
}

// The script waits in a builtin: a shell that is stopped inside vfork does not stop before its child execs, and that
// child is stopped too.
TEST_F(JobControl, SuspendStopsTheJobAndForegroundContinuesIt) {
  start("trap 'echo resumed; exit 6' CONT; echo ready; read -r line", [](pid_t job) {
    int status = 0;
    ::waitpid(job, &status, WUNTRACED);
    if (!WIFSTOPPED(status)) return 98;
    ::tcsetpgrp(0, ::getpgrp());
    [[maybe_unused]] const auto told = ::write(1, "stopped\n", 8);
    ::tcsetpgrp(0, job);
    ::kill(-job, SIGCONT);
    ::waitpid(job, &status, WUNTRACED);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
  });
  wait_for("ready");
  type(kSuspend);
  wait_for("stopped");
  wait_for("resumed");
  EXPECT_THAT(status(), ExitedWith(6));
}

TEST_F(JobControl, TheProgramReadsFromTheTerminal) {
  start("echo ready; read -r line && echo \"line: $line\"", [](pid_t job) {
    int status = 0;
    ::waitpid(job, &status, WUNTRACED);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
  });
  wait_for("ready");
  for (const char key : {'h', 'i', '\n'}) type(key);
  wait_for("line: hi");
  EXPECT_THAT(status(), ExitedWith(0));
}

TEST_F(JobControl, AJobStartedInTheBackgroundReadsOnceItIsInTheForeground) {
  const auto shell = [](pid_t job) {
    int status = 0;
    ::waitpid(job, &status, WUNTRACED);  // stopped by reading
    if (!WIFSTOPPED(status)) return 98;
    ::tcsetpgrp(0, job);
    ::kill(-job, SIGCONT);
    ::waitpid(job, &status, WUNTRACED);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
  };
  start("echo ready; read -r line && exit 4", shell, false);
  wait_for("ready");
  for (const char key : {'h', 'i', '\n'}) type(key);
  EXPECT_THAT(status(), ExitedWith(4));
}

}  // namespace
}  // namespace kiboko::cli
