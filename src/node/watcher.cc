#include "node/watcher.h"

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"

namespace kiboko {

// Outlives the Watcher when the library hangs: the abandoned thread still refers to it.
struct Watcher::Shared {
  std::shared_ptr<DeviceLibrary> library;
  const Clock& clock;
  const Nanoseconds period;

  std::mutex mutex;
  std::condition_variable changed;
  bool stop = false;
  bool finished = false;
  bool answered = false;
  std::optional<Instant> call_began;
  Instant survey_began{};
  std::shared_ptr<const Survey> survey;
  std::uint64_t serial = 0;
  std::string error;
  std::function<void()> callback;

  Shared(std::shared_ptr<DeviceLibrary> lib, const Clock& c, Nanoseconds p)
      : library(std::move(lib)), clock(c), period(p) {}

  void run() {
    std::unique_lock lock(mutex);
    while (!stop) {
      ask_once(lock);
      changed.wait_for(lock, period, [&] { return stop; });
    }
    finished = true;
    changed.notify_all();
  }

  // The lock is not held while the library works.
  void ask_once(std::unique_lock<std::mutex>& lock) {
    const Instant began = clock.now();
    call_began = began;
    lock.unlock();
    auto result = library->survey();
    lock.lock();
    call_began.reset();
    if (stop) return;
    answered = true;
    if (result) {
      survey = std::make_shared<const Survey>(std::move(*result));
      survey_began = began;
      ++serial;
      error.clear();
    } else {
      error = std::move(result.error().message);
    }
    changed.notify_all();
    const auto tell = callback;
    lock.unlock();
    if (tell) tell();
    lock.lock();
  }

  View view() const {
    const Instant now = clock.now();
    return {survey, serial, survey ? now - survey_began : Nanoseconds{0},
            call_began ? now - *call_began : Nanoseconds{0}, error};
  }
};

Watcher::Watcher(std::shared_ptr<DeviceLibrary> library, const Clock& clock, Nanoseconds period)
    : shared_(std::make_shared<Shared>(std::move(library), clock, period)) {
  // Not a jthread: one that hangs in the driver could never be joined.
  std::thread([shared = shared_] { shared->run(); }).detach();
}

Watcher::~Watcher() {
  std::unique_lock lock(shared_->mutex);
  shared_->stop = true;
  shared_->callback = nullptr;
  shared_->changed.notify_all();
  if (!shared_->changed.wait_for(lock, std::chrono::seconds(2), [&] { return shared_->finished; }))
    log::warning("the device library has not come back from its last call; it is left behind");
}

Watcher::View Watcher::latest() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->view();
}

Watcher::View Watcher::first(Nanoseconds at_most) const {
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait_for(lock, at_most, [&] { return shared_->answered; });
  return shared_->view();
}

void Watcher::on_survey(std::function<void()> callback) {
  const std::lock_guard lock(shared_->mutex);
  shared_->callback = std::move(callback);
}

}  // namespace kiboko
