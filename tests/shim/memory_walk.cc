// Random walks through everything that can allocate.
#include "memory_walk.h"

#include <thread>

namespace memory_program {
namespace {

// walk SEED STEPS
void walk() {
  start();
  const Balance balance;
  Walk walk(static_cast<unsigned>(number(0)));
  for (unsigned long i = 0; i < number(1); ++i) balance.expect_same(walk.step(), i);
  walk.end_everything();
  balance.expect_as_before("everything was freed");
}

// within SEED STEPS LIMIT: the same walk; whatever happens, the device never gives more than the limit.
void walk_within() {
  start();
  const std::uint64_t before = driver_taken() - charged();
  Walk walk(static_cast<unsigned>(number(0)));
  for (unsigned long i = 0; i < number(1); ++i) {
    const char* what = walk.step();
    const std::uint64_t taken = driver_taken() - before;
    CHECK(taken <= number(2), "after %s (step %lu) %llu bytes are taken", what, i,
          static_cast<unsigned long long>(taken));
  }
  walk.end_everything();
}

// threads COUNT STEPS: each thread its own walk, on shared pools.
void walk_threads() {
  start();
  const Balance balance;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < number(0); ++i)
    threads.emplace_back([i] {
      CHECK_OK(cuCtxSetCurrent(first_context));
      Walk walk(100 + i, Walk::With::OtherThreads);
      for (unsigned long n = 0; n < number(1); ++n) walk.step();
      walk.end_everything();
    });
  for (std::thread& thread : threads) thread.join();
  balance.expect_as_before("all threads have ended");
}

}  // namespace

std::vector<Scenario> walks() { return {{"walk", walk}, {"within", walk_within}, {"threads", walk_threads}}; }

}  // namespace memory_program
