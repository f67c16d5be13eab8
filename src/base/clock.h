// Where time comes from. main() makes one SystemClock and hands it to each part; tests hand in a FakeClock.
//
// Both may be read from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace kiboko {

using Nanoseconds = std::chrono::nanoseconds;
// CLOCK_MONOTONIC: the clock that processes of one host share (grant page heartbeat, simulated device).
using Instant = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() const = 0;
  virtual WallTime wall() const = 0;
  std::uint64_t now_ns() const { return static_cast<std::uint64_t>(Nanoseconds(now().time_since_epoch()).count()); }
};

class SystemClock final : public Clock {
 public:
  Instant now() const override { return std::chrono::steady_clock::now(); }
  WallTime wall() const override { return std::chrono::system_clock::now(); }
};

// Stands still until told otherwise. Starts well after zero, so that "a minute ago" is a valid time.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(WallTime start = WallTime{std::chrono::seconds{1'700'000'000}}) : wall_start_(start) {}
  Instant now() const override { return Instant{kMonotonicStart + Nanoseconds{passed_ns_.load()}}; }
  WallTime wall() const override {
    return wall_start_ + std::chrono::duration_cast<WallTime::duration>(Nanoseconds{passed_ns_.load()});
  }
  void advance(Nanoseconds by) { passed_ns_ += by.count(); }

 private:
  static constexpr std::chrono::hours kMonotonicStart{24};
  const WallTime wall_start_;
  std::atomic<std::int64_t> passed_ns_{0};
};

}  // namespace kiboko
