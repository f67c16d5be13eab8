// An HTTP/1.1 server on unix sockets and loopback.
//
// Owned by main(), beside the Loop it works on; everything of it happens on the loop's thread. Coroutines move the
// bytes; the Router's handlers are ordinary functions. Every bound below holds for every client.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/request_reader.h"
#include "net/router.h"

namespace kiboko::net {

class Connection;

struct ServerLimits {
  RequestLimits request;
  std::size_t connections = 256;            // beyond it: 503, then close
  std::size_t connections_per_uid = 128;    // over unix sockets; root is exempt
  std::chrono::milliseconds idle{60'000};   // between requests
  std::chrono::milliseconds read{10'000};   // from a request's first byte to its last
  std::chrono::milliseconds write{30'000};  // for one answer, or one piece of a streamed one
  std::size_t unsent_bytes = 1U << 20U;     // of a stream, before its reader counts as too slow
};

struct ListenPolicy {
  bool read_only = false;  // GET and HEAD, and routes that only read
  // Host headers that are answered; empty = any. What a browser sends after DNS rebinding is none of ours.
  std::vector<std::string> hosts;
};
// Reading only, for a browser on this machine.
ListenPolicy loopback_policy();

// What happened, for metrics: `route` is the pattern, never the path, so that there are few of them.
struct Served {
  std::string_view method;
  std::string_view route;  // "" when none matched
  int status = 0;
  Nanoseconds took{0};
};

class Server {
 public:
  Server(Loop& loop, const Router& router, ServerLimits limits = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();  // stops

  // Begins to accept at once; what arrives is answered when the loop runs.
  Result<void> add(Listener listener, ListenPolicy policy);
  void on_served(std::function<void(const Served&)> observer);
  std::size_t connections() const;

  // Closes the listeners and every connection that is not just writing its answer; pending Responders are told.
  void stop();

 private:
  friend class Connection;
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace kiboko::net
