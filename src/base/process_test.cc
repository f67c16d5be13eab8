#include "base/process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace kiboko {
namespace {

// A child that waits to be killed; reaped at the end unless the test did.
class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0) {
      for (;;) ::pause();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { kill_and_reap(); }
  pid_t pid() const { return pid_; }
  void kill_and_wait() const {
    ::kill(pid_, SIGKILL);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  void kill_and_reap() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

std::string stat_line(const std::string& command) {
  return "42 (" + command +
         ") S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654321 100 200 18446744073709551615 0\n";
}

TEST(Process, TheStatLineIsReadWhateverTheCommandIsCalled) {
  for (const char* command : {"bash", "a b", "x) S 1 (y", ")) R 1 1", "line\nbreak", ""}) {
    const Result<ProcessStat> stat = parse_process_stat(stat_line(command));
    ASSERT_TRUE(stat) << command << ": " << stat.error().message;
    EXPECT_EQ(stat->command, command);
    EXPECT_EQ(stat->state, 'S') << command;
    EXPECT_EQ(stat->parent, 7) << command;
    EXPECT_EQ(stat->start_time, 987654321U) << command;
  }
}

TEST(Process, ATruncatedStatLineIsRefused) {
  for (const char* text : {"", "42", "42 (bash", ")(", "42 (bash)", "42 (bash) S 7", "x (bash) S 7 1 1 0"})
    EXPECT_FALSE(parse_process_stat(text)) << text;
}

TEST(Process, ARunningProcessIsAlive) {
  const ProcessId self = identify_self().value();
  EXPECT_EQ(self.pid, ::getpid());
  EXPECT_NE(self.start_time, 0U);
  EXPECT_EQ(liveness(self), Liveness::Alive);
}

TEST(Process, AnotherStartTimeIsAnotherProcess) {
  ProcessId reused = identify_self().value();
  reused.start_time += 1;
  EXPECT_EQ(liveness(reused), Liveness::Gone);
  EXPECT_EQ(open_pidfd(reused).error().code, Errc::NotFound);
}

TEST(Process, APidOfAnotherNamespaceIsNotJudged) {
  ProcessId foreign = identify_self().value();
  foreign.pid_namespace += 1;
  EXPECT_EQ(liveness(foreign), Liveness::Unknown);
  EXPECT_TRUE(alive(foreign));
}

TEST(Process, AZombieAndAReapedProcessAreGone) {
  Child child;
  const ProcessId id = identify_process(child.pid()).value();
  EXPECT_TRUE(alive(id));
  child.kill_and_wait();
  EXPECT_FALSE(alive(id));
  EXPECT_EQ(identify_process(id.pid).error().code, Errc::NotFound);
  child.kill_and_reap();
  EXPECT_FALSE(alive(id));
}

TEST(Process, APidfdTellsTheEndOfItsProcess) {
  Child child;
  const UniqueFd pidfd = open_pidfd(identify_process(child.pid()).value()).value();
  ASSERT_TRUE(signal_pidfd(pidfd.get(), SIGKILL));
  pollfd waiting{pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&waiting, 1, 60'000), 1);
}

TEST(Process, SeenFromInsideItsOwnNamespaceItIsTheSame) {
  EXPECT_EQ(identify_from_inside(::getpid()).value(), identify_self().value());
}

TEST(Process, InsideAContainerItHasThePidOfThere) {
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  if (pid < 0) GTEST_SKIP() << "no right to make a pid namespace";
  const Result<ProcessId> inside = identify_from_inside(pid);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  ASSERT_TRUE(inside) << inside.error().message;
  EXPECT_EQ(inside->pid, 1);
  EXPECT_NE(inside->pid_namespace, own_pid_namespace().value());
}

TEST(Process, NonsenseIsNotAProcess) {
  EXPECT_EQ(identify_process(0).error().code, Errc::Invalid);
  EXPECT_EQ(identify_process(-1).error().code, Errc::Invalid);
}

TEST(Process, TheBootHasAnId) { EXPECT_EQ(boot_id().value().size(), 36U); }

}  // namespace
}  // namespace kiboko
