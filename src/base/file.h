// Files and descriptors: bounded reads, atomic writes, directories with a mode.
//
// Stateless functions, safe from any thread. Paths are taken as given: whoever passes one has decided to trust it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace kiboko {

// Owns one file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

inline constexpr std::size_t kReadLimit = 1U << 20U;

// open(2) with O_CLOEXEC, its error naming the path.
Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode = 0600);

// The whole file. One that is longer than `limit` is an error, not a shortened text.
Result<std::string> read_file(const std::string& path, std::size_t limit = kReadLimit);
Result<std::string> read_file(int fd, std::string_view path, std::size_t limit = kReadLimit);

Result<void> write_all(int fd, std::string_view bytes, std::string_view path);

// Readers see the old text or the new one, also after a crash: a temporary file beside it, fsync, rename, fsync of the
// directory. `mode` is exact, whatever the umask.
Result<void> write_file_atomically(const std::string& path, std::string_view bytes, mode_t mode = 0644);

// As `mkdir -p`. Directories that it makes get exactly `mode`; one that is there keeps its own.
Result<void> make_directories(const std::string& path, mode_t mode = 0755);

// The part before the last slash: "." for a bare name, "/" for what lies in the root.
std::string directory_of(std::string_view path);

}  // namespace kiboko
