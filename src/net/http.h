// Requests and responses as plain values, and what every answer has in common: status codes, error bodies, targets.
//
// Values: owned by whoever holds them, usable from any thread. Nothing here knows a socket or JSON beyond the error
// body.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace kiboko::net {

struct Header {
  std::string name;
  std::string value;
  bool operator==(const Header&) const = default;
};
using Headers = std::vector<Header>;

// Names compare without regard to case; the first one counts.
std::optional<std::string_view> find_header(const Headers& headers, std::string_view name);

// Who is at the other end. Over a unix socket the kernel says so (as of connect); over TCP nobody does.
struct Peer {
  enum class Via { Unix, Tcp };
  Via via = Via::Tcp;
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  pid_t pid = 0;
  std::vector<gid_t> groups;  // supplementary groups
  std::string address = "tcp";

  bool known() const { return via == Via::Unix; }
  bool in_group(gid_t group) const;
};

struct Parameter {
  std::string name;
  std::string value;
  bool operator==(const Parameter&) const = default;
};

struct Request {
  std::string method;
  std::string path;                 // percent-decoded, begins with '/'
  std::vector<Parameter> query;     // percent-decoded, in order
  std::vector<Parameter> captures;  // what the route's {names} stood for
  Headers headers;
  std::string body;
  Peer peer;

  std::optional<std::string_view> header(std::string_view name) const { return find_header(headers, name); }
  std::optional<std::string_view> parameter(std::string_view name) const;  // of the query
  // The part of the path that `{name}` matched; empty if the route has no such part.
  std::string_view capture(std::string_view name) const;
};

inline constexpr std::string_view kJson = "application/json";
inline constexpr std::string_view kText = "text/plain; charset=utf-8";
inline constexpr std::string_view kProblem = "application/problem+json";

struct Response {
  int status = 200;
  std::string content_type = std::string(kJson);
  std::string body;
  Headers headers;
};

Response json(int status, std::string body);
Response text(int status, std::string body);

// "Not Found" for 404.
std::string_view reason_phrase(int status);

// The one place where our codes become statuses, and back (for a client).
int http_status(Errc code);
Errc errc_of_status(int status);

// The error body of RFC 9457: {type,title,status,code,detail}. `members` is more JSON to put inside, such as
// "\"refusal\":{…}".
Response problem(int status, std::string_view code, std::string_view detail, std::string_view members = {});
Response problem(const Error& error);

// What a request target says: decoded path and query, and the authority if it was in absolute form.
struct Target {
  std::string path;
  std::vector<Parameter> query;
  std::optional<std::string> authority;
};
// Refuses what no honest client sends: bad percent codes, control characters, "." and ".." as parts of the path.
Result<Target> parse_target(std::string_view target);
// "%41+b" is "A+b", or "A b" when `plus_is_space`.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space);
// The reverse, for one part of a path or one value of a query.
std::string percent_encode(std::string_view text);

// "localhost:8080" is "localhost", "[::1]:80" is "[::1]".
std::string_view host_without_port(std::string_view host);

}  // namespace kiboko::net
