// Facts of Linux used here: a unix socket's file outlives its server, and connect() to it then says ECONNREFUSED;
// fchmod() on a socket before bind() sets the mode its file is made with, so that there is no moment when it is too
// open; flock() goes with the process, so that a lock file never has to be cleaned up (and must not be: a second server
// could lock the deleted one).
#include "net/listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/text.h"

namespace kiboko::net {
namespace {

constexpr int kBacklog = 512;

Result<sockaddr_un> unix_sockaddr(const std::string& path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(Errc::Invalid, "socket path '{}' must be 1 to {} bytes long", path, sizeof address.sun_path - 1);
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<UniqueFd> new_socket(int family) {
  UniqueFd fd{::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd) return fail_errno(errno, "make a socket");
  return fd;
}

tl::unexpected<Error> taken(const std::string& path) {
  return fail(Errc::Conflict, "another agent is listening on {}", path);
}

Result<UniqueFd> lock_for(const std::string& socket_path) {
  const std::string path = socket_path + ".lock";
  UniqueFd lock = TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return fail_errno(errno, fmt::format("lock {}", path));
  return taken(socket_path);
}

// We hold the lock, so whoever listens there without it is not one of ours; it is not to be disturbed all the same.
Result<void> remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, fmt::format("look at {}", path));
  }
  if (!S_ISSOCK(found.st_mode)) return fail(Errc::Conflict, "{} is there and is not a socket: remove it by hand", path);
  const UniqueFd probe = TRY(new_socket(AF_UNIX));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN)
    return taken(path);
  if (errno != ECONNREFUSED) return fail_errno(errno, fmt::format("see whether {} is in use", path));
  if (::unlink(path.c_str()) != 0) return fail_errno(errno, fmt::format("remove the stale socket {}", path));
  return {};
}

Result<void> start(int fd, const sockaddr* address, socklen_t size, const std::string& shown) {
  if (::bind(fd, address, size) != 0) return fail_errno(errno, fmt::format("bind {}", shown));
  return {};
}

}  // namespace

Listener::~Listener() {
  if (!fd_ || socket_path_.empty()) return;
  struct stat found {};
  if (::lstat(socket_path_.c_str(), &found) == 0 && found.st_ino == inode_) ::unlink(socket_path_.c_str());
}

Result<Listener> listen_unix(const UnixAddress& wanted) {
  const std::string& path = wanted.path;
  const sockaddr_un address = TRY(unix_sockaddr(path));
  Listener listener;
  listener.lock_ = TRY(lock_for(path));
  TRY(remove_stale(path, address));
  listener.fd_ = TRY(new_socket(AF_UNIX));
  const int fd = listener.fd_.get();
  if (::fchmod(fd, 0600) != 0) return fail_errno(errno, fmt::format("set the mode of {}", path));
  TRY(start(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address, path));

  struct stat made {};
  if (::lstat(path.c_str(), &made) != 0) return fail_errno(errno, fmt::format("look at {}", path));
  listener.socket_path_ = path;
  listener.inode_ = made.st_ino;
  if (wanted.group && ::lchown(path.c_str(), static_cast<uid_t>(-1), *wanted.group) != 0)
    return fail_errno(errno, fmt::format("give {} to group {}", path, *wanted.group));
  if (::chmod(path.c_str(), wanted.mode) != 0) return fail_errno(errno, fmt::format("set the mode of {}", path));
  if (::listen(fd, kBacklog) != 0) return fail_errno(errno, fmt::format("listen on {}", path));
  listener.address_ = "unix:" + path;
  return listener;
}

Result<Listener> listen_tcp(const std::string& host, std::uint16_t port) {
  sockaddr_storage storage{};
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  const bool is_v4 = ::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1;
  const bool is_v6 = !is_v4 && ::inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1;
  const bool loopback =
      is_v4 ? ntohl(v4->sin_addr.s_addr) >> 24U == 127 : is_v6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
  if (!loopback) return fail(Errc::Invalid, "'{}' is not a loopback address: use 127.0.0.1 or ::1", host);
  storage.ss_family = is_v4 ? AF_INET : AF_INET6;
  (is_v4 ? v4->sin_port : v6->sin6_port) = htons(port);

  Listener listener;
  listener.fd_ = TRY(new_socket(storage.ss_family));
  const int fd = listener.fd_.get();
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const std::string shown = is_v4 ? host : "[" + host + "]";
  TRY(start(fd, reinterpret_cast<const sockaddr*>(&storage), is_v4 ? sizeof *v4 : sizeof *v6,
            fmt::format("{}:{}", shown, port)));
  if (::listen(fd, kBacklog) != 0) return fail_errno(errno, fmt::format("listen on {}:{}", shown, port));
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return fail_errno(errno, "name the socket");
  listener.port_ = ntohs(is_v4 ? v4->sin_port : v6->sin6_port);
  listener.address_ = fmt::format("http://{}:{}", shown, listener.port_);
  return listener;
}

Result<gid_t> group_id(const std::string& group_name) {
  std::vector<char> buffer(64U << 10U);
  group entry{};
  group* found = nullptr;
  const int error = ::getgrnam_r(group_name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr && error != 0) return fail_errno(error, fmt::format("look up group {}", group_name));
  if (found == nullptr) return fail(Errc::NotFound, "there is no group '{}'", group_name);
  return found->gr_gid;
}

}  // namespace kiboko::net
