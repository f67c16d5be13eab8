#include "net/responder.h"

#include <utility>

#include "base/log.h"

namespace kiboko::net {
namespace {

// Collects the answer; a stream is handed over whole when it ends.
class CallbackExchange final : public Exchange {
 public:
  explicit CallbackExchange(std::function<void(Response)> done) : done_(std::move(done)) {}
  void send(Response response) override {
    if (answered_) return;
    answered_ = true;
    done_(std::move(response));
  }
  bool begin_stream(Response head) override {
    if (answered_) return false;
    answered_ = streaming_ = true;
    streamed_ = std::move(head);
    return true;
  }
  bool write(std::string_view chunk) override {
    if (streaming_) streamed_.body += chunk;
    return streaming_;
  }
  void finish() override {
    if (std::exchange(streaming_, false)) done_(std::move(streamed_));
  }
  bool answered() const override { return answered_; }
  bool gone() const override { return false; }
  void on_gone(std::function<void()>) override {}

 private:
  std::function<void(Response)> done_;
  Response streamed_;
  bool answered_ = false;
  bool streaming_ = false;
};

}  // namespace

// Shared by the copies of one Responder: its end is the end of the last copy.
struct Responder::Last {
  explicit Last(std::shared_ptr<Exchange> shared) : exchange(std::move(shared)) {}
  Last(const Last&) = delete;
  Last& operator=(const Last&) = delete;
  ~Last() {
    if (exchange->gone()) return;
    if (!exchange->answered()) {
      log::error("a request was dropped without an answer");
      exchange->send(problem(500, name(Errc::Internal), "the request was dropped without an answer"));
    }
    exchange->finish();
  }
  std::shared_ptr<Exchange> exchange;
};

Responder::Responder(std::shared_ptr<Exchange> exchange) : last_(std::make_shared<Last>(std::move(exchange))) {}

void Responder::send(Response response) const { last_->exchange->send(std::move(response)); }
bool Responder::begin_stream(Response head) const { return last_->exchange->begin_stream(std::move(head)); }
bool Responder::write(std::string_view chunk) const { return last_->exchange->write(chunk); }
void Responder::finish() const { last_->exchange->finish(); }
bool Responder::answered() const { return last_->exchange->answered(); }
bool Responder::gone() const { return last_->exchange->gone(); }
void Responder::on_gone(std::function<void()> callback) const { last_->exchange->on_gone(std::move(callback)); }

Responder responder_to(std::function<void(Response)> done) {
  return Responder(std::make_shared<CallbackExchange>(std::move(done)));
}

}  // namespace kiboko::net
