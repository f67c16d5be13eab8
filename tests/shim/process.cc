#include "process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <sstream>

#include "region/test_stacks.h"

namespace kiboko::shim_test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kRunLimit = std::chrono::seconds(120);

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    read_end = ends[0];
    write_end = ends[1];
  }
};

void become(const Start& start, const Pipe& in, const Pipe& out, const Pipe& err, char* const* arguments,
            char* const* environment) {
  if (start.standard_files) {
    ::dup2(in.read_end, 0);
    ::dup2(out.write_end, 1);
    ::dup2(err.write_end, 2);
  } else {
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
  }
  if (start.uid != 0 && (::setgroups(0, nullptr) != 0 || ::setgid(start.uid) != 0 || ::setuid(start.uid) != 0))
    ::_exit(126);
  ::execvpe(arguments[0], arguments, environment);
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Process::Process(const Start& start) {
  std::vector<std::string> arguments = start.command, environment;
  for (const auto& [name, value] : start.environment) environment.push_back(name + "=" + value);
  const auto argv = pointers(arguments), envp = pointers(environment);
  Pipe in, out, err;
  pid_ = ::fork();
  if (pid_ < 0) std::abort();
  if (pid_ == 0) become(start, in, out, err, argv.data(), envp.data());
  ::close(in.read_end);
  ::close(out.write_end);
  ::close(err.write_end);
  in_ = in.write_end;
  out_ = out.read_end;
  err_ = err.read_end;
}

Process::Process(Process&& other) noexcept
    : pid_(other.pid_),
      in_(other.in_),
      out_(other.out_),
      err_(other.err_),
      out_text_(std::move(other.out_text_)),
      err_text_(std::move(other.err_text_)),
      lines_read_(other.lines_read_) {
  other.pid_ = other.in_ = other.out_ = other.err_ = -1;
}

Process::~Process() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  for (const int fd : {in_, out_, err_})
    if (fd >= 0) ::close(fd);
}

void Process::write_line(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(in_, text.data(), text.size()) < 0) std::perror("write to the program under test");
}

void Process::read_from(int& fd, std::string& into) {
  char buffer[4096];
  const ssize_t got = ::read(fd, buffer, sizeof buffer);
  if (got > 0) {
    into.append(buffer, static_cast<std::size_t>(got));
  } else if (got == 0 || errno != EINTR) {
    ::close(fd);
    fd = -1;
  }
}

bool Process::pump(int timeout_ms) {
  if (out_ < 0 && err_ < 0) return false;
  pollfd wanted[2] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
  if (::poll(wanted, 2, timeout_ms) <= 0) return true;
  if (out_ >= 0 && wanted[0].revents != 0) read_from(out_, out_text_);
  if (err_ >= 0 && wanted[1].revents != 0) read_from(err_, err_text_);
  return true;
}

std::string Process::read_line(int limit_ms) {
  const auto until = Clock::now() + std::chrono::milliseconds(limit_ms);
  for (;;) {
    const auto end = out_text_.find('\n', lines_read_);
    if (end != std::string::npos) {
      const std::string line = out_text_.substr(lines_read_, end - lines_read_);
      lines_read_ = end + 1;
      return line;
    }
    if (Clock::now() > until || !pump(50)) return "";
  }
}

Ended Process::wait() {
  if (in_ >= 0) ::close(in_);
  in_ = -1;
  const auto until = Clock::now() + kRunLimit;
  bool late = false;
  while (pump(100) && !late) late = Clock::now() > until;
  if (late) region::print_stacks_and_kill(pid_);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  Ended ended;
  ended.exit_code = late ? 124 : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  ended.out = out_text_;
  ended.err = err_text_;
  return ended;
}

Ended run(const Start& start) { return Process(start).wait(); }

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace kiboko::shim_test
