#include "base/clock.h"

#include <gtest/gtest.h>
#include <time.h>

namespace kiboko {
namespace {

using namespace std::chrono_literals;

TEST(Clock, TheSystemClockIsTheKernelsMonotonicOne) {
  const auto kernel_ns = [] {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(time.tv_nsec);
  };
  const std::uint64_t before = kernel_ns();
  const std::uint64_t ours = SystemClock{}.now_ns();
  EXPECT_LE(before, ours);
  EXPECT_LE(ours, kernel_ns());
}

TEST(Clock, AFakeClockMovesOnlyWhenTold) {
  FakeClock clock;
  const Instant start = clock.now();
  const WallTime wall = clock.wall();
  clock.advance(1500ms);
  EXPECT_EQ(clock.now() - start, 1500ms);
  EXPECT_EQ(clock.wall() - wall, 1500ms);
}

}  // namespace
}  // namespace kiboko
