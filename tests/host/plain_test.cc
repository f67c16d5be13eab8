// Programs that use no device, under `kiboko run`: nothing about them may change.
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/file.h"
#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::HasSubstr;
using testing::Not;

class Plain : public OneHost {
 protected:
  void SetUp() override { start_agent(); }
  static Words under_kiboko(const Words& command) {
    Words words{installed("kiboko"), "run", "--"};
    words.insert(words.end(), command.begin(), command.end());
    return words;
  }
  // Directly and under `kiboko run`, from the same start.
  void expect_no_difference(const Words& command, const std::string& input = {}) {
    SCOPED_TRACE(command.back());
    const Ended direct = run(start(command), input), under = run(start(under_kiboko(command)), input);
    EXPECT_EQ(under.out, direct.out);
    EXPECT_EQ(under.err, direct.err);
    EXPECT_EQ(under.status, direct.status);
  }
  void expect_no_difference(const char* script, const std::string& input = {}) {
    expect_no_difference(Words{"/bin/sh", "-c", script}, input);
  }
};

TEST_F(Plain, OutputAndExitStatusAreTheSame) {
  for (const char* script :
       {"echo out; echo err >&2; exit 7", "exit 0", "exit 255", "kill -KILL $$", "kill -TERM $$", "kill -SEGV $$",
        "kill -INT $$", "pwd; umask; ulimit -n; ulimit -c", "umask 027; umask",
        "trap 'echo caught; exit 3' TERM; kill $$", "sleep 0.1 & wait; echo done", "head -c 3000000 /dev/zero | wc -c"})
    expect_no_difference(script);
  expect_no_difference("cat; echo end", std::string(300'000, 'x'));
  expect_no_difference({"/bin/echo", "--memory", "one arg", "", "$HOME"});
}

TEST_F(Plain, WhatCannotBeStartedIs126Or127) {
  EXPECT_EQ(kiboko({"run", "--", "/nonexistent/program"}).exit_code(), 127);
  EXPECT_EQ(kiboko({"run", "--", "no-such-program"}).exit_code(), 127);
  EXPECT_EQ(kiboko({"run", "--", "/etc/passwd"}).exit_code(), 126);
  EXPECT_EQ(kiboko({"run", "--", "/"}).exit_code(), 126);
  EXPECT_EQ(kiboko({"run"}).exit_code(), 125);
  EXPECT_EQ(kiboko({"run", "--memory", "many", "--", "/bin/true"}).exit_code(), 125);
  EXPECT_TRUE(eventually([&] { return grants().empty(); }));
}

TEST_F(Plain, OnlyTheDocumentedVariablesAreAdded) {
  environment["EMPTY"] = "";
  environment["LD_LIBRARY_PATH"] = "/some/where";
  const auto variables = [&](const Words& command) {
    std::istringstream lines(run(start(command)).out);
    std::set<std::string> found;
    for (std::string line; std::getline(lines, line);) found.insert(line);
    return found;
  };
  const auto before = variables({"/usr/bin/env"}), after = variables(under_kiboko({"/usr/bin/env"}));
  const std::set<std::string> known{"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "KIBOKO_GRANT", "KIBOKO_SIM",
                                    "LD_PRELOAD",           "LD_LIBRARY_PATH"};
  for (const std::string& entry : before)
    EXPECT_TRUE(after.contains(entry) || entry.starts_with("LD_LIBRARY_PATH")) << entry;
  for (const std::string& entry : after)
    EXPECT_TRUE(before.contains(entry) || known.contains(entry.substr(0, entry.find('=')))) << entry;
  EXPECT_THAT(run(start(under_kiboko({"/usr/bin/printenv", "LD_LIBRARY_PATH"}))).out, HasSubstr(":/some/where\n"));
}

TEST_F(Plain, NoDriverIsLoadedIntoThem) {
  const std::string maps = kiboko({"run", "--", "/bin/cat", "/proc/self/maps"}).out;
  EXPECT_THAT(maps, HasSubstr("libkiboko.so"));
  EXPECT_THAT(maps, Not(HasSubstr("libcuda")));
  EXPECT_THAT(maps, Not(HasSubstr("libnvidia-ml")));
  EXPECT_THAT(maps, Not(HasSubstr("kiboko-sim")));
  EXPECT_THAT(maps, Not(HasSubstr("region.cache")));
}

TEST_F(Plain, TheyHaveTheSameOpenFilesAndSignals) {
  expect_no_difference("ls /proc/self/fd | wc -l");
  expect_no_difference("grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status");
  expect_no_difference("cat /proc/self/status | grep -E '^(Seccomp|NoNewPrivs|Umask|Threads|Groups)'");
}

TEST_F(Plain, ClosedStandardFilesStayClosed) {
  const std::string script = "ls -l /proc/self/fd | grep -c -E ' [012] -> ' > " + path("open");
  const auto count = [&](const Words& command) {
    Start how = start(command);
    how.standard_files = false;
    run(how);
    return read_file(path("open")).value_or("none");
  };
  const Words command{"/bin/sh", "-c", script};
  const std::string direct = count(command);
  EXPECT_EQ(count(under_kiboko(command)), direct);
}

TEST_F(Plain, ASignalReachesTheProgramOnce) {
  Child child =
      spawn({"run", "--", "/bin/sh", "-c",
             "trap 'echo got USR1' USR1; trap 'echo got TERM; exit 5' TERM; echo ready; while :; do sleep 0.05; done"});
  ASSERT_EQ(child.read_line(), "ready");
  child.signal(SIGUSR1);
  EXPECT_EQ(child.read_line(), "got USR1");
  child.signal(SIGTERM);
  EXPECT_EQ(child.read_line(), "got TERM");
  EXPECT_EQ(child.wait().exit_code(), 5);
}

TEST_F(Plain, ASetuidProgramRunsAsItsOwner) {
  SKIP_UNLESS_SOMEBODY_CAN_RUN_IT();
  const std::string copy = path("who");
  std::filesystem::copy_file("/usr/bin/id", copy);
  ASSERT_EQ(::chmod(copy.c_str(), 04755), 0);
  const Ended direct = run(start({copy, "-u"}, kSomebody));
  if (direct.out != "0\n") GTEST_SKIP() << "setuid programs do not work in " << path("");
  const Ended under = run(start(under_kiboko({copy, "-u"}), kSomebody));
  EXPECT_EQ(under.out, "0\n");
  EXPECT_EQ(under.err, "");
}

TEST_F(Plain, InterpretersRun) {
  expect_no_difference({"/bin/bash", "-c", "x=(1 2 3); echo ${#x[@]}; exec 3<<<word; read -u 3 y; echo $y"});
  for (const auto& [interpreter, flag, code] :
       {std::tuple("/usr/bin/python3", "-c",
                   "import subprocess, threading; print(subprocess.check_output(['echo', '42']))"),
        std::tuple("/usr/bin/node", "-e", "console.log(require('child_process').execSync('echo 42').toString())"),
        std::tuple("/usr/bin/perl", "-e", "print `echo 42`")})
    if (::access(interpreter, X_OK) == 0) expect_no_difference({interpreter, flag, code});
}

// A shell at a terminal of its own, and what it shows.
class Shell {
 public:
  Shell(const Environment& environment, const std::string& home) {
    std::vector<std::string> variables{"PS1=> ", "TERM=dumb"};
    for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
    std::vector<char*> pointers;
    for (std::string& variable : variables) pointers.push_back(variable.data());
    pointers.push_back(nullptr);
    pid_ = ::forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (pid_ != 0) return;
    const char* arguments[] = {"/bin/bash", "--norc", "--noprofile", "--noediting", "-i", nullptr};
    if (::chdir(home.c_str()) == 0) ::execve(arguments[0], const_cast<char**>(arguments), pointers.data());
    ::_exit(127);
  }
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;
  ~Shell() {
    ::close(terminal_);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void type(const std::string& text) {
    shown_.clear();
    ASSERT_EQ(::write(terminal_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // Since the last typing.
  bool shows(const std::string& text) {
    ::fcntl(terminal_, F_SETFL, O_NONBLOCK);
    return eventually([&] {
      char buffer[4096];
      for (ssize_t got = 0; (got = ::read(terminal_, buffer, sizeof buffer)) > 0;)
        shown_.append(buffer, static_cast<std::size_t>(got));
      return shown_.find(text) != std::string::npos;
    });
  }
  const std::string& shown() const { return shown_; }

 private:
  pid_t pid_ = -1;
  int terminal_ = -1;
  std::string shown_;
};

TEST_F(Plain, JobControlWorksAtATerminal) {
  Shell shell(environment, path(""));
  const std::string run = installed("kiboko") + " run --memory 1GiB -- ";
  ASSERT_TRUE(shell.shows("> "));
  shell.type(run + "/bin/cat\n");
  shell.type("first line\n");
  EXPECT_TRUE(shell.shows("first line\r\nfirst line")) << shell.shown();  // echoed, and by cat
  shell.type("\x1a");                                                     // Ctrl-Z
  EXPECT_TRUE(shell.shows("Stopped")) << shell.shown();
  shell.type("fg\n");
  EXPECT_TRUE(shell.shows("/bin/cat\r\n")) << shell.shown();
  shell.type("second line\n");
  EXPECT_TRUE(shell.shows("second line\r\nsecond line")) << shell.shown();
  shell.type("\x03");  // Ctrl-C
  EXPECT_TRUE(shell.shows("> ")) << shell.shown();
  shell.type("echo status $?\n");
  EXPECT_TRUE(shell.shows("status 130")) << shell.shown();
}

TEST_F(Plain, ABackgroundJobRunsOnAndIsKilledAsOne) {
  Shell shell(environment, path(""));
  ASSERT_TRUE(shell.shows("> "));
  shell.type(installed("kiboko") + " run -- /bin/sleep 1000 &\n");
  EXPECT_TRUE(eventually([&] { return grants().size() == 1 && grants()[0]["state"] == "running"; }));
  shell.type("jobs\n");
  EXPECT_TRUE(shell.shows("Running")) << shell.shown();
  shell.type("kill %1; wait %1; echo status $?\n");
  EXPECT_TRUE(shell.shows("status 143")) << shell.shown();
  EXPECT_TRUE(eventually([&] { return grants().empty(); }));
}

}  // namespace
}  // namespace kiboko::host_test
