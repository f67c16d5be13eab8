// For tests: where every thread of a program stands that should have ended long ago, and its end.
//
// Written to standard error by gdb (scripts/packages installs it), and by /proc where there is no gdb or it may not
// look.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

namespace kiboko::region {

// True once `pid` ended within that time; *status is as waitpid gives it.
inline bool ended_within(pid_t pid, int seconds, int* status) {
  timespec start, now;
  ::clock_gettime(CLOCK_MONOTONIC, &start);
  for (long pause_ns = 20'000;; pause_ns = pause_ns < 5'000'000 ? 2 * pause_ns : pause_ns) {
    const pid_t got = ::waitpid(pid, status, WNOHANG);
    if (got == pid || (got < 0 && errno != EINTR)) return true;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - start.tv_sec >= seconds) return false;
    const timespec pause{0, pause_ns};
    ::nanosleep(&pause, nullptr);
  }
}

inline void print_kernel_view(pid_t pid) {
  std::error_code ignored;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", ignored)) {
    std::string state, place, call;
    std::getline(std::ifstream(thread.path() / "stat"), state);
    std::getline(std::ifstream(thread.path() / "wchan"), place);
    std::getline(std::ifstream(thread.path() / "syscall"), call);
    std::cerr << "  " << state.substr(0, 60) << " in " << place << ", system call " << call << "\n";
  }
}

inline void print_stacks(pid_t pid) {
  std::cerr << "Process " << pid << " does not end. Its threads:" << std::endl;
  print_kernel_view(pid);
  const std::string target = std::to_string(pid);
  const pid_t gdb = ::fork();
  if (gdb == 0) {
    ::dup2(2, 1);
    const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::dup2(null, 0);
    char* const environment[] = {const_cast<char*>("PATH=/usr/local/bin:/usr/bin:/bin"),
                                 const_cast<char*>("HOME=/nonexistent"), nullptr};
    ::execle("/usr/bin/gdb", "gdb", "-nx", "-batch", "-p", target.c_str(), "-ex", "set pagination off", "-ex",
             "thread apply all backtrace 40", nullptr, environment);
    ::_exit(127);
  }
  int status = 0;
  if (gdb < 0 || ended_within(gdb, 60, &status)) return;
  ::kill(gdb, SIGKILL);
  ::waitpid(gdb, &status, 0);
}

// Of a child that is late. The first few of a test program tell enough.
inline void print_stacks_and_kill(pid_t pid) {
  static int printed = 0;
  if (printed++ < 3) print_stacks(pid);
  ::kill(pid, SIGKILL);
}

}  // namespace kiboko::region
