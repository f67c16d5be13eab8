// What the simulated time promises: durations, order, overlap, turns, back-pressure.
//
// Durations are read from events, which are simulated time. Where a start event is recorded on an idle stream it is
// reached at once, before the host submits the kernel, so exact differences are taken between two events behind work.
#include <atomic>
#include <memory>
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
    behind_work(program, nullptr, start, [&] {
      program.run(3 * kMs);
      cuEventRecord(middle, nullptr);
      program.run(20 * kUs);
      cuEventRecord(end, nullptr);
    });
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
      behind_work(program, nullptr, start, [&] {
        cuLaunchKernel(program.other, blocks, 1, 1, 128, 1, 1, 0, nullptr, nullptr, nullptr);
        cuEventRecord(end, nullptr);
      });
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
    behind_work(program, one, start, [&] {
      cuStreamWaitEvent(two, start, 0);
      program.run(4 * kMs, one, 66 * 16);
      program.run(4 * kMs, two, 66 * 16);
      cuEventRecord(first, one);
      cuEventRecord(second, two);
    });
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
    behind_work(program, one, start, [&] {
      cuStreamWaitEvent(two, start, 0);
      program.run(4 * kMs, one, 100 * 16);
      program.run(4 * kMs, two, 100 * 16);
      cuEventRecord(first, one);
      cuEventRecord(second, two);
    });
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
    behind_work(program, one, start, [&] {
      cuStreamWaitEvent(two, start, 0);
      cuStreamWaitEvent(three, start, 0);
      program.run(4 * kMs, one, 100 * 16);
      program.run(4 * kMs, two, 100 * 16);
      program.run(1 * kMs, three, 32 * 16);
      cuEventRecord(end, three);
    });
    EXPECT_NEAR(ms_between(start, end), 1, kExact);
  });
}

TEST(Time, TheLegacyStreamWaitsForBlockingStreamsAndTheyForIt) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream blocking = new_stream(0), free_stream = new_stream();
    const CUevent start = new_event(), legacy = new_event(), after = new_event(), beside = new_event();
    behind_work(program, blocking, start, [&] {
      program.run(2 * kMs, blocking, 16);
      program.run(2 * kMs, nullptr, 16);
      cuEventRecord(legacy, nullptr);
      program.run(2 * kMs, blocking, 16);
      cuEventRecord(after, blocking);
      cuStreamWaitEvent(free_stream, start, 0);
      program.run(2 * kMs, free_stream, 16);
      cuEventRecord(beside, free_stream);
    });
    EXPECT_NEAR(ms_between(start, legacy), 4, kExact);
    EXPECT_NEAR(ms_between(start, after), 6, kExact);
    EXPECT_NEAR(ms_between(start, beside), 2, kExact);
  });
}

TEST(Time, AContextWaitsForStreamsThatAreGone) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUstream stream = new_stream();
    const std::uint64_t before = now_ns();
    program.run(30 * kMs, stream);
    EXPECT_EQ(cuStreamDestroy_v2(stream), kOk);
    EXPECT_EQ(cuCtxSynchronize(), kOk);
    EXPECT_GE(now_ns() - before, 30 * kMs);
  });
}

TEST(Time, TheLaunchBlocksWhenAStreamHoldsAThousandAndTwentyFour) {
  DeviceSet set;
  in_child([] {
    Program program;
    for (int i = 0; i < 1024; ++i) program.run(10 * kMs);
    const std::uint64_t before = now_ns();
    for (int i = 0; i < 3; ++i) program.run(10 * kMs);  // each waits for one kernel, none for all
    EXPECT_EQ(cuStreamQuery(nullptr), CUDA_ERROR_NOT_READY);
    EXPECT_LT(now_ns() - before, 9000 * kMs);
  });
}

// Keeps the device wanted without a gap: one batch is always queued behind the one being waited for.
void hog(std::uint64_t kernel_ns) {
  Program program;
  const CUevent events[] = {new_event(kEventDisableTiming), new_event(kEventDisableTiming)};
  for (unsigned batch = 0;; ++batch) {
    for (std::uint64_t queued = 0; queued < 400 * kMs; queued += kernel_ns) program.run(kernel_ns);
    cuEventRecord(events[batch % 2], nullptr);
    if (batch > 0) cuEventSynchronize(events[(batch - 1) % 2]);
  }
}

// Waits until `count` processes have been running kernels.
std::vector<ProcessUse> running(const DeviceSet& set, std::size_t count) {
  for (int i = 0; i < 10'000; ++i, sleep_ns(2 * kMs)) {
    std::vector<ProcessUse> all = processes_of(set.shared(), 0);
    std::erase_if(all, [](const ProcessUse& use) { return use.busy_ns < 20 * kMs; });
    if (all.size() == count) return all;
  }
  ADD_FAILURE() << "not running";
  return std::vector<ProcessUse>(count);
}

TEST(Turns, TwoBusyProcessesGetHalfEach) {
  DeviceSet set;
  Child one([] { hog(1 * kMs); });
  Child two([] { hog(5 * kMs); });
  const auto all = running(set, 2);
  const std::uint64_t from = now_ns();
  sleep_ns(600 * kMs);
  for (const ProcessUse& use : all) {
    const std::uint64_t busy = process_busy_ns(set.shared(), use.channel, from, from + 500 * kMs);
    EXPECT_NEAR(static_cast<double>(busy) / 500e6, 0.5, 0.02);
  }
  EXPECT_NEAR(static_cast<double>(device_busy_ns(set.shared(), 0, from, from + 500 * kMs)) / 500e6, 1, 0.02);
}

TEST(Turns, AProcessWithoutWorkYieldsAtOnce) {
  DeviceSet set;
  Child busy([] { hog(1 * kMs); });
  Child idle([] {
    Program program;
    program.run(30 * kMs);
    pause();
  });
  const auto all = running(set, 2);
  sleep_ns(100 * kMs);
  const std::uint64_t from = now_ns();
  sleep_ns(400 * kMs);
  EXPECT_GT(device_busy_ns(set.shared(), 0, from, from + 300 * kMs), 295 * kMs);
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
    const CUevent start = new_event();
    program.run(1000 * kMs, one, 16);  // long enough for the rest to be submitted, however busy the machine
    cuEventRecord(start, one);
    cuStreamWaitEvent(two, start, 0);
    program.run(10 * kMs, one, 16);
    program.run(6 * kMs, two, 16);
    cuCtxSynchronize();
  });
  EXPECT_EQ(processes_of(set.shared(), 0, true).at(0).busy_ns, 1010 * kMs);
}

TEST(Turns, AnEventIsReachedOnlyWhenTheProcessHoldsTheDevice) {
  DeviceSet set;
  Child busy([] { hog(20 * kMs); });
  running(set, 1);
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

TEST(Threads, UseTheDriverAtOnce) {
  DeviceSet set;
  in_child([] {
    Program program;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&program, t] {
        EXPECT_EQ(cuCtxSetCurrent(program.context), kOk);
        const CUstream stream = new_stream(t % 2 == 0 ? kStreamNonBlocking : 0);
        std::atomic<int> called{0};
        for (int i = 0; i < 200; ++i) {
          CUdeviceptr address = 0;
          EXPECT_EQ(cuMemAlloc_v2(&address, static_cast<std::size_t>(1000) << (i % 12)), kOk);
          EXPECT_EQ(program.run(2 * kUs, stream, 16), kOk);
          const CUevent event = new_event();
          EXPECT_EQ(cuEventRecord(event, stream), kOk);
          if (i % 10 == 0) {
            EXPECT_EQ(cuLaunchHostFunc(
                          stream, [](void* n) { ++*static_cast<std::atomic<int>*>(n); }, &called),
                      kOk);
            EXPECT_EQ(cuStreamSynchronize(stream), kOk);
            EXPECT_EQ(called, i / 10 + 1);
          }
          EXPECT_EQ(cuEventDestroy_v2(event), kOk);
          EXPECT_EQ(cuMemFree_v2(address), kOk);
        }
        EXPECT_EQ(cuStreamDestroy_v2(stream), kOk);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(cuCtxSynchronize(), kOk);
  });
  EXPECT_EQ(processes_of(set.shared(), 0, true).at(0).busy_ns > 0, true);
}

TEST(Threads, HaveDefaultStreamsOfTheirOwn) {
  DeviceSet set;
  in_child([] {
    Program program;
    const auto launch = [&](std::uint64_t ns, CUstream stream) {
      void* parameters[] = {&ns};
      return call("cuLaunchKernel_ptsz", program.spin, 16u, 1u, 1u, 1u, 1u, 1u, 0u, stream,
                  static_cast<void**>(parameters), static_cast<void**>(nullptr));
    };
    const CUevent start = new_event(), mine = new_event(), other = new_event();
    behind_work(program, nullptr, start, [&] {
      EXPECT_EQ(launch(4 * kMs, nullptr), kOk);
      EXPECT_EQ(call("cuEventRecord_ptsz", mine, CUstream{}), kOk);
      std::thread([&] {
        cuCtxSetCurrent(program.context);
        EXPECT_EQ(launch(4 * kMs, nullptr), kOk);
        EXPECT_EQ(call("cuEventRecord_ptsz", other, CUstream{}), kOk);
      }).join();
    });
    EXPECT_NEAR(ms_between(start, mine), 4, kExact);
    EXPECT_NEAR(ms_between(start, other), 4, kExact);
  });
}

TEST(Threads, TheOneThatBeganMayEnd) {
  DeviceSet set;
  in_child([&] {
    std::thread([] { Program program; }).join();
    EXPECT_EQ(memory_use(set.shared(), 0).used, (528 + 2) * kMiB) << "the process lives on";
    CUcontext context = nullptr;
    EXPECT_EQ(cuDevicePrimaryCtxRetain(&context, 0), kOk);
    EXPECT_EQ(cuCtxSetCurrent(context), kOk);
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc_v2(&address, 512), kOk);
    EXPECT_EQ(memory_use(set.shared(), 0).used, (528 + 2) * kMiB + 512);
  });
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
