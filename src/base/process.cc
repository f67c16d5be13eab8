#include "base/process.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/text.h"

namespace kiboko {
namespace {

constexpr std::size_t kStatLimit = 8192;
// Counted in proc(5) from 1; the first two are before the end of the command.
constexpr std::size_t kStateField = 3, kParentField = 4, kStartTimeField = 22;

Result<std::uint64_t> pid_namespace_of(std::string_view process) {
  const std::string path = fmt::format("/proc/{}/ns/pid", process);
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return fail_errno(errno, "look at " + path);
  return found.st_ino;
}

}  // namespace

// "PID (command) STATE PPID …": the command may hold spaces, parentheses and line breaks, so it ends at the last ')'.
Result<ProcessStat> parse_process_stat(std::string_view text) {
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return fail(Errc::Invalid, "process status without a command in parentheses");
  const auto fields = split(trim(text.substr(close + 1)), ' ');
  const auto field = [&](std::size_t number) { return fields[number - kStateField]; };
  if (fields.size() <= kStartTimeField - kStateField || field(kStateField).size() != 1)
    return fail(Errc::Invalid, "process status with only {} fields", fields.size() + 2);
  ProcessStat stat;
  stat.pid = TRY(parse_integer<pid_t>(trim(text.substr(0, open))));
  stat.command = text.substr(open + 1, close - open - 1);
  stat.state = field(kStateField)[0];
  stat.parent = TRY(parse_integer<pid_t>(field(kParentField)));
  stat.start_time = TRY(parse_integer<std::uint64_t>(field(kStartTimeField)));
  return stat;
}

Result<ProcessStat> process_stat(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/stat", pid);
  // A process that ends between open and read gives ESRCH, which is NotFound as well.
  const std::string text = TRY(read_file(path, kStatLimit));
  return parse_process_stat(text).map_error(about("{}", path));
}

Result<std::uint64_t> own_pid_namespace() { return pid_namespace_of("self"); }

Result<ProcessId> identify_process(pid_t pid) {
  if (pid <= 0) return fail(Errc::Invalid, "{} is not a process id", pid);
  const ProcessStat stat = TRY(process_stat(pid));
  if (stat.ended()) return fail(Errc::NotFound, "process {} has ended", pid);
  return ProcessId{pid, stat.start_time, TRY(own_pid_namespace())};
}

Result<ProcessId> identify_from_inside(pid_t pid) {
  const ProcessStat stat = TRY(process_stat(pid));
  const std::string status = TRY(read_file(fmt::format("/proc/{}/status", pid), kStatLimit));
  // "NSpid:\t4711\t12\t1": from the outermost namespace to its own.
  const std::size_t line = status.find("\nNSpid:");
  if (line == std::string::npos) return fail(Errc::Unavailable, "the kernel does not say what pid {} is inside", pid);
  const std::string_view pids = trim(std::string_view(status).substr(line + 7, status.find('\n', line + 1) - line - 7));
  const auto inside = TRY(parse_integer<pid_t>(pids.substr(pids.rfind('\t') + 1)));
  return ProcessId{inside, stat.start_time, TRY(pid_namespace_of(std::to_string(pid)))};
}

Result<ProcessId> identify_self() { return identify_process(::getpid()); }

Liveness liveness(const ProcessId& process) {
  if (process.pid <= 0) return Liveness::Gone;
  const Result<std::uint64_t> ours = own_pid_namespace();
  if (process.pid_namespace != 0 && (!ours || *ours != process.pid_namespace)) return Liveness::Unknown;
  // ESRCH is the one certain no. EPERM is another user's process: it exists.
  if (::kill(process.pid, 0) != 0 && errno == ESRCH) return Liveness::Gone;
  const Result<ProcessStat> stat = process_stat(process.pid);
  if (!stat) {
    // Either it ended just now, or /proc is mounted with hidepid and shows only our own processes.
    return ::kill(process.pid, 0) != 0 && errno == ESRCH ? Liveness::Gone : Liveness::Unknown;
  }
  return stat->start_time == process.start_time && !stat->ended() ? Liveness::Alive : Liveness::Gone;
}

Result<UniqueFd> open_pidfd(const ProcessId& process) {
  UniqueFd fd{static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0))};
  if (!fd) return fail_errno(errno, fmt::format("open process {}", process.pid));
  // The descriptor now pins whoever has the pid: if that is our process, it is the right one for good.
  switch (liveness(process)) {
    case Liveness::Alive:
      return fd;
    case Liveness::Gone:
      return fail(Errc::NotFound, "process {} has ended", process.pid);
    default:
      return fail(Errc::Unavailable, "process {} cannot be told apart from a later one", process.pid);
  }
}

Result<void> signal_pidfd(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) != 0)
    return fail_errno(errno, fmt::format("send signal {}", signal));
  return {};
}

Result<std::string> boot_id() {
  const std::string text = TRY(read_file("/proc/sys/kernel/random/boot_id", 128));
  return std::string(trim(text));
}

}  // namespace kiboko
