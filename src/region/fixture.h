// For tests: a region in a folder of its own, and processes that share it.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <string>
#include <utility>

#include "region/account.h"
#include "region/test_files.h"
#include "region/test_stacks.h"

namespace kiboko::region {

inline constexpr std::uint64_t kMi = 1ull << 20;
inline constexpr std::uint64_t kNonce = 77;

inline RegionSeed one_device(std::uint64_t limit = 0) {
  RegionSeed seed;
  seed.grant_id = "g-7f3a";
  seed.device_count = 1;
  seed.uuids[0] = "GPU-00000000-0000-0000-0000-000000000001";
  seed.memory_limit[0] = limit;
  seed.sm_limit[0] = 30;
  return seed;
}

// A slot of this process. Several of one process stand for several processes where threads must do.
inline Slot claim(Mapping& region) {
  Slot slot;
  PageError error;
  if (!claim_slot(region, ProcessIdentity::self(), kNonce, &slot, &error)) ADD_FAILURE() << error.text;
  return slot;
}

inline unsigned slots_in_use(const Mapping& region) {
  unsigned count = 0;
  for (const SlotIdentity& slot : region.ext().slots) count += unpack(slot.state.load()).state != SlotState::Free;
  return count;
}

inline unsigned live_bits(const Mapping& region) {
  unsigned count = 0;
  for (const auto& word : region.ext().header.live) count += static_cast<unsigned>(__builtin_popcountll(word.load()));
  return count;
}

// What any process may hold, added up without asking which slots live.
inline std::uint64_t sum_of_all_charges(const Mapping& region, unsigned device) {
  std::uint64_t sum = 0;
  for (const ChargeGroup& group : region.ext().charges)
    for (const auto& word : group.charged[device]) sum += word.load();
  return sum;
}

// Runs `body` in a forked child, which ends with its result and runs no handler of the test program.
template <class Body>
pid_t start_child(Body body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::alarm(90);  // nothing here may outlive a test
  ::_exit(body());
}

inline int wait_for(pid_t pid) {
  int status = -1;
  if (ended_within(pid, 60, &status)) return status;
  print_stacks_and_kill(pid);
  ::waitpid(pid, &status, 0);
  return status;
}
inline int exit_code_of(pid_t pid) {
  const int status = wait_for(pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

inline void sleep_ms(long ms) {
  const timespec time{ms / 1000, ms % 1000 * 1'000'000};
  ::nanosleep(&time, nullptr);
}

class RegionTest : public testing::Test {
 protected:
  void SetUp() override {
    PageError error;
    ASSERT_TRUE(region_.open(path().c_str(), one_device(), &error)) << error.text;
  }
  std::string path() const { return dir_.path("region"); }

  TempDir dir_;
  Mapping region_;
};

}  // namespace kiboko::region
