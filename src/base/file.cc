#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace kiboko {
namespace {

// Deletes the temporary file unless it was renamed to its place.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!kept_) ::unlink(path_.c_str());
  }
  void keep() { kept_ = true; }

 private:
  std::string path_;
  bool kept_ = false;
};

std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> serial{0};
  return fmt::format("{}.tmp.{}.{}", path, ::getpid(), serial++);
}

Result<void> sync_directory(const std::string& path) {
  const UniqueFd directory = TRY(open_file(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.get()) != 0) return fail_errno(errno, fmt::format("sync {}", path));
  return {};
}

Result<void> make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    if (::chmod(path.c_str(), mode) != 0) return fail_errno(errno, fmt::format("set the mode of {}", path));
    return {};
  }
  const int saved = errno;
  struct stat found {};
  if (::stat(path.c_str(), &found) == 0) {
    if (S_ISDIR(found.st_mode)) return {};
    return fail(Errc::Conflict, "make directory {}: a file of that name is in the way", path);
  }
  return fail_errno(saved, fmt::format("make directory {}", path));
}

}  // namespace

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd{::open(path.c_str(), flags | O_CLOEXEC, mode)};
  if (!fd) return fail_errno(errno, fmt::format("open {}", path));
  return fd;
}

Result<std::string> read_file(int fd, std::string_view path, std::size_t limit) {
  // Files in /proc and /sys claim a size of 0 or 4096: read until the end instead of asking for the size.
  std::string text;
  char chunk[4096];
  for (;;) {
    const ssize_t got = ::read(fd, chunk, sizeof chunk);
    if (got == 0) return text;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, fmt::format("read {}", path));
    if (text.size() + static_cast<std::size_t>(got) > limit)
      return fail(Errc::Invalid, "read {}: longer than {} bytes", path, limit);
    text.append(chunk, static_cast<std::size_t>(got));
  }
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  const UniqueFd fd = TRY(open_file(path, O_RDONLY));
  return read_file(fd.get(), path, limit);
}

Result<void> write_all(int fd, std::string_view bytes, std::string_view path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno(errno, fmt::format("write {}", path));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> write_file_atomically(const std::string& path, std::string_view bytes, mode_t mode) {
  const std::string temporary = temporary_name(path);
  const UniqueFd fd = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TemporaryFile guard{temporary};
  TRY(write_all(fd.get(), bytes, temporary));
  if (::fchmod(fd.get(), mode) != 0) return fail_errno(errno, fmt::format("set the mode of {}", temporary));
  if (::fsync(fd.get()) != 0) return fail_errno(errno, fmt::format("sync {}", temporary));
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail_errno(errno, fmt::format("replace {}", path));
  guard.keep();
  return sync_directory(directory_of(path));
}

Result<void> make_directories(const std::string& path, mode_t mode) {
  if (path.empty()) return fail(Errc::Invalid, "make directory: the path is empty");
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    TRY(make_directory(path.substr(0, at), mode));
  if (path.back() != '/') TRY(make_directory(path, mode));
  return {};
}

std::string directory_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

}  // namespace kiboko
