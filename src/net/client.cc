#include "net/client.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/file.h"
#include "base/text.h"

namespace kiboko::net {
namespace {

namespace http = boost::beast::http;
using Parser = http::response_parser<http::string_body>;
using std::chrono::steady_clock;

constexpr std::uint32_t kHeaderLimit = 64U << 10U;
constexpr std::size_t kReadBytes = 16U << 10U;
constexpr std::size_t kShortestEndOfChunks = 5;  // what Beast's parser must see before it is asked again

// One call: its socket and the moment it must be over.
class Call {
 public:
  Call(const Endpoint& endpoint, const CallOptions& options)
      : endpoint_(endpoint), options_(options), end_(steady_clock::now() + options.timeout) {}

  Result<void> connect() { return endpoint_.socket_path.empty() ? connect_tcp() : connect_unix(); }
  // False when the server has closed its side: it may have answered before reading everything.
  Result<bool> send(std::string_view bytes);
  Result<HttpResponse> receive(bool head_only);

 private:
  Result<void> connect_unix();
  Result<void> connect_tcp();
  Result<void> connect_to(const sockaddr* address, socklen_t size);
  Result<void> wait(short events);
  Result<std::size_t> read_into(std::string& received);

  const Endpoint& endpoint_;
  const CallOptions& options_;
  const steady_clock::time_point end_;
  UniqueFd fd_;
};

Result<void> Call::wait(short events) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - steady_clock::now()).count();
    if (left <= 0)
      return fail(Errc::Unavailable, "no answer from {} within {}", endpoint_.shown(),
                  format_duration(options_.timeout));
    pollfd fds[] = {{fd_.get(), events, 0}, {options_.interrupt_fd, POLLIN, 0}};
    const int ready = ::poll(fds, 2, static_cast<int>(std::min<std::int64_t>(left, 3'600'000)));
    if (ready < 0 && errno != EINTR) return fail_errno(errno, fmt::format("wait for {}", endpoint_.shown()));
    if (ready <= 0) continue;
    if (fds[1].revents != 0) return fail(Errc::Unavailable, "interrupted while waiting for {}", endpoint_.shown());
    return {};
  }
}

Result<void> Call::connect_to(const sockaddr* address, socklen_t size) {
  fd_.reset(::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd_) return fail_errno(errno, "make a socket");
  const auto failed = [&](int error) -> Result<void> {
    if (error == ENOENT || error == ECONNREFUSED)
      return fail(Errc::Unavailable, "nobody is listening on {}", endpoint_.shown());
    return fail_errno(error, fmt::format("connect to {}", endpoint_.shown()));
  };
  int error = ::connect(fd_.get(), address, size) == 0 ? 0 : errno;
  // A unix socket with a full backlog says EAGAIN and cannot be waited for.
  while (error == EAGAIN) {
    if (steady_clock::now() >= end_) return fail(Errc::Unavailable, "{} is too busy to connect", endpoint_.shown());
    ::poll(nullptr, 0, 10);
    error = ::connect(fd_.get(), address, size) == 0 ? 0 : errno;
  }
  if (error == 0) return {};
  if (error != EINPROGRESS && error != EINTR) return failed(error);
  TRY(wait(POLLOUT));
  socklen_t length = sizeof error;
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error == 0 ? Result<void>{} : failed(error);
}

Result<void> Call::connect_unix() {
  sockaddr_un address{};
  const std::string& path = endpoint_.socket_path;
  if (path.size() >= sizeof address.sun_path)
    return fail(Errc::Invalid, "socket path '{}' is longer than {} bytes", path, sizeof address.sun_path - 1);
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

Result<void> Call::connect_tcp() {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(endpoint_.host.c_str(), std::to_string(endpoint_.port).c_str(), &hints, &found);
  if (error != 0) return fail(Errc::Unavailable, "look up {}: {}", endpoint_.host, ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  Result<void> connected = fail(Errc::Unavailable, "{} has no address", endpoint_.host);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    connected = connect_to(one->ai_addr, one->ai_addrlen);
    if (!connected) continue;
    const int on = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    break;
  }
  return connected;
}

Result<bool> Call::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      TRY(wait(POLLOUT));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return false;
    } else if (errno != EINTR) {
      return fail_errno(errno, fmt::format("send to {}", endpoint_.shown()));
    }
  }
  return true;
}

Result<std::size_t> Call::read_into(std::string& received) {
  char chunk[kReadBytes];
  for (;;) {
    const ssize_t got = ::recv(fd_.get(), chunk, sizeof chunk, 0);
    if (got >= 0) {
      received.append(chunk, static_cast<std::size_t>(got));
      return static_cast<std::size_t>(got);
    }
    if (errno == EAGAIN)
      TRY(wait(POLLIN));
    else if (errno != EINTR)
      return fail_errno(errno, fmt::format("read the answer of {}", endpoint_.shown()));
  }
}

Result<HttpResponse> Call::receive(bool head_only) {
  Parser parser;
  parser.eager(true);
  parser.skip(head_only);
  parser.header_limit(kHeaderLimit);
  if (options_.on_chunk)
    parser.body_limit(boost::none);
  else
    parser.body_limit(options_.body_limit);
  std::string received;
  bool stopped = false;
  const auto not_http = [&](const boost::beast::error_code& code) {
    return fail(Errc::Internal, "{} gave an answer that is not HTTP: {}", endpoint_.shown(), code.message());
  };
  while (!parser.is_done() && !stopped) {
    boost::beast::error_code code;
    if (TRY(read_into(received)) == 0) {
      if (!parser.got_some())
        return fail(Errc::Unavailable, "{} closed the connection without an answer", endpoint_.shown());
      parser.put_eof(code);
      if (code) return fail(Errc::Unavailable, "{} closed the connection within its answer", endpoint_.shown());
      break;
    }
    const bool in_chunks = parser.is_header_done() && parser.chunked();
    if (in_chunks && received.size() < kShortestEndOfChunks) continue;
    received.erase(0, parser.put(boost::asio::buffer(received), code));
    if (code == http::error::body_limit)
      return fail(Errc::Invalid, "the answer of {} is over {}", endpoint_.shown(), format_bytes(options_.body_limit));
    if (code && code != http::error::need_more) return not_http(code);
    if (!parser.is_done() && received.size() > kHeaderLimit) return not_http(http::error::header_limit);
    std::string& body = parser.get().body();
    if (options_.on_chunk && !body.empty()) {
      stopped = !options_.on_chunk(body);
      body.clear();
    }
  }
  auto& message = parser.get();
  HttpResponse response{static_cast<int>(message.result_int()), {}, std::move(message.body())};
  for (const auto& field : message)
    response.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  return response;
}

std::string head_of(const Endpoint& endpoint, std::string_view method, std::string_view target, std::string_view body,
                    const CallOptions& options) {
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  const std::string host = endpoint.socket_path.empty()
                               ? fmt::format("{}{}{}:{}", v6 ? "[" : "", endpoint.host, v6 ? "]" : "", endpoint.port)
                               : "localhost";
  std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", method, target, host);
  if (!body.empty()) head += fmt::format("Content-Type: {}\r\n", options.content_type);
  if (!body.empty() || (method != "GET" && method != "HEAD"))
    head += fmt::format("Content-Length: {}\r\n", body.size());
  for (const Header& header : options.headers) head += fmt::format("{}: {}\r\n", header.name, header.value);
  return head += "\r\n";
}

}  // namespace

std::string Endpoint::shown() const {
  if (!socket_path.empty()) return "unix:" + socket_path;
  return host.find(':') == std::string::npos ? fmt::format("http://{}:{}", host, port)
                                             : fmt::format("http://[{}]:{}", host, port);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  const std::string_view whole = text;
  if (text.starts_with("unix:")) text.remove_prefix(5);
  if (text.starts_with("//")) text.remove_prefix(2);
  if (text.starts_with('/')) return Endpoint{std::string(text), {}, 0};
  if (text.starts_with("http://")) text.remove_prefix(7);
  if (text.ends_with('/')) text.remove_suffix(1);
  const std::size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  const bool bad_host = host.empty() || host.find('/') != std::string_view::npos ||
                        (!bracketed && host.find(':') != std::string_view::npos);
  if (colon == std::string_view::npos || bad_host)
    return fail(Errc::Invalid, "'{}' is not an address: write unix:/PATH or http://HOST:PORT", whole);
  const auto port = TRY(parse_integer<std::uint16_t>(text.substr(colon + 1)).map_error(about("port of '{}'", whole)));
  return Endpoint{{}, std::string(host), port};
}

Result<HttpResponse> request(const Endpoint& endpoint, std::string_view method, std::string_view target,
                             std::string_view body, const CallOptions& options) {
  Call call(endpoint, options);
  TRY(call.connect());
  if (TRY(call.send(head_of(endpoint, method, target, body, options)))) TRY(call.send(body));
  return call.receive(method == "HEAD");
}

}  // namespace kiboko::net
