#include "net/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "base/file.h"

namespace kiboko::net {
namespace {

using namespace std::chrono_literals;

class LoopTest : public testing::Test {
 protected:
  // Runs until stop(), or gives up.
  void run() { loop_.run_for(60s); }
  Loop loop_;
};

TEST_F(LoopTest, ATaskFromAnotherThreadRunsHere) {
  std::thread::id ran;
  std::jthread other([&] {
    loop_.post([&] {
      ran = std::this_thread::get_id();
      loop_.stop();
    });
  });
  run();
  EXPECT_EQ(ran, std::this_thread::get_id());
}

TEST_F(LoopTest, ATimerRunsOnceAndAPeriodRepeats) {
  int once = 0, often = 0;
  const auto first = loop_.after(1ms, [&] { ++once; });
  const auto second = loop_.every(1ms, [&] {
    if (++often == 3) loop_.stop();
  });
  run();
  EXPECT_EQ(once, 1);
  EXPECT_EQ(often, 3);
}

TEST_F(LoopTest, ATimerWhoseHandleIsGoneDoesNotRun) {
  bool ran = false;
  auto gone = loop_.after(1ms, [&] { ran = true; });
  gone.reset();
  const auto end = loop_.after(20ms, [&] { loop_.stop(); });
  run();
  EXPECT_FALSE(ran);
}

TEST_F(LoopTest, ATaskMayEndItsOwnPeriod) {
  int ran = 0;
  Subscription self = loop_.every(1ms, [&] {
    ++ran;
    self.reset();
  });
  const auto end = loop_.after(20ms, [&] { loop_.stop(); });
  run();
  EXPECT_EQ(ran, 1);
}

TEST_F(LoopTest, AReadableDescriptorIsReportedUntilTheHandleGoes) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader{ends[0]}, writer{ends[1]};
  int seen = 0;
  Subscription watch = loop_
                           .when_readable(reader.get(),
                                          [&] {
                                            char byte = 0;
                                            EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
                                            if (++seen == 2) loop_.stop();
                                          })
                           .value();
  EXPECT_EQ(::write(writer.get(), "ab", 2), 2);
  run();
  EXPECT_EQ(seen, 2);
  watch.reset();
  EXPECT_EQ(::fcntl(reader.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);  // still open
}

TEST_F(LoopTest, ASignalArrivesAsATask) {
  int got = 0;
  const auto handler = loop_.on_signals({SIGUSR1, SIGUSR2}, [&](int signal) {
    got = signal;
    loop_.stop();
  });
  ::kill(::getpid(), SIGUSR2);
  run();
  EXPECT_EQ(got, SIGUSR2);
}

}  // namespace
}  // namespace kiboko::net
