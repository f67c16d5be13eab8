// hami_file.h. All by pread and pwrite: looking at a hole of a mapped file in memory would give it a page.
#include "region/hami_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "region/os.h"
#include "region/slots.h"

namespace kiboko::region {
namespace {

constexpr std::uint64_t kBytes12 = sizeof(HamiRegion), kBytes11b = 2'008'984, kBytes0 = 1'197'896;
constexpr std::size_t kUuidAt = offsetof(HamiRegion, uuids), kUuidAt11b = 96;
constexpr std::size_t kTextBytes = 4096 + 128;

bool is_or_one_more(std::uint64_t size, std::uint64_t bytes) { return size == bytes || size == bytes + 1; }

bool read_at(int fd, std::size_t at, void* to, std::size_t bytes) {
  long got;
  do got = ::syscall(SYS_pread64, fd, to, bytes, static_cast<long>(at));
  while (got < 0 && errno == EINTR);
  return got == static_cast<long>(bytes);
}

template <class T>
T word_at(int fd, std::size_t at) {
  T word = 0;
  return read_at(fd, at, &word, sizeof word) ? word : 0;
}

bool uuid_at(int fd, std::size_t at) {
  char text[4] = {};
  return read_at(fd, at, text, sizeof text) &&
         (std::memcmp(text, "GPU-", sizeof text) == 0 || std::memcmp(text, "MIG-", sizeof text) == 0);
}

unsigned slots_of(int fd) {
  const auto count = word_at<std::int32_t>(fd, offsetof(HamiRegion, slot_count));
  return count < 0 || count > static_cast<std::int32_t>(kMaxSlots) ? static_cast<unsigned>(kMaxSlots)
                                                                   : static_cast<unsigned>(count);
}

std::size_t slot_at(unsigned index) { return offsetof(HamiRegion, slots) + index * sizeof(HamiSlot); }

bool is_gone(std::uint32_t pid) {
  return (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) ||
         liveness_of(pid, 0, own_pid_ns()) == Liveness::Dead;
}

// ---- /proc/<pid>/maps: "from-to rights offset major:minor inode      path", one line each

const char* after_spaces(const char* at, unsigned fields) {
  for (; fields != 0; --fields) {
    while (*at != ' ' && *at != '\0') ++at;
    while (*at == ' ') ++at;
  }
  return at;
}

// The device is not compared: below an overlay it is not what stat says.
bool is_of(const char* line, std::uint64_t inode, const char* path) {
  const char* at = after_spaces(line, 4);
  std::uint64_t number = 0;
  for (; *at >= '0' && *at <= '9'; ++at) number = number * 10 + static_cast<unsigned>(*at - '0');
  if (number == 0) return false;
  return number == inode || std::strcmp(after_spaces(at, 1), path) == 0;
}

bool any_line_is_of(int maps, std::uint64_t inode, const char* path) {
  char text[kTextBytes];
  std::size_t have = 0;
  for (;;) {
    long got;
    do got = ::syscall(SYS_read, maps, text + have, sizeof text - 1 - have);
    while (got < 0 && errno == EINTR);
    if (got < 0) return true;  // it cannot be told
    if (got == 0) return false;
    have += static_cast<std::size_t>(got);
    text[have] = '\0';
    char* line = text;
    for (char* end = std::strchr(line, '\n'); end != nullptr; end = std::strchr(line, '\n')) {
      *end = '\0';
      if (is_of(line, inode, path)) return true;
      line = end + 1;
    }
    have -= static_cast<std::size_t>(line - text);
    std::memmove(text, line, have);
    if (have == sizeof text - 1) have = 0;  // a path longer than a path can be
  }
}

bool has_mapped(std::uint32_t pid, std::uint64_t inode, const char* path) {
  char name[32] = "/proc/";
  char digits[10];
  unsigned count = 0;
  for (std::uint32_t rest = pid; count == 0 || rest != 0; rest /= 10)
    digits[count++] = static_cast<char>('0' + rest % 10);
  char* end = name + 6;
  while (count != 0) *end++ = digits[--count];
  std::memcpy(end, "/maps", 6);
  const int maps = os::open_file(name, O_RDONLY | O_CLOEXEC, 0);
  if (maps < 0) return !is_gone(pid);
  const bool found = any_line_is_of(maps, inode, path);
  os::close_file(maps);
  return found;
}

}  // namespace

HamiFile hami_file(int fd, std::uint64_t size) {
  const auto magic = word_at<std::int32_t>(fd, 0);
  if (magic == 0) return is_or_one_more(size, kBytes12) ? HamiFile::Unfinished : HamiFile::None;
  if (magic != kHamiMagic) return HamiFile::None;
  if (is_or_one_more(size, kBytes0)) return HamiFile::Version0;
  if (is_or_one_more(size, kBytes11b) || (size >= kBytes12 && uuid_at(fd, kUuidAt11b) && !uuid_at(fd, kUuidAt)))
    return HamiFile::Version11b;
  const auto major = word_at<std::uint32_t>(fd, offsetof(HamiRegion, major_version));
  const auto minor = word_at<std::uint32_t>(fd, offsetof(HamiRegion, minor_version));
  if (major != 1 || (minor != 1 && minor != 2)) return HamiFile::None;
  const bool grown =
      size >= kRegionBytes && word_at<std::uint64_t>(fd, kExtensionOffset + offsetof(ExtensionHeader, magic)) == 0;
  return grown || is_or_one_more(size, kBytes12) ? HamiFile::Version12 : HamiFile::None;
}

const char* name_of(HamiFile file) {
  switch (file) {
    case HamiFile::Version12:
      return "HAMi-core's, version 1.2";
    case HamiFile::Unfinished:
      return "one that HAMi-core did not finish";
    case HamiFile::Version11b:
      return "HAMi-core's, version 1.1b";
    case HamiFile::Version0:
      return "HAMi-core's, version 0";
    case HamiFile::None:
      break;
  }
  return "not HAMi-core's";
}

std::uint32_t process_using(int fd, const char* path) {
  struct stat status;
  if (!os::file_status(fd, &status)) return 0;
  const std::uint32_t self = static_cast<std::uint32_t>(::getpid());
  const unsigned count = slots_of(fd);
  for (unsigned i = 0; i < count; ++i) {
    const auto pid = word_at<std::int32_t>(fd, slot_at(i) + offsetof(HamiSlot, pid));
    if (pid <= 0 || static_cast<std::uint32_t>(pid) == self) continue;
    const auto process = static_cast<std::uint32_t>(pid);
    if (!is_gone(process) && has_mapped(process, status.st_ino, path)) return process;
  }
  return 0;
}

bool clear_slots(int fd) {
  static constexpr unsigned char kZeros[sizeof(HamiSlot)] = {};
  for (unsigned i = 0; i < kMaxSlots; ++i) {
    unsigned char slot[sizeof(HamiSlot)];
    if (!read_at(fd, slot_at(i), slot, sizeof slot)) return false;
    if (std::memcmp(slot, kZeros, sizeof slot) == 0) continue;
    long wrote;
    do wrote = ::syscall(SYS_pwrite64, fd, kZeros, sizeof kZeros, static_cast<long>(slot_at(i)));
    while (wrote < 0 && errno == EINTR);
    if (wrote != static_cast<long>(sizeof kZeros)) return false;
  }
  return true;
}

}  // namespace kiboko::region
