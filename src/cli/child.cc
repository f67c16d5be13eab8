#include "cli/child.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"

namespace kiboko::cli {
namespace {

StartError start_error(const std::string& name, int error) {
  if (error == ENOENT) return {kNotFound, fmt::format("{}: no such program", name)};
  if (error == ENOTDIR) return {kNotFound, fmt::format("{}: part of the path is not a directory", name)};
  if (error == EACCES) return {kNotExecutable, fmt::format("{}: not executable by you", name)};
  return {kNotExecutable, fmt::format("{}: cannot be executed: {}", name, std::strerror(error))};
}

// 0, or the errno that exec would give.
int executable(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return errno;
  if (!S_ISREG(found.st_mode)) return EACCES;
  return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));  // exec only reads them
  result.push_back(nullptr);
  return result;
}

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "make a pipe");
  return Pipe{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

// A script without "#!" is ENOEXEC for the kernel; shells and execvp run it with /bin/sh, and so do we.
void exec_script(const std::vector<char*>& arguments, char* path, char* const* environment) {
  std::vector<char*> with_shell = {const_cast<char*>("/bin/sh"), path};
  with_shell.insert(with_shell.end(), arguments.begin() + 1, arguments.end());
  ::execve(with_shell[0], with_shell.data(), environment);
}

}  // namespace

tl::expected<std::string, StartError> find_program(const std::string& name) {
  if (name.empty()) return tl::unexpected(StartError{kNotFound, "the program's name is empty"});
  if (name.find('/') != std::string::npos) {
    if (const int error = executable(name)) return tl::unexpected(start_error(name, error));
    return name;
  }
  int worst = ENOENT;
  const std::string path = variable("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
  for (const std::string_view part : split(path, ':')) {
    const std::string candidate = std::string(part.empty() ? "." : part) + "/" + name;
    const int error = executable(candidate);
    if (error == 0) return candidate;
    if (error == EACCES) worst = EACCES;
  }
  return tl::unexpected(start_error(name, worst));
}

Result<StoppedChild> StoppedChild::start(const Program& program, const Signals& signals, const Terminal& terminal) {
  // All that needs memory is made before the fork.
  const std::vector<char*> arguments = pointers(program.arguments);
  const std::vector<char*> environment = pointers(program.environment);
  std::string path = program.path;
  Pipe go = TRY(make_pipe());
  Pipe failure = TRY(make_pipe());

  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "start a process");
  if (pid == 0) {
    if (terminal.own_group()) ::setpgid(0, 0);
    go.write.reset();
    char byte = 0;
    ssize_t got = 0;
    while ((got = ::read(go.read.get(), &byte, 1)) < 0 && errno == EINTR) continue;
    if (got != 1) ::_exit(kOwnFailure);
    signals.restore();
    ::execve(path.c_str(), arguments.data(), environment.data());
    int error = errno;
    if (error == ENOEXEC) {
      exec_script(arguments, path.data(), environment.data());
      error = errno;
    }
    [[maybe_unused]] const ssize_t told = ::write(failure.write.get(), &error, sizeof error);
    ::_exit(kOwnFailure);
  }
  if (terminal.own_group()) ::setpgid(pid, pid);  // both do it: whoever comes first
  return StoppedChild{pid, program.arguments.front(), std::move(go.write), std::move(failure.read)};
}

tl::expected<void, StartError> StoppedChild::go(const Terminal& terminal) {
  terminal.give_to(pid_);  // before it runs: it may read at once
  const char byte = 1;
  if (::write(go_.get(), &byte, 1) != 1)
    return tl::unexpected(StartError{kOwnFailure, "the process ended before it was let go"});
  go_.reset();
  int error = 0;
  ssize_t got = 0;
  while ((got = ::read(failure_.get(), &error, sizeof error)) < 0 && errno == EINTR) continue;
  failure_.reset();
  if (got != static_cast<ssize_t>(sizeof error)) return {};
  terminal.take_from(pid_);
  return tl::unexpected(start_error(path_, error));
}

}  // namespace kiboko::cli
