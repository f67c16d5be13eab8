// Forks at the worst of moments: while other threads start CUDA, look names up and ask NVML for the first time. Each
// such moment comes once in the life of a process, so every round is a process of its own.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "guest_program.h"
#include "region/test_stacks.h"

namespace guest_program {
namespace {

constexpr int kAtOnce = 8;
constexpr int kPatienceSeconds = 40;

void look_up() {
  for (const char* name :
       {"cuMemAlloc_v2", "cuMemFree_v2", "cuLaunchKernel", "cuCtxGetDevice", "nvmlDeviceGetCount_v2"})
    find(name);
}

void ask_nvml() {
  const std::uint64_t total = total_by_nvml();
  CHECK(total == number(1), "NVML shows %llu bytes", static_cast<unsigned long long>(total));
}

// The driver may refuse the child of a process that has started it; we must not be the one that does.
void start_cuda(bool may_be_refused) {
  const int result = CALL(cuInit, 0);
  CHECK(result == CUDA_SUCCESS || (may_be_refused && result == CUDA_ERROR_NOT_INITIALIZED), "cuInit answers %d",
        result);
  if (result != CUDA_SUCCESS) return;
  std::size_t bytes = 0;
  CALL(cuDeviceTotalMem_v2, &bytes, 0);
}

void expect_end(pid_t child, const char* what) {
  int status = 0;
  if (!kiboko::region::ended_within(child, kPatienceSeconds, &status)) {
    kiboko::region::print_stacks_and_kill(child);
    CHECK(false, "%s hangs", what);
  }
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s ended with status %x", what, static_cast<unsigned>(status));
}

[[noreturn]] void be_a_child() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // should it hang
  look_up();
  ask_nvml();
  start_cuda(true);
  _exit(0);
}

void spin(std::chrono::nanoseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < until) {
  }
}

[[noreturn]] void be_a_parent(unsigned long round) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::mt19937 random(static_cast<unsigned>(round));
  std::atomic<bool> go{false};
  const auto when_told = [&](void (*work)()) {
    while (!go.load()) {
    }
    work();
  };
  std::thread threads[] = {std::thread(when_told, [] { start_cuda(false); }), std::thread(when_told, ask_nvml),
                           std::thread(when_told, look_up)};
  go.store(true);
  pid_t children[kAtOnce];
  for (pid_t& child : children) {
    spin(std::chrono::nanoseconds(random() % 150'000));
    child = fork();
    if (child == 0) be_a_child();
    CHECK(child > 0, "fork failed");
  }
  for (const pid_t child : children) expect_end(child, "a child");
  for (std::thread& thread : threads) thread.join();
  _exit(0);
}

}  // namespace

// Numbers: rounds, what NVML must say that the memory is.
void fork_storm() {
  load_driver();
  for (unsigned long round = 0; round < number(0); ++round) {
    const pid_t parent = fork();
    if (parent == 0) be_a_parent(round);
    int status = 0;
    CHECK(kiboko::region::ended_within(parent, 3 * kPatienceSeconds, &status), "round %lu hangs", round);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %lu failed", round);
  }
}

}  // namespace guest_program
