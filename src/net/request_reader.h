// Bytes in, requests out: the one parser of what clients send, used by the server and by the fuzz target alike.
//
// One per connection; owned by it. The bounds hold whatever arrives: a request that breaks one becomes the answer to
// give before hanging up.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "net/http.h"

namespace kiboko::net {

struct RequestLimits {
  std::size_t header_bytes = 16U << 10U;
  std::size_t body_bytes = 1U << 20U;
};

class RequestReader {
 public:
  explicit RequestReader(RequestLimits limits);
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;
  ~RequestReader();

  enum class State {
    NeedMore,  // give more bytes
    Complete,  // take() the request; what `bytes` still holds belongs to the next one
    Bad,       // send refusal() and close
  };
  // Removes what it has read from the front of `bytes`.
  State feed(std::string& bytes);

  // After Complete; the reader is then ready for the next request.
  Request take();
  const Response& refusal() const;

  bool started() const;         // some part of a request has come
  bool wants_continue() const;  // headers say "Expect: 100-continue" and the body has yet to come
  bool keep_alive() const;      // of the last request: the client may send another
  bool http_1_0() const;        // of the last request
  // The host that the last request was meant for: of the target if it names one, else the Host header.
  const std::string& host() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiboko::net
