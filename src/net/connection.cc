// How the pieces fit. There is one coroutine per connection and never more than one operation outstanding on its
// socket. While an answer is pending the coroutine reads: the end of the stream means that the client has gone, bytes
// are the next request (pipelining) and wait their turn. Whoever completes the answer cancels that read.
// g++ 12 miscompiles `if (!co_await …) break;` in an endless loop: results get a name first, and loops a condition.
// Deadlines are fields that one timer of the server looks at, so that a request costs no timer of its own.
#include "net/connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "base/log.h"
#include "base/text.h"

namespace kiboko::net {
namespace asio = boost::asio;
using asio::awaitable;
using ErrorCode = boost::system::error_code;

namespace {

constexpr std::size_t kReadBytes = 8U << 10U;
// After the last answer we read on for a moment: closing with unread bytes would reset the connection, and the reset
// may overtake the answer.
constexpr std::chrono::milliseconds kLinger{1000};
constexpr std::size_t kLingerBytes = 4U << 20U;

auto into(ErrorCode& error) { return asio::redirect_error(asio::use_awaitable, error); }

bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

// A line break in a header would let whoever chose the value write headers of their own.
std::string header_safe(std::string_view value) {
  std::string safe(value);
  std::ranges::replace_if(
      safe, [](char c) { return c == '\r' || c == '\n' || c == '\0'; }, ' ');
  return safe;
}

}  // namespace

// Answers may outlive the connection: then `owner_` is empty and they go nowhere.
class Connection::Pending final : public Exchange {
 public:
  explicit Pending(std::weak_ptr<Connection> owner, std::size_t unsent_limit)
      : owner_(std::move(owner)), unsent_limit_(unsent_limit) {}

  void send(Response response) override {
    if (answered_) return;
    answered_ = finished_ = true;
    on_gone_ = nullptr;
    response_ = std::move(response);
    wake();
  }
  bool begin_stream(Response head) override {
    if (answered_) return false;
    answered_ = streamed_ = true;
    unsent_ = std::exchange(head.body, {});
    response_ = std::move(head);
    wake();
    return !gone_;
  }
  bool write(std::string_view chunk) override {
    if (!streamed_ || finished_ || gone_) return false;
    unsent_ += chunk;
    overflowed_ = unsent_.size() > unsent_limit_;
    wake();
    return !overflowed_;
  }
  void finish() override {
    if (!streamed_ || finished_) return;
    finished_ = true;
    on_gone_ = nullptr;
    wake();
  }
  bool answered() const override { return answered_; }
  bool gone() const override { return gone_ || owner_.expired(); }
  void on_gone(std::function<void()> callback) override {
    if (finished_ || gone_) return;
    on_gone_ = std::move(callback);
  }

  bool streamed() const { return streamed_; }
  bool finished() const { return finished_; }
  bool overflowed() const { return overflowed_; }
  const Response& response() const { return response_; }
  bool has_unsent() const { return !unsent_.empty(); }
  std::string take_unsent() { return std::exchange(unsent_, {}); }
  // The connection ends: nothing sent from now on is read by anyone.
  void leave() {
    owner_.reset();
    gone_ = true;
    if (const auto callback = std::exchange(on_gone_, nullptr)) callback();
  }

 private:
  void wake() {
    if (const auto owner = owner_.lock()) owner->wake();
  }

  std::weak_ptr<Connection> owner_;
  const std::size_t unsent_limit_;
  Response response_;
  std::string unsent_;
  std::function<void()> on_gone_;
  bool answered_ = false;
  bool streamed_ = false;
  bool finished_ = false;
  bool overflowed_ = false;
  bool gone_ = false;
};

Connection::Connection(std::shared_ptr<Server::Core> core, Socket socket, Peer peer,
                       std::shared_ptr<const ListenPolicy> policy, bool refusing)
    : core_(std::move(core)),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      policy_(std::move(policy)),
      reader_(core_->limits.request),
      refusing_(refusing) {}

Connection::~Connection() { core_->connection_ended(*this); }

void Connection::set_deadline(std::chrono::milliseconds from_now) {
  deadline_ = std::chrono::steady_clock::now() + from_now;
  expired_ = false;
}

bool Connection::received_too_much() const {
  return received_.size() > core_->limits.request.header_bytes + core_->limits.request.body_bytes;
}

void Connection::no_deadline() { deadline_ = Instant::max(); }

void Connection::check_deadline(Instant now) {
  if (now < deadline_) return;
  no_deadline();
  expired_ = true;
  ErrorCode ignored;
  socket_.cancel(ignored);
}

void Connection::stop() {
  stopping_ = true;
  wake();
}

void Connection::wake() {
  ErrorCode ignored;
  if (reading_) socket_.cancel(ignored);
}

awaitable<Connection::Got> Connection::read_some() {
  if (stopping_) co_return Got::End;
  char chunk[kReadBytes];
  ErrorCode error;
  reading_ = true;
  const std::size_t got = co_await socket_.async_read_some(asio::buffer(chunk), into(error));
  reading_ = false;
  received_.append(chunk, got);
  if (stopping_) co_return Got::End;
  if (error == asio::error::operation_aborted) co_return Got::Nothing;
  co_return error ? Got::End : Got::Bytes;
}

awaitable<bool> Connection::write(std::string head, std::string_view body) {
  set_deadline(core_->limits.write);
  ErrorCode error;
  const std::array<asio::const_buffer, 2> parts{asio::buffer(head), asio::buffer(body.data(), body.size())};
  co_await asio::async_write(socket_, parts, into(error));
  no_deadline();
  co_return !error;
}

std::string Connection::head_of(const Response& response, bool streamed, bool keep_alive) {
  std::string head =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status, reason_phrase(response.status), core_->date());
  if (!response.content_type.empty() && has_body(response.status))
    head += fmt::format("Content-Type: {}\r\nX-Content-Type-Options: nosniff\r\n", header_safe(response.content_type));
  for (const Header& header : response.headers)
    head += fmt::format("{}: {}\r\n", header_safe(header.name), header_safe(header.value));
  if (!find_header(response.headers, "Cache-Control")) head += "Cache-Control: no-store\r\n";
  if (streamed && !reader_.http_1_0()) head += "Transfer-Encoding: chunked\r\n";
  if (!streamed && has_body(response.status)) head += fmt::format("Content-Length: {}\r\n", response.body.size());
  if (!keep_alive)
    head += "Connection: close\r\n";
  else if (reader_.http_1_0())
    head += "Connection: keep-alive\r\n";
  return head += "\r\n";
}

awaitable<void> Connection::say_and_close(Response last) {
  const std::string head = head_of(last, false, false);
  const bool written = co_await write(head, last.body);
  if (written) co_await linger();
}

// True: a request is complete. False: the connection is over, and the client was told why if it should know.
awaitable<bool> Connection::read_request() {
  bool started = false;
  bool continued = false;
  set_deadline(core_->limits.idle);
  RequestReader::State state = reader_.feed(received_);
  while (state == RequestReader::State::NeedMore) {
    if (reader_.started() && !started) {
      started = true;
      set_deadline(core_->limits.read);
    }
    if (reader_.wants_continue() && !continued) {
      continued = true;
      const bool written = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
      if (!written) co_return false;
      set_deadline(core_->limits.read);
    }
    const Got got = co_await read_some();
    if (got == Got::End || (expired_ && !started)) co_return false;
    if (expired_) {
      co_await say_and_close(problem(408, "timeout", "the request did not arrive in time"));
      co_return false;
    }
    state = reader_.feed(received_);
  }
  no_deadline();
  if (state == RequestReader::State::Complete) co_return true;
  co_await say_and_close(reader_.refusal());
  co_return false;
}

std::optional<Response> Connection::misdirected() const {
  if (policy_->hosts.empty()) return std::nullopt;
  const std::string host = to_lower(host_without_port(reader_.host()));
  if (std::ranges::find(policy_->hosts, host) != policy_->hosts.end()) return std::nullopt;
  return problem(421, "bad_host", fmt::format("this address answers for {} only", join(policy_->hosts, ", ")));
}

// True: the connection can take another request.
awaitable<bool> Connection::answer(Request request) {
  const Instant start = std::chrono::steady_clock::now();
  const auto pending = std::make_shared<Pending>(weak_from_this(), core_->limits.unsent_bytes);
  const bool head_only = request.method == "HEAD";
  request.peer = peer_;
  std::string_view route;
  if (std::optional<Response> refusal = misdirected())
    pending->send(std::move(*refusal));
  else
    route = core_->router.dispatch(request, Responder(pending), policy_->read_only);

  while (!pending->answered()) {
    const Got got = co_await read_some();
    if (got == Got::End || received_too_much()) {
      pending->leave();
      co_return false;
    }
  }
  const bool keep_alive = reader_.keep_alive() && !stopping_;
  const bool written = co_await write_answer(pending, head_only, keep_alive);
  pending->leave();
  core_->report({request.method, route, pending->response().status, std::chrono::steady_clock::now() - start});
  const bool open = written && keep_alive;
  co_return open;
}

awaitable<bool> Connection::write_answer(std::shared_ptr<Pending> pending, bool head_only, bool keep_alive) {
  const Response& response = pending->response();
  const bool streamed = pending->streamed();
  // HTTP/1.0 knows no chunks: there the end of the connection is the end of the answer.
  const bool chunked = streamed && !reader_.http_1_0();
  const bool stays_open = keep_alive && (chunked || !streamed);
  const std::string head = head_of(response, streamed, stays_open);
  const bool body = !head_only && has_body(response.status);
  bool written = co_await write(head, body && !streamed ? std::string_view(response.body) : std::string_view{});
  if (written && streamed && body) written = co_await write_stream(pending, chunked);
  if (written && !stays_open) {
    co_await linger();
    written = false;
  }
  co_return written;
}

awaitable<bool> Connection::write_stream(std::shared_ptr<Pending> pending, bool chunked) {
  while (!pending->finished() || pending->has_unsent()) {
    if (pending->has_unsent()) {
      std::string piece = pending->take_unsent();
      if (chunked) piece = fmt::format("{:x}\r\n{}\r\n", piece.size(), piece);
      const bool written = co_await write({}, piece);
      if (!written || pending->overflowed()) co_return false;
    } else {
      const Got got = co_await read_some();
      if (got == Got::End || received_too_much()) co_return false;
    }
  }
  const std::string_view end = chunked ? "0\r\n\r\n" : "";
  const bool written = co_await write({}, end);
  co_return written;
}

awaitable<void> Connection::linger() {
  ErrorCode error;
  socket_.shutdown(asio::socket_base::shutdown_send, error);
  set_deadline(kLinger);
  std::size_t discarded = 0;
  while (!error && !stopping_ && !expired_ && discarded < kLingerBytes) {
    char chunk[kReadBytes];
    reading_ = true;
    discarded += co_await socket_.async_read_some(asio::buffer(chunk), into(error));
    reading_ = false;
  }
  no_deadline();
}

awaitable<void> Connection::serve() {
  bool open = true;
  while (open) {
    open = co_await read_request();
    if (open) open = co_await answer(reader_.take());
  }
}

}  // namespace kiboko::net
