// os.h. Raw calls for one more reason: open, read, close and nanosleep of the C library are cancellation points, and a
// thread of the program must not end in the middle of a hook. The kernel's struct stat is glibc's on the 64-bit
// machines we build for, so a raw fstat may fill it.
#include "region/os.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

#include "region/step.h"

#ifdef KIBOKO_STEP_POINTS
void (*kiboko::region::step_point)(const char* name) = nullptr;
void (*kiboko::region::step_wait)() = nullptr;
std::uint64_t (*kiboko::region::step_clock)() = nullptr;
#endif

namespace kiboko::region::os {
namespace {

constexpr int kGetOfdLock = 36, kSetOfdLock = 37;  // F_OFD_…; not in every header we may be built with

struct flock lock_of(short type, Range range) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.offset);
  lock.l_len = static_cast<off_t>(range.bytes);
  return lock;
}

// Another open file description of the file behind `fd`; works in a chroot and for an unlinked file. -1 without /proc.
int open_again(int fd) {
  char path[32] = "/proc/self/fd/";
  char digits[10];
  unsigned count = 0;
  for (unsigned number = static_cast<unsigned>(fd); count == 0 || number != 0; number /= 10)
    digits[count++] = static_cast<char>('0' + number % 10);
  char* end = path + 14;
  while (count != 0) *end++ = digits[--count];
  return open_file(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
}

}  // namespace

bool file_status(int fd, struct stat* out) { return ::syscall(SYS_fstat, fd, out) == 0; }

int open_file(const char* path, int flags, std::uint32_t mode) {
  long fd;
  do fd = ::syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  while (fd < 0 && errno == EINTR);
  return static_cast<int>(fd);
}

void close_file(int fd) { ::syscall(SYS_close, fd); }

std::int64_t read_file(const char* path, char* buffer, std::size_t size) {
  const int fd = open_file(path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return -1;
  std::int64_t got;
  do got = ::syscall(SYS_read, fd, buffer, size - 1);
  while (got < 0 && errno == EINTR);
  const int error = errno;
  close_file(fd);
  errno = error;
  buffer[got < 0 ? 0 : got] = '\0';
  return got;
}

std::uint64_t now_ns() {
#ifdef KIBOKO_STEP_POINTS
  if (step_clock != nullptr) return step_clock();
#endif
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

void sleep_ns(std::uint64_t ns) {
  if (waits_otherwise()) return;
  timespec time = {};
  time.tv_sec = static_cast<time_t>(ns / 1'000'000'000u);
  time.tv_nsec = static_cast<long>(ns % 1'000'000'000u);
  ::syscall(SYS_nanosleep, &time, nullptr);
}

void pause_cpu() {
  if (waits_otherwise()) return;
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

void yield_cpu() {
  if (!waits_otherwise()) ::sched_yield();
}

std::uint64_t random_word() {
  std::uint64_t word = 0;
  if (::syscall(SYS_getrandom, &word, sizeof word, 1u /* GRND_NONBLOCK */) == sizeof word && word != 0) return word;
  word = now_ns() ^ static_cast<std::uint64_t>(::getpid()) << 40;  // old kernel, early boot: unique is enough
  word *= 0x9e3779b97f4a7c15u;
  return word != 0 ? word : 1;
}

bool try_lock(int fd, Range range) {
  struct flock lock = lock_of(F_WRLCK, range);
  return ::syscall(SYS_fcntl, fd, kSetOfdLock, &lock) == 0;
}

void unlock(int fd, Range range) {
  struct flock lock = lock_of(F_UNLCK, range);
  ::syscall(SYS_fcntl, fd, kSetOfdLock, &lock);
}

LockState lock_state(int fd, Range range) {
  const int again = open_again(fd);
  if (again < 0) return LockState::Unknown;
  struct flock lock = lock_of(F_WRLCK, range);
  const bool known = ::syscall(SYS_fcntl, again, kGetOfdLock, &lock) == 0;
  close_file(again);
  if (!known) return LockState::Unknown;
  return lock.l_type == F_UNLCK ? LockState::Free : LockState::Held;
}

void futex_wait(const std::atomic<std::uint32_t>* word, std::uint32_t expected, std::uint64_t timeout_ns) {
  if (waits_otherwise()) return;
  timespec timeout = {};
  timeout.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000u);
  timeout.tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000u);
  ::syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, nullptr, 0);  // not private: processes share the word
}

void futex_wake(const std::atomic<std::uint32_t>* word, int count) {
  ::syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

// Not strerror: it may translate, and translation may allocate.
const char* error_text(int error) {
  static constexpr struct {
    int error;
    const char* text;
  } kTexts[] = {
      {ENOENT, "No such file or directory"},
      {EACCES, "Permission denied"},
      {EPERM, "Operation not permitted"},
      {ELOOP, "It is a symbolic link"},
      {ENOTDIR, "Not a directory"},
      {EISDIR, "Is a directory"},
      {ENOSPC, "No space left on device"},
      {EDQUOT, "Disk quota exceeded"},
      {EROFS, "Read-only file system"},
      {EMFILE, "Too many open files in this process"},
      {ENFILE, "Too many open files in the system"},
      {ENOMEM, "Out of memory"},
      {ENAMETOOLONG, "File name too long"},
      {EFBIG, "File too large"},
      {EIO, "Input/output error"},
      {ENXIO, "No such device or address"},
      {ENODEV, "The file cannot be mapped"},
      {ENOLCK, "No locks available"},
      {EAGAIN, "Resource temporarily unavailable"},
      {ETXTBSY, "Text file busy"},
  };
  for (const auto& entry : kTexts)
    if (entry.error == error) return entry.text;
  return "Unexpected system error";
}

}  // namespace kiboko::region::os
