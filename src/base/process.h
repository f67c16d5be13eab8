// Who a process is. A pid alone is reused within hours; with the start time, the pid namespace it counts in and the
// boot it happened in, it names one process for ever.
//
// Stateless functions over /proc and pidfds, safe from any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/result.h"

namespace kiboko {

struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_time = 0;     // clock ticks after boot: field 22 of /proc/PID/stat
  std::uint64_t pid_namespace = 0;  // inode of the namespace that `pid` was seen from; 0 = not known
  bool operator==(const ProcessId&) const = default;
};

// What /proc/PID/stat says of interest here.
struct ProcessStat {
  pid_t pid = 0;
  std::string command;
  char state = '?';
  pid_t parent = 0;
  std::uint64_t start_time = 0;
  bool ended() const { return state == 'Z' || state == 'X' || state == 'x'; }
};

Result<ProcessStat> parse_process_stat(std::string_view text);
Result<ProcessStat> process_stat(pid_t pid);

// The identity of a process that runs now, of this one, and the namespace that our pids count in.
Result<ProcessId> identify_process(pid_t pid);
Result<ProcessId> identify_self();
// The process as it sees itself: its pid in its own pid namespace, a container's for example, and that namespace.
// Forbidden without the right to inspect it.
Result<ProcessId> identify_from_inside(pid_t pid);
Result<std::uint64_t> own_pid_namespace();

// Gone is certain: no such pid, another start time, or a zombie. Unknown: seen from another pid namespace, or /proc
// hides it from us.
enum class Liveness { Alive, Gone, Unknown };
Liveness liveness(const ProcessId& process);
// Errs to the safe side: what may still run is alive.
inline bool alive(const ProcessId& process) { return liveness(process) != Liveness::Gone; }

// A handle of exactly that process (poll for POLLIN: it has ended), checked after opening, so that a pid reused in
// between is NotFound.
Result<UniqueFd> open_pidfd(const ProcessId& process);
Result<void> signal_pidfd(int pidfd, int signal);

// Changes with each boot: start times of different boots must not be compared.
Result<std::string> boot_id();

}  // namespace kiboko
