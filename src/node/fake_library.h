// A device library whose answers a test sets. Calls come from the Watcher's thread, settings from the test's.
#pragma once

#include <condition_variable>
#include <mutex>

#include "node/device_library.h"

namespace kiboko {

class FakeLibrary final : public DeviceLibrary {
 public:
  explicit FakeLibrary(Survey survey) : answer_(std::move(survey)) {}
  ~FakeLibrary() override = default;

  Result<Survey> survey() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !hanging_; });
    return answer_;
  }
  void answer(Result<Survey> answer) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  void hang(bool hanging) {
    const std::lock_guard lock(mutex_);
    hanging_ = hanging;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool hanging_ = false;
  Result<Survey> answer_;
};

inline Survey survey_of(unsigned count, Bytes total = 80_GiB) {
  Survey survey;
  survey.driver_version = "0";
  for (unsigned i = 0; i < count; ++i) {
    Device device;
    device.uuid = {fmt::format("GPU-{}", i)};
    device.index = i;
    device.model = "Fake 80GB";
    device.total = total;
    survey.samples.push_back({device.uuid, Bytes{0}, 0U, {}, {}});
    survey.devices.push_back(std::move(device));
  }
  return survey;
}

}  // namespace kiboko
