// The right to answer one request, now or later.
//
// A handler may copy and keep it; all use is on the loop's thread. It outlives its connection and the server safely:
// what is sent to a client that has gone is dropped. If the last copy goes without an answer, the client gets a 500.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "net/http.h"

namespace kiboko::net {

// What the server and a Responder share about one request.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void send(Response response) = 0;
  virtual bool begin_stream(Response head) = 0;
  virtual bool write(std::string_view chunk) = 0;
  virtual void finish() = 0;
  virtual bool answered() const = 0;
  virtual bool gone() const = 0;
  virtual void on_gone(std::function<void()> callback) = 0;
};

class Responder {
 public:
  explicit Responder(std::shared_ptr<Exchange> exchange);

  // The first answer counts; later ones are ignored.
  void send(Response response) const;
  void send(const Error& error) const { send(problem(error)); }

  // Answers in pieces (server-sent events, logs): the head's body is the first piece. write() is false when the client
  // has gone or reads too slowly to keep up; finish() ends the answer.
  bool begin_stream(Response head) const;
  bool write(std::string_view chunk) const;
  void finish() const;

  bool answered() const;
  // True once nobody is there to read the answer.
  bool gone() const;
  // Called once if the client goes away, or the server stops, before the answer is complete. Not called after it.
  void on_gone(std::function<void()> callback) const;

 private:
  struct Last;
  std::shared_ptr<Last> last_;
};

// A Responder that calls `done` with the answer: for tests and for handlers that answer through another.
Responder responder_to(std::function<void(Response)> done);

}  // namespace kiboko::net
