#include "net/loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

namespace kiboko::net {
namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

struct Loop::Impl {
  asio::io_context context{1};  // one thread: asio may leave locks out
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(context);
};

namespace {

// Each lives in a shared_ptr that the Subscription holds; a pending operation holds only a weak one, so that no task
// runs once the subscription is gone, not even one whose completion is already queued.
struct TimerState : std::enable_shared_from_this<TimerState> {
  TimerState(asio::io_context& context, Nanoseconds delay, bool repeats, std::function<void()> call)
      : timer(context), period(delay), again(repeats), task(std::move(call)) {}
  void start() {
    timer.expires_after(period);
    timer.async_wait([weak = weak_from_this()](ErrorCode error) {
      auto self = weak.lock();
      if (!self || error) return;
      self->task();
      self.reset();  // the task may have dropped the subscription
      if (const auto still = weak.lock(); still && still->again) still->start();
    });
  }
  asio::steady_timer timer;
  Nanoseconds period;
  bool again;
  std::function<void()> task;
};

struct WatchState : std::enable_shared_from_this<WatchState> {
  WatchState(asio::io_context& context, std::function<void()> call) : descriptor(context), task(std::move(call)) {}
  WatchState(const WatchState&) = delete;
  WatchState& operator=(const WatchState&) = delete;
  ~WatchState() {
    if (descriptor.is_open()) descriptor.release();  // the caller's to close
  }
  void start() {
    descriptor.async_wait(asio::posix::descriptor_base::wait_read, [weak = weak_from_this()](ErrorCode error) {
      auto self = weak.lock();
      if (!self || error) return;
      self->task();
      self.reset();  // the task may have dropped the subscription
      if (const auto still = weak.lock()) still->start();
    });
  }
  asio::posix::stream_descriptor descriptor;
  std::function<void()> task;
};

struct SignalState : std::enable_shared_from_this<SignalState> {
  SignalState(asio::io_context& context, std::function<void(int)> call) : set(context), task(std::move(call)) {}
  void start() {
    set.async_wait([weak = weak_from_this()](ErrorCode error, int signal) {
      auto self = weak.lock();
      if (!self || error) return;
      self->task(signal);
      self.reset();
      if (const auto still = weak.lock()) still->start();
    });
  }
  asio::signal_set set;
  std::function<void(int)> task;
};

}  // namespace

Loop::Loop() : impl_(std::make_unique<Impl>()) {}
Loop::~Loop() = default;

void Loop::run() {
  impl_->context.restart();
  impl_->context.run();
}

void Loop::run_for(Nanoseconds at_most) {
  impl_->context.restart();
  impl_->context.run_for(at_most);
}

void Loop::stop() { impl_->context.stop(); }
void Loop::post(std::function<void()> task) { asio::post(impl_->context, std::move(task)); }

Subscription Loop::after(Nanoseconds delay, std::function<void()> task) {
  auto state = std::make_shared<TimerState>(impl_->context, delay, false, std::move(task));
  state->start();
  return Subscription(std::move(state));
}

Subscription Loop::every(Nanoseconds period, std::function<void()> task) {
  auto state = std::make_shared<TimerState>(impl_->context, period, true, std::move(task));
  state->start();
  return Subscription(std::move(state));
}

Result<Subscription> Loop::when_readable(int fd, std::function<void()> task) {
  auto state = std::make_shared<WatchState>(impl_->context, std::move(task));
  ErrorCode error;
  state->descriptor.assign(fd, error);
  if (error) return fail(Errc::Internal, "watch descriptor {}: {}", fd, error.message());
  state->start();
  return Subscription(std::move(state));
}

Subscription Loop::on_signals(std::initializer_list<int> signals, std::function<void(int)> task) {
  auto state = std::make_shared<SignalState>(impl_->context, std::move(task));
  for (const int signal : signals) state->set.add(signal);
  state->start();
  return Subscription(std::move(state));
}

asio::io_context& Loop::context() { return impl_->context; }

}  // namespace kiboko::net
