// Who a process is and whether it still lives (declared in slots.h). A pid alone says nothing: it is used again, and
// another pid namespace has its own. A dead process whose parent has not waited for it (a zombie) holds no device
// memory and counts as dead; but a main thread that has ended while others run looks like a zombie too.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>

#include "region/os.h"
#include "region/slots.h"

namespace kiboko::region {
namespace {

struct ProcessStat {
  char state = 0;
  std::uint64_t threads = 0;
  std::uint64_t start_time = 0;
};

constexpr unsigned kStateField = 3, kThreadsField = 20, kStartField = 22;

std::uint64_t number_at(const char* text) {
  std::uint64_t number = 0;
  for (; *text >= '0' && *text <= '9'; ++text) number = number * 10 + static_cast<unsigned>(*text - '0');
  return number;
}

// Fields are counted from the last ')', for the name in between may hold anything.
bool parse_stat(const char* text, ProcessStat* out) {
  const char* at = std::strrchr(text, ')');
  if (at == nullptr) return false;
  for (unsigned field = kStateField; field <= kStartField; ++field) {
    at = std::strchr(at, ' ');
    if (at == nullptr) return false;
    ++at;
    if (field == kStateField) out->state = *at;
    if (field == kThreadsField) out->threads = number_at(at);
    if (field == kStartField) out->start_time = number_at(at);
  }
  return true;
}

bool read_stat(std::uint32_t pid, ProcessStat* out) {
  char path[32] = "/proc/";
  char digits[10];
  unsigned count = 0;
  do digits[count++] = static_cast<char>('0' + pid % 10);
  while ((pid /= 10) != 0);
  char* end = path + 6;
  while (count != 0) *end++ = digits[--count];
  std::memcpy(end, "/stat", 6);
  char text[1024];
  return os::read_file(path, text, sizeof text) > 0 && parse_stat(text, out);
}

// 0 when /proc does not say.
std::uint64_t read_pid_ns() {
  char link[64];
  const ssize_t size = ::readlink("/proc/self/ns/pid", link, sizeof link - 1);
  if (size <= 5 || std::memcmp(link, "pid:[", 5) != 0) return 0;
  link[size] = '\0';
  return number_at(link + 5);
}

bool is_gone(const ProcessStat& stat) {
  const bool ended = stat.state == 'Z' || stat.state == 'X' || stat.state == 'x';
  return ended && stat.threads <= 1;
}

}  // namespace

// A process never changes its pid namespace, so it is read once; a forked child, told by its pid, may have another.
std::uint64_t own_pid_ns() {
  static std::atomic<std::uint64_t> cached_ns{0};
  static std::atomic<std::int32_t> cached_pid{0};
  const std::int32_t pid = ::getpid();
  if (cached_pid.load(std::memory_order_acquire) == pid) return cached_ns.load(std::memory_order_relaxed);
  const std::uint64_t ns = read_pid_ns();
  cached_ns.store(ns, std::memory_order_relaxed);
  cached_pid.store(pid, std::memory_order_release);
  return ns;
}

ProcessIdentity ProcessIdentity::self() {
  const os::KeepErrno keep;
  ProcessIdentity self;
  self.pid = static_cast<std::uint32_t>(::getpid());
  self.pid_ns = own_pid_ns();
  ProcessStat stat;
  if (read_stat(self.pid, &stat)) self.start_time = stat.start_time;
  return self;
}

Liveness liveness_of(std::uint32_t pid, std::uint64_t start_time, std::uint64_t pid_ns) {
  const os::KeepErrno keep;
  const std::uint64_t ours = own_pid_ns();
  if (pid == 0 || ours == 0 || pid_ns != ours) return Liveness::Unknown;
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return Liveness::Dead;
  ProcessStat stat;
  if (!read_stat(pid, &stat)) return Liveness::Unknown;  // hidden from us, or gone this instant: asked again later
  if (is_gone(stat)) return Liveness::Dead;
  if (start_time == 0) return Liveness::Alive;  // nothing to compare with
  return stat.start_time == start_time ? Liveness::Alive : Liveness::Dead;
}

}  // namespace kiboko::region
