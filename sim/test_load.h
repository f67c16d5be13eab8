// Known work on simulated devices, for tests: a set of its own per test, and channels that are busy for a stated time.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "device.h"
#include "nvml_state.h"

namespace sim::test {

inline void sleep_ms(int milliseconds) { usleep(static_cast<useconds_t>(milliseconds) * 1000); }

// Polls for at most a minute.
template <class Condition>
bool eventually(Condition&& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    sleep_ms(10);
  }
  return false;
}

// The environment and the device set of one test.
class DeviceSet : public ::testing::Test {
 protected:
  void SetUp() override { use("2xH100-80GB,1xRTX-4090-24GB"); }
  void TearDown() override { remove_files(); }

  void use(const char* devices) {
    static int count = 0;
    remove_files();
    name_ = "test-" + std::to_string(getpid()) + "-" + std::to_string(++count);
    setenv("KIBOKO_SIM", name_.c_str(), 1);
    setenv("KIBOKO_SIM_DEVICES", devices, 1);
    for (const char* variable :
         {"KIBOKO_SIM_NVML_FAULT", "KIBOKO_SIM_NVML_PIDS", "KIBOKO_SIM_NVML_WINDOW_MS", "KIBOKO_SIM_DRIVER"}) {
      unsetenv(variable);
    }
    std::string error;
    shared_ = attach(name_, devices, error);
    ASSERT_NE(shared_, nullptr) << error;
  }

  const std::string& name() const { return name_; }
  Shared& shared() { return *shared_; }

 private:
  void remove_files() {
    if (name_.empty()) return;
    unlink(path_of(name_).c_str());
    unlink(management_path(name_).c_str());
  }

  std::string name_;
  Shared* shared_ = nullptr;
};

// One process on one device, as far as the device can tell.
class Load {
 public:
  Load(Shared& shared, int device) : shared_(shared), channel_(claim_channel(shared, device)) {
    shared_.channels[channel_].contexts = 1;
  }
  ~Load() { release_channel(shared_, channel_); }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Kernels for `ns` of device time, after everything submitted before.
  void submit(std::uint64_t ns) {
    Channel& channel = shared_.channels[channel_];
    TimeGuard guard(shared_, channel.device);
    advance(shared_, channel.device);
    const std::uint64_t begin = std::max(channel.vtime.load(), channel.work_end.load());
    ASSERT_TRUE(add_segment(channel, begin, begin + ns));
    extend_work(shared_, channel_, begin + ns);
  }
  bool is_idle() {
    const Channel& channel = shared_.channels[channel_];
    TimeGuard guard(shared_, channel.device);
    advance(shared_, channel.device);
    return channel.vtime.load() >= channel.work_end.load();
  }
  bool take(std::uint64_t bytes) { return charge(shared_, channel_, bytes); }
  int channel() const { return channel_; }

 private:
  Shared& shared_;
  int channel_;
};

}  // namespace sim::test
