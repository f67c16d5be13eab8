// The one thread that a program's state belongs to: its sockets, timers and what others hand it.
//
// main() owns it and calls run(). Only post() and stop() may be called from another thread. Timers and watches end when
// their handle is destroyed; the loop must outlive them.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>

#include "base/clock.h"
#include "base/result.h"

namespace boost::asio {
class io_context;
}

namespace kiboko::net {

// Ends a timer, a watch or a signal handler when it goes.
class Subscription {
 public:
  Subscription() = default;
  explicit Subscription(std::shared_ptr<void> state) : state_(std::move(state)) {}
  void reset() { state_.reset(); }
  explicit operator bool() const { return state_ != nullptr; }

 private:
  std::shared_ptr<void> state_;
};

class Loop {
 public:
  Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();

  void run();                         // until stop(); again afterwards if wished
  void run_for(Nanoseconds at_most);  // for tests and for a last tidy-up
  void stop();
  void post(std::function<void()> task);

  [[nodiscard]] Subscription after(Nanoseconds delay, std::function<void()> task);
  // First after one period. A late tick is not made up for: the next one is a full period later.
  [[nodiscard]] Subscription every(Nanoseconds period, std::function<void()> task);
  // Calls `task` whenever `fd` is readable (a pidfd: its process has ended). The caller keeps owning `fd` and keeps it
  // open until the subscription is gone.
  [[nodiscard]] Result<Subscription> when_readable(int fd, std::function<void()> task);
  [[nodiscard]] Subscription on_signals(std::initializer_list<int> signals, std::function<void(int)> task);

  boost::asio::io_context& context();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kiboko::net
