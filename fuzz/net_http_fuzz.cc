// What any client may send, through the same reader and router as the server, without a socket. The first byte says how
// the rest is cut into pieces: the outcome must not depend on where the network cut it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "net/health.h"
#include "net/request_reader.h"
#include "net/router.h"

namespace {

using namespace kiboko;
using net::Request;
using net::RequestReader;
using net::Response;

constexpr net::RequestLimits kLimits{512, 256};

net::Router make_router() {
  net::Router router;
  net::add_health_routes(router, [] { return Result<void>{}; });
  router.add("GET", "/api/v1/grants/{id}", [](const Request& r) {
    if (r.capture("id").empty()) std::abort();
    return net::json(200, std::string(r.parameter("wait_ms").value_or("none")));
  });
  router.add("POST", "/api/v1/grants", [](const Request& r) { return net::json(201, r.body); });
  router.add("GET", "/assets/{path...}",
             [](const Request& r) { return net::text(200, std::string(r.capture("path"))); });
  return router;
}

void check(bool holds) {
  if (!holds) std::abort();
}

// The promises that handlers rely on.
void check_request(const Request& request) {
  check(!request.path.empty() && request.path.front() == '/' && request.path.find('\0') == std::string::npos);
  check((request.path + "/").find("/../") == std::string::npos);
  check(request.body.size() <= kLimits.body_bytes);
}

struct Outcome {
  std::vector<int> answers;
  bool refused = false;
};

Outcome outcome_of(std::string_view bytes, std::size_t piece) {
  static const net::Router router = make_router();
  Outcome outcome;
  RequestReader reader(kLimits);
  std::string received;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    received += bytes.substr(at, piece);
    for (;;) {
      const RequestReader::State state = reader.feed(received);
      if (state == RequestReader::State::NeedMore) break;
      if (state == RequestReader::State::Bad) {
        check(reader.refusal().status >= 400);
        outcome.refused = true;
        return outcome;
      }
      Request request = reader.take();
      check_request(request);
      std::size_t answers = 0;
      router.dispatch(request, net::responder_to([&](const Response& response) {
                        ++answers;
                        outcome.answers.push_back(response.status);
                      }));
      check(answers == 1);
    }
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = outcome_of(bytes, bytes.size() + 1);
  const Outcome in_pieces = outcome_of(bytes, 1 + data[0] % 32U);
  // A fault in an unfinished request may be seen at once or only when more has come; what was answered is the same.
  check(whole.answers == in_pieces.answers);
  return 0;
}
