// What the simulated time promises: durations, order, overlap, turns, back-pressure.
//
// Durations are read from events, which are simulated time. Where a start event is recorded on an idle stream it is
// reached at once, before the host submits the kernel, so exact differences are taken between two events behind work.
#include <string>
#include <thread>
#include <vector>

#include "test_driver.h"

namespace sim::test {
namespace {

constexpr double kExact = 1e-3;  // ms; what a float of milliseconds keeps

TEST(Time, AKernelRunsForAsLongAsItIsTold) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUevent start = new_event(), middle = new_event(), end = new_event();
    program.run(1 * kMs);
    cuEventRecord(start, nullptr);
    program.run(3 * kMs);
    cuEventRecord(middle, nullptr);
    program.run(20 * kUs);
    cuEventRecord(end, nullptr);
    EXPECT_EQ(cuEventQuery(end), CUDA_ERROR_NOT_READY);
    EXPECT_EQ(cuCtxSynchronize(), kOk);
    EXPECT_NEAR(ms_between(start, middle), 3.0, kExact);
    EXPECT_NEAR(ms_between(middle, end), 0.02, kExact);
  });
}

TEST(Time, AnOrdinaryKernelTakesTenMicrosecondsAWave) {
  DeviceSet set;
  in_child([] {
    Program program;
    const auto waves = [&](unsigned blocks) {
      const CUevent start = new_event(), end = new_event();
      program.run(1 * kMs);
      cuEventRecord(start, nullptr);
      cuLaunchKernel(program.other, blocks, 1, 1, 128, 1, 1, 0, nullptr, nullptr, nullptr);
      cuEventRecord(end, nullptr);
      cuCtxSynchronize();
      return ms_between(start, end) / 0.010;
    };
    EXPECT_NEAR(waves(1), 1, 0.1);
    EXPECT_NEAR(waves(132 * 16), 1, 0.1);
    EXPECT_NEAR(waves(132 * 16 + 1), 2, 0.1);
    EXPECT_NEAR(waves(132 * 16 * 7), 7, 0.1);
  });
}

TEST(Time, WaitingLastsAsLongAsTheKernel) {
  DeviceSet set;
  in_child([] {
    Program program;
    const std::uint64_t before = now_ns();
    program.run(30 * kMs);
    cuCtxSynchronize();
    EXPECT_GE(now_ns() - before, 30 * kMs);
  });
}

TEST(Time, StreamsOverlapWhileSmsAreFree) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream one = new_stream(), two = new_stream();
    const CUevent start = new_event(), first = new_event(), second = new_event();
    program.run(5 * kMs, one);  // everything below is submitted while this runs
    cuEventRecord(start, one);
    cuStreamWaitEvent(two, start, 0);
    program.run(4 * kMs, one, 66 * 16);
    program.run(4 * kMs, two, 66 * 16);
    cuEventRecord(first, one);
    cuEventRecord(second, two);
    cuCtxSynchronize();
    EXPECT_NEAR(ms_between(start, first), 4, kExact);
    EXPECT_NEAR(ms_between(start, second), 4, kExact);
  });
}

TEST(Time, StreamsTakeTurnsWhenTheSmsAreTaken) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream one = new_stream(), two = new_stream();
    const CUevent start = new_event(), first = new_event(), second = new_event();
    program.run(5 * kMs, one);
    cuEventRecord(start, one);
    cuStreamWaitEvent(two, start, 0);
    program.run(4 * kMs, one, 100 * 16);
    program.run(4 * kMs, two, 100 * 16);
    cuEventRecord(first, one);
    cuEventRecord(second, two);
    cuCtxSynchronize();
    EXPECT_NEAR(ms_between(start, first), 4, kExact);
    EXPECT_NEAR(ms_between(start, second), 8, kExact);
  });
}

TEST(Time, ASmallKernelFillsTheRoomBesideALargeOne) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream one = new_stream(), two = new_stream(), three = new_stream();
    const CUevent start = new_event(), end = new_event();
    program.run(5 * kMs, one);
    cuEventRecord(start, one);
    cuStreamWaitEvent(two, start, 0);
    cuStreamWaitEvent(three, start, 0);
    program.run(4 * kMs, one, 100 * 16);
    program.run(4 * kMs, two, 100 * 16);
    program.run(1 * kMs, three, 32 * 16);
    cuEventRecord(end, three);
    cuCtxSynchronize();
    EXPECT_NEAR(ms_between(start, end), 1, kExact);
  });
}

TEST(Time, TheLegacyStreamWaitsForBlockingStreamsAndTheyForIt) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream blocking = new_stream(0), free_stream = new_stream();
    const CUevent start = new_event(), legacy = new_event(), after = new_event(), beside = new_event();
    program.run(5 * kMs, blocking, 16);
    cuEventRecord(start, blocking);
    program.run(2 * kMs, blocking, 16);
    program.run(2 * kMs, nullptr, 16);
    cuEventRecord(legacy, nullptr);
    program.run(2 * kMs, blocking, 16);
    cuEventRecord(after, blocking);
    cuStreamWaitEvent(free_stream, start, 0);
    program.run(2 * kMs, free_stream, 16);
    cuEventRecord(beside, free_stream);
    cuCtxSynchronize();
    EXPECT_NEAR(ms_between(start, legacy), 4, kExact);
    EXPECT_NEAR(ms_between(start, after), 6, kExact);
    EXPECT_NEAR(ms_between(start, beside), 2, kExact);
  });
}

TEST(Time, TheLaunchBlocksWhenAStreamHoldsAThousandAndTwentyFour) {
  DeviceSet set;
  in_child([] {
    Program program;
    for (int i = 0; i < 1024; ++i) program.run(1 * kMs);
    const std::uint64_t before = now_ns();
    program.run(1 * kMs);  // waits for the first kernel, not for all
    program.run(1 * kMs);
    EXPECT_EQ(cuStreamQuery(nullptr), CUDA_ERROR_NOT_READY);
    const std::uint64_t blocked = now_ns() - before;
    EXPECT_LT(blocked, 900 * kMs);
  });
}

// Keeps the device wanted without a gap: one batch is always queued behind the one being waited for.
void hog(std::uint64_t kernel_ns, std::uint64_t for_ns) {
  Program program;
  const CUevent events[] = {new_event(kEventDisableTiming), new_event(kEventDisableTiming)};
  const std::uint64_t end = now_ns() + for_ns;
  for (unsigned batch = 0; now_ns() < end; ++batch) {
    for (std::uint64_t queued = 0; queued < 100 * kMs; queued += kernel_ns) program.run(kernel_ns);
    cuEventRecord(events[batch % 2], nullptr);
    if (batch > 0) cuEventSynchronize(events[(batch - 1) % 2]);
  }
}

TEST(Turns, TwoBusyProcessesGetHalfEach) {
  DeviceSet set;
  Child one([] { hog(1 * kMs, 1500 * kMs); });
  Child two([] { hog(5 * kMs, 1500 * kMs); });
  sleep_ns(1200 * kMs);
  const std::uint64_t now = now_ns();
  const auto all = processes_of(set.shared(), 0);
  ASSERT_EQ(all.size(), 2u);
  const auto busy = [&](int i) {
    return static_cast<double>(process_busy_ns(set.shared(), all[static_cast<std::size_t>(i)].channel, now - 600 * kMs,
                                               now - 100 * kMs)) /
           500e6;
  };
  EXPECT_NEAR(busy(0), 0.5, 0.03);
  EXPECT_NEAR(busy(1), 0.5, 0.03);
  EXPECT_NEAR(static_cast<double>(device_busy_ns(set.shared(), 0, now - 600 * kMs, now - 100 * kMs)) / 500e6, 1, 0.02);
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(two.wait(), 0);
}

TEST(Turns, AProcessWithoutWorkYieldsAtOnce) {
  DeviceSet set;
  Child busy([] { hog(1 * kMs, 800 * kMs); });
  Child idle([] {
    Program program;
    sleep_ns(700 * kMs);
  });
  sleep_ns(600 * kMs);
  const std::uint64_t now = now_ns();
  EXPECT_GT(device_busy_ns(set.shared(), 0, now - 400 * kMs, now - 100 * kMs), 280 * kMs);
  EXPECT_EQ(busy.wait(), 0);
  EXPECT_EQ(idle.wait(), 0);
}

TEST(Turns, TheBusyLogCountsKernelTimeExactly) {
  DeviceSet set;
  in_child([] {
    Program program;
    for (int i = 0; i < 100; ++i) {
      program.run(137 * kUs);
      if (i % 3 == 0) cuCtxSynchronize();
    }
    cuCtxSynchronize();
  });
  const auto all = processes_of(set.shared(), 0, true);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_FALSE(all[0].alive);
  EXPECT_EQ(all[0].busy_ns, 100 * 137 * kUs);
}

TEST(Turns, OverlappingStreamsCountOnce) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream one = new_stream(), two = new_stream();
    program.run(1 * kMs, one, 16);
    const CUevent start = new_event();
    cuEventRecord(start, one);
    cuStreamWaitEvent(two, start, 0);
    program.run(10 * kMs, one, 16);
    program.run(6 * kMs, two, 16);
    cuCtxSynchronize();
  });
  EXPECT_EQ(processes_of(set.shared(), 0, true).at(0).busy_ns, 11 * kMs);
}

TEST(Turns, AnEventIsReachedOnlyWhenTheProcessHoldsTheDevice) {
  DeviceSet set;
  Child busy([] { hog(20 * kMs, 1000 * kMs); });
  sleep_ns(300 * kMs);
  in_child([] {
    Program program;
    std::uint64_t waits = 0;
    for (int i = 0; i < 20; ++i) {
      const CUevent event = new_event();
      cuEventRecord(event, nullptr);
      const std::uint64_t before = now_ns();
      cuEventSynchronize(event);
      waits += now_ns() - before;
      sleep_ns(3 * kMs);
    }
    EXPECT_GT(waits, 2 * kMs);  // on average half a turn of the other each
  });
  EXPECT_EQ(busy.wait(), 0);
}

TEST(Deaths, AKilledProcessGivesItsMemoryAndItsTurnsBack) {
  DeviceSet set;
  Child victim([] {
    Program program;
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc_v2(&address, std::uint64_t{60} << 30), kOk);
    for (int i = 0; i < 1000; ++i) program.run(100 * kMs);
    pause();
  });
  while (memory_use(set.shared(), 0).used < std::uint64_t{60} << 30) sleep_ns(1 * kMs);
  sleep_ns(20 * kMs);
  victim.end();
  EXPECT_EQ(memory_use(set.shared(), 0).used, 0u);
  in_child([] {
    Program program;
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc_v2(&address, std::uint64_t{70} << 30), kOk);
    const std::uint64_t before = now_ns();
    program.run(10 * kMs);
    cuCtxSynchronize();
    EXPECT_LT(now_ns() - before, 5000 * kMs);
  });
}

TEST(Deaths, AProcessKilledWithALockInHandStopsNobody) {
  DeviceSet set;
  Child holder([&] {
    Program program;
    Device& device = set.shared().devices[0];
    pthread_mutex_lock(&device.time_lock);
    pthread_mutex_lock(&device.memory_lock);
    device.memory_used = 123;  // half-written
    kill(getpid(), SIGKILL);
  });
  holder.wait();
  in_child([] {
    Program program;
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc_v2(&address, 1 << 20), kOk);
    EXPECT_EQ(program.run(1 * kMs), kOk);
    EXPECT_EQ(cuCtxSynchronize(), kOk);
  });
  EXPECT_EQ(memory_use(set.shared(), 0).used, 0u);
}

TEST(Deaths, KillsAtAnyMomentLeaveTheSumsRight) {
  DeviceSet set;
  for (int round = 0; round < 30; ++round) {
    Child victim([] {
      Program program;
      for (;;) {
        CUdeviceptr a = 0, b = 0;
        cuMemAlloc_v2(&a, 4096);
        cuMemAlloc_v2(&b, 5 << 20);
        program.run(5 * kUs);
        cuMemFree_v2(a);
        cuMemFree_v2(b);
      }
    });
    sleep_ns(static_cast<std::uint64_t>(3 + round % 7) * kMs + static_cast<std::uint64_t>(round) * 37 * kUs);
    victim.end();
    EXPECT_EQ(memory_use(set.shared(), 0).used, 0u);
  }
}

TEST(Crowd, SixtyFourProcessesShareOneDevice) {
  DeviceSet set;
  {
    std::vector<std::unique_ptr<Child>> children;
    for (int i = 0; i < 64; ++i) {
      children.push_back(std::make_unique<Child>([] {
        Program program;
        CUdeviceptr address = 0;
        EXPECT_EQ(cuMemAlloc_v2(&address, 100 << 20), kOk);
        for (int k = 0; k < 20; ++k) {
          program.run(100 * kUs);
          EXPECT_EQ(cuCtxSynchronize(), kOk);
        }
      }));
    }
    for (auto& child : children) EXPECT_EQ(child->wait(), 0);
  }
  std::uint64_t busy = 0;
  for (const ProcessUse& use : processes_of(set.shared(), 0, true)) busy += use.busy_ns;
  EXPECT_EQ(busy, std::uint64_t{64} * 20 * 100 * kUs);
  EXPECT_EQ(memory_use(set.shared(), 0).used, 0u);
}

}  // namespace
}  // namespace sim::test
