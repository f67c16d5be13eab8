// The kernel calls that region needs, in the form that binds to no libc symbol newer than glibc 2.17 (fstat is a new
// symbol in 2.33, fcntl64 in 2.28, getrandom in 2.25). None of them keeps state; any thread may call them.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace kiboko::region::os {

// A hook must not change what the program sees in errno.
class KeepErrno {
 public:
  KeepErrno() : saved_(errno) {}
  ~KeepErrno() { errno = saved_; }
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;

 private:
  int saved_;
};

bool file_status(int fd, struct stat* out);
int open_file(const char* path, int flags, std::uint32_t mode);  // -1 and errno; restarted on EINTR
void close_file(int fd);
std::int64_t read_file(const char* path, char* buffer, std::size_t size);  // one read, NUL-terminated; -1 and errno

std::uint64_t now_ns();  // CLOCK_MONOTONIC
void sleep_ns(std::uint64_t ns);
void pause_cpu();
void yield_cpu();
std::uint64_t random_word();

// Exclusive locks on a range of a file that belong to the open file description, so that the kernel gives them back
// when the last process that has it is gone. False when another holds one, or (errno says which) there are none.
struct Range {
  std::size_t offset, bytes;
};
bool try_lock(int fd, Range range);
void unlock(int fd, Range range);
enum class LockState : std::uint8_t { Free, Held, Unknown };
// As somebody who has opened the file anew sees it: what this process holds itself counts as held.
LockState lock_state(int fd, Range range);

void futex_wait(const std::atomic<std::uint32_t>* word, std::uint32_t expected, std::uint64_t timeout_ns);
void futex_wake(const std::atomic<std::uint32_t>* word, int count);

const char* error_text(int error);  // "No such file or directory"; never null

}  // namespace kiboko::region::os
