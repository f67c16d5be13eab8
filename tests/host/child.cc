#include "child.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <thread>

#include "region/test_stacks.h"

namespace kiboko::host_test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
constexpr auto kLineLimit = 60s;
constexpr auto kEndLimit = 120s;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

void place(int fd, int at) {
  if (fd >= 0) ::dup2(fd, at);
}

[[noreturn]] void become(const Start& start, int in, int out, int err, char* const* arguments,
                         char* const* environment) {
  if (!start.standard_error.empty())
    err = ::open(start.standard_error.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  place(in, 0), place(out, 1), place(err, 2);
  for (int fd = 0; fd < 3 && !start.standard_files; ++fd) ::close(fd);
  if (!start.directory.empty() && ::chdir(start.directory.c_str()) != 0) ::_exit(99);
  if (start.uid != 0 && (::setgroups(0, nullptr) != 0 || ::setgid(start.uid) != 0 || ::setuid(start.uid) != 0))
    ::_exit(99);
  ::signal(SIGPIPE, SIG_DFL);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // should the test be killed itself
  ::execve(arguments[0], arguments, environment);
  ::_exit(98);
}

std::vector<pid_t> children() {
  std::vector<pid_t> found;
  const std::string self = std::to_string(::getpid());
  std::ifstream in("/proc/" + self + "/task/" + self + "/children");
  for (pid_t pid = 0; in >> pid;) found.push_back(pid);
  return found;
}

}  // namespace

int Ended::exit_code() const { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

Child::Child(const Start& start) {
  std::vector<std::string> words = start.command, variables;
  for (const auto& [name, value] : start.environment) variables.push_back(name + "=" + value);
  const auto arguments = pointers(words), environment = pointers(variables);
  int in[2], out[2], err[2];
  for (int* ends : {in, out, err})
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  pid_ = ::fork();
  if (pid_ < 0) std::abort();
  if (pid_ == 0) become(start, in[0], out[1], err[1], arguments.data(), environment.data());
  for (const int theirs : {in[0], out[1], err[1]}) ::close(theirs);
  in_ = in[1], out_ = out[0], err_ = err[0];
}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(status_, other.status_);
  std::swap(in_, other.in_);
  std::swap(out_, other.out_);
  std::swap(err_, other.err_);
  std::swap(out_text_, other.out_text_);
  std::swap(err_text_, other.err_text_);
  std::swap(taken_, other.taken_);
  return *this;
}

Child::~Child() {
  if (pid_ > 0 && !ended()) {
    signal(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  for (const int fd : {in_, out_, err_})
    if (fd >= 0) ::close(fd);
}

void Child::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

bool Child::ended() {
  if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
  return pid_ < 0;
}

void Child::close_input() {
  if (in_ >= 0) ::close(in_);
  in_ = -1;
}

void Child::write_line(const std::string& line) {
  const std::string text = line + "\n";
  if (in_ >= 0 && ::write(in_, text.data(), text.size()) < 0) close_input();
}

bool Child::pump(int timeout_ms) {
  pollfd wanted[2] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
  if (out_ < 0 && err_ < 0) return false;
  if (::poll(wanted, 2, timeout_ms) <= 0) return false;
  for (const auto& [fd, text, ready] :
       {std::tuple(&out_, &out_text_, wanted[0].revents), std::tuple(&err_, &err_text_, wanted[1].revents)}) {
    if (*fd < 0 || ready == 0) continue;
    char buffer[65536];
    const ssize_t got = ::read(*fd, buffer, sizeof buffer);
    if (got > 0) text->append(buffer, static_cast<std::size_t>(got));
    if (got == 0) ::close(std::exchange(*fd, -1));
  }
  return true;
}

std::string Child::read_line() {
  for (const auto until = Clock::now() + kLineLimit; Clock::now() < until;) {
    const auto end = out_text_.find('\n', taken_);
    if (end != std::string::npos) return out_text_.substr(std::exchange(taken_, end + 1), end - taken_);
    if (!pump(100) && out_ < 0) break;
  }
  return "";
}

std::string Child::ask(const std::string& line) {
  write_line(line);
  return read_line();
}

std::string Child::errors() {
  while (pump(0)) {
  }
  return err_text_;
}

// Waits for the program and not for the end of its output: what it left behind may keep that open.
Ended Child::wait(const std::string& input) {
  std::string_view rest = input;
  bool late = false;
  if (in_ >= 0) ::fcntl(in_, F_SETFL, O_NONBLOCK);  // it may write before it has read all
  for (const auto until = Clock::now() + kEndLimit; !ended();) {
    const ssize_t written = rest.empty() || in_ < 0 ? 0 : ::write(in_, rest.data(), rest.size());
    if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
    if (rest.empty() || (written < 0 && errno != EAGAIN)) close_input();
    if (out_ < 0 && err_ < 0) std::this_thread::sleep_for(5ms);
    pump(20);
    if (!late && Clock::now() > until) late = true, region::print_stacks_and_kill(pid_);
  }
  while (pump(0)) {
  }
  return {status_, out_text_, err_text_};
}

void become_subreaper() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::signal(SIGPIPE, SIG_IGN);  // a program may end before it has read all
}

// Killing a parent hands its children to us, so this goes on until there are none.
void end_all_descendants() {
  for (int i = 0; i < 1000; ++i) {
    const auto pids = children();
    if (pids.empty()) return;
    for (const pid_t pid : pids) ::kill(pid, SIGKILL);
    for (const pid_t pid : pids) ::waitpid(pid, nullptr, 0);
  }
}

}  // namespace kiboko::host_test
