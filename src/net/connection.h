// One accepted connection: reads requests, has the router answer them, writes the answers, in order.
//
// Internal to the server. Lives as long as its coroutine runs; the loop's thread only.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>
#include <optional>
#include <string>

#include "net/server.h"

namespace kiboko::net {

using Socket = boost::asio::generic::stream_protocol::socket;

// What connections have in common, set by the server.
struct Server::Core : std::enable_shared_from_this<Server::Core> {
  Core(Loop& owner, const Router& routes, ServerLimits bounds);

  struct Listening;
  boost::asio::awaitable<void> accept_from(std::shared_ptr<Listening> listening);
  void accepted(int fd, const Listening& listening);
  void connection_ended(const Connection& connection);
  void watch_deadlines();
  void report(const Served& served) const {
    if (observer) observer(served);
  }
  std::string_view date();  // the Date header's value, made once a second
  void stop();

  Loop& loop;
  const Router& router;
  const ServerLimits limits;
  std::function<void(const Served&)> observer;
  std::vector<std::shared_ptr<Listening>> listeners;
  std::vector<Connection*> connections;  // each removes itself
  std::size_t refused = 0;               // of these, those that only get a 503
  Subscription sweep;                    // runs while there are connections
  bool stopping = false;
  std::time_t date_second = 0;
  std::string date_text;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Server::Core> core, Socket socket, Peer peer, std::shared_ptr<const ListenPolicy> policy,
             bool refusing);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  boost::asio::awaitable<void> serve();
  boost::asio::awaitable<void> say_and_close(Response last);

  const Peer& peer() const { return peer_; }
  bool refusing() const { return refusing_; }
  void check_deadline(Instant now);
  void stop();

 private:
  class Pending;  // the Exchange of the request being answered
  enum class Got { Bytes, Nothing, End };

  boost::asio::awaitable<bool> read_request();
  boost::asio::awaitable<bool> answer(Request request);
  boost::asio::awaitable<bool> write_answer(std::shared_ptr<Pending> pending, bool head_only, bool keep_alive);
  boost::asio::awaitable<bool> write_stream(std::shared_ptr<Pending> pending, bool chunked);
  boost::asio::awaitable<bool> write(std::string head, std::string_view body = {});
  boost::asio::awaitable<Got> read_some();
  boost::asio::awaitable<void> linger();

  std::optional<Response> misdirected() const;
  bool received_too_much() const;
  std::string head_of(const Response& response, bool streamed, bool keep_alive);
  void set_deadline(std::chrono::milliseconds from_now);
  void no_deadline();
  void wake();  // ends the read that waits beside a pending answer

  std::shared_ptr<Server::Core> core_;
  Socket socket_;
  Peer peer_;
  std::shared_ptr<const ListenPolicy> policy_;
  RequestReader reader_;
  std::string received_;  // what the reader has not consumed yet
  Instant deadline_ = Instant::max();
  bool expired_ = false;
  bool reading_ = false;  // a read is outstanding, and nothing else
  bool stopping_ = false;
  const bool refusing_;
};

}  // namespace kiboko::net
