#include "net/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <ctime>
#include <optional>

#include "base/log.h"
#include "net/connection.h"

namespace kiboko::net {
namespace asio = boost::asio;
using asio::awaitable;
using ErrorCode = boost::system::error_code;

namespace {

constexpr int kAcceptsAtOnce = 64;
constexpr std::chrono::milliseconds kOutOfDescriptorsPause{100};
constexpr std::size_t kRefusedAtOnce = 32;  // beyond it a connection is closed without a word

// Who connected, as the kernel noted at connect(): neither can be forged, and neither follows a later setuid().
Peer peer_of(int fd, const Listener& listener) {
  Peer peer;
  peer.address = listener.is_unix() ? "unix" : "tcp";
  if (!listener.is_unix()) return peer;
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return peer;
  peer.via = Peer::Via::Unix;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;
  peer.pid = credentials.pid;
  socklen_t bytes = 0;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, nullptr, &bytes) != 0 && errno == ERANGE) {
    peer.groups.resize(bytes / sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &bytes) != 0) peer.groups.clear();
  }
  return peer;
}

std::string http_date(std::time_t time) {
  constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  tm parts{};
  ::gmtime_r(&time, &parts);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[parts.tm_wday], parts.tm_mday,
                     kMonths[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace

struct Server::Core::Listening {
  Listening(asio::io_context& context, Listener owned, ListenPolicy rules)
      : listener(std::move(owned)),
        policy(std::make_shared<const ListenPolicy>(std::move(rules))),
        descriptor(context),
        pause(context) {}
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  ~Listening() { close(); }
  // Frees the address at once; the coroutine that accepts notices when the loop runs next.
  void close() {
    ErrorCode ignored;
    descriptor.cancel(ignored);
    if (descriptor.is_open()) descriptor.release();  // the Listener's to close
    pause.cancel();
    listener.reset();
  }
  std::optional<Listener> listener;
  std::shared_ptr<const ListenPolicy> policy;
  asio::posix::stream_descriptor descriptor;
  asio::steady_timer pause;
};

ListenPolicy loopback_policy() { return {true, {"localhost", "127.0.0.1", "[::1]"}}; }

Server::Core::Core(Loop& owner, const Router& routes, ServerLimits bounds)
    : loop(owner), router(routes), limits(bounds) {}

std::string_view Server::Core::date() {
  const std::time_t now = std::time(nullptr);
  if (now != date_second || date_text.empty()) date_text = http_date(now);
  date_second = now;
  return date_text;
}

awaitable<void> Server::Core::accept_from(std::shared_ptr<Listening> listening) {
  while (!stopping) {
    ErrorCode error;
    co_await listening->descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                                              asio::redirect_error(asio::use_awaitable, error));
    if (error || stopping) break;
    int failed = 0;
    for (int i = 0; i < kAcceptsAtOnce && failed == 0 && !stopping; ++i) {
      const int fd = ::accept4(listening->listener->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0)
        accepted(fd, *listening);
      else
        failed = errno;
    }
    if (failed != EMFILE && failed != ENFILE && failed != ENOMEM && failed != ENOBUFS) continue;
    log::warning("{}: {}", listening->listener->address(), fail_errno(failed, "accept a connection").value().message);
    listening->pause.expires_after(kOutOfDescriptorsPause);
    co_await listening->pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
}

void Server::Core::accepted(int fd, const Listening& listening) {
  UniqueFd owned{fd};
  Peer peer = peer_of(fd, *listening.listener);
  const auto of_same_user = static_cast<std::size_t>(std::ranges::count_if(connections, [&](const Connection* other) {
    return peer.known() && peer.uid != 0 && other->peer().known() && other->peer().uid == peer.uid;
  }));
  const bool full = connections.size() - refused >= limits.connections;
  const bool too_many = of_same_user >= limits.connections_per_uid;
  if ((full || too_many) && refused >= kRefusedAtOnce) return;

  if (!listening.listener->is_unix()) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  const int family = listening.listener->is_unix() ? AF_UNIX : AF_INET;
  Socket socket(loop.context());
  ErrorCode error;
  socket.assign(asio::generic::stream_protocol(family, 0), fd, error);
  if (error) return;
  owned.release();
  const auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket), std::move(peer),
                                                       listening.policy, full || too_many);
  connections.push_back(connection.get());
  watch_deadlines();
  if (!full && !too_many) {
    asio::co_spawn(
        loop.context(), [connection] { return connection->serve(); }, asio::detached);
    return;
  }
  ++refused;
  Response answer = problem(503, "too_many_connections",
                            full ? fmt::format("all {} connections are in use", limits.connections)
                                 : fmt::format("user {} has {} connections open already", connection->peer().uid,
                                               limits.connections_per_uid));
  answer.headers.push_back({"Retry-After", "1"});
  asio::co_spawn(
      loop.context(), [connection, answer = std::move(answer)] { return connection->say_and_close(answer); },
      asio::detached);
}

void Server::Core::connection_ended(const Connection& connection) {
  const auto found = std::ranges::find(connections, &connection);
  if (found == connections.end()) return;
  *found = connections.back();
  connections.pop_back();
  if (connection.refusing()) --refused;
  if (connections.empty()) sweep.reset();
}

// One timer for all deadlines, fine enough for the shortest of them.
void Server::Core::watch_deadlines() {
  if (sweep) return;
  const auto shortest = std::min({limits.idle, limits.read, limits.write, std::chrono::milliseconds{1000}});
  sweep = loop.every(std::max(shortest / 4, std::chrono::milliseconds{1}), [this] {
    const Instant now = std::chrono::steady_clock::now();
    for (Connection* connection : connections) connection->check_deadline(now);
  });
}

void Server::Core::stop() {
  stopping = true;
  for (const auto& listening : listeners) {
    listening->close();
  }
  listeners.clear();
  for (Connection* connection : connections) connection->stop();
}

Server::Server(Loop& loop, const Router& router, ServerLimits limits)
    : core_(std::make_shared<Core>(loop, router, limits)) {}

Server::~Server() { stop(); }

Result<void> Server::add(Listener listener, ListenPolicy policy) {
  const int fd = listener.fd();
  const std::string address = listener.address();
  auto listening = std::make_shared<Core::Listening>(core_->loop.context(), std::move(listener), std::move(policy));
  ErrorCode error;
  listening->descriptor.assign(fd, error);
  if (error) return fail(Errc::Internal, "listen on {}: {}", address, error.message());
  core_->listeners.push_back(listening);
  asio::co_spawn(
      core_->loop.context(), [core = core_, listening] { return core->accept_from(listening); }, asio::detached);
  log::info("listening on {}", address);
  return {};
}

void Server::on_served(std::function<void(const Served&)> observer) { core_->observer = std::move(observer); }
std::size_t Server::connections() const { return core_->connections.size(); }
void Server::stop() { core_->stop(); }

}  // namespace kiboko::net
