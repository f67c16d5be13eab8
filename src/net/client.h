// A small blocking HTTP client for the command line: one request, one connection, no thread, no loop.
//
// Stateless; callable from any thread. Costs a socket and a parser, nothing at start-up.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http.h"

namespace kiboko::net {

struct Endpoint {
  std::string socket_path;  // a unix socket, or else
  std::string host;         // a numeric address or name, without brackets
  std::uint16_t port = 0;
  std::string shown() const;  // as parse_endpoint reads it
};
// "unix:/run/kiboko/agent.sock", "/run/kiboko/agent.sock", "http://127.0.0.1:9410", "localhost:9410", "[::1]:9410"
Result<Endpoint> parse_endpoint(std::string_view text);

struct HttpResponse {
  int status = 0;
  Headers headers;
  std::string body;
  std::optional<std::string_view> header(std::string_view name) const { return find_header(headers, name); }
  bool ok() const { return status >= 200 && status < 300; }
};

struct CallOptions {
  std::chrono::milliseconds timeout{10'000};  // for the whole call; a long poll asks for more
  std::string content_type = std::string(kJson);
  Headers headers;
  std::size_t body_limit = 64U << 20U;
  // Given: the body is handed over as it comes and not kept; false ends the call early, which is no error.
  std::function<bool(std::string_view)> on_chunk;
  int interrupt_fd = -1;  // the call ends with Unavailable when this becomes readable (a signalfd, a pipe)
};

// Any status is a result. An Error means that there is no answer: Unavailable if nobody listens or the time is over.
Result<HttpResponse> request(const Endpoint& endpoint, std::string_view method, std::string_view target,
                             std::string_view body = {}, const CallOptions& options = {});

}  // namespace kiboko::net
