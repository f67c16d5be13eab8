// For tests: what must hold for the living after a process of their grant was killed, wherever it was.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "region/fixture.h"
#include "region/grant_page.h"

namespace kiboko::region {

inline constexpr AccountView kLimit{100 * kMi, 0};

// The page of a grant of one device, shared with the children that are killed; the caller unmaps it.
inline GrantPage& shared_page(const GrantSettings& settings) {
  void* shared = ::mmap(nullptr, kGrantPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) std::abort();
  GrantPage& page = *new (shared) GrantPage();
  std::strcpy(page.identity.region_path, "/region");
  page.identity.device_count = 1;
  page.identity.devices[0].uuid[0] = 'G';
  seal_new_page(page, settings);
  return page;
}

class Killed : public RegionTest {
 protected:
  void SetUp() override {
    RegionTest::SetUp();
    own_ = claim(region_);
    Account(region_, own_).add(0, 10 * kMi, ChargeKind::Data);
  }
  // A process that died with a charge; as a zombie, only a thorough look finds it dead.
  pid_t leave_corpse(bool zombie) {
    const pid_t pid = start_child([&] {
      Account(region_, claim(region_)).add(0, 20 * kMi, ChargeKind::Context);
      return 0;
    });
    siginfo_t info;
    ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
    if (!zombie) wait_for(pid);
    return pid;
  }
  // Everything that any process may rely on, seen by one that lives.
  void expect_sound() {
    Account account(region_, own_);
    EXPECT_TRUE(account.charge(0, 90 * kMi, ChargeKind::Data, kLimit)) << "the dead still hold room";
    EXPECT_FALSE(account.charge(0, 1, ChargeKind::Data, kLimit)) << "over the limit";
    account.refund(0, 90 * kMi, ChargeKind::Data);
    reap_dead_slots(region_);
    EXPECT_EQ(account.total(0), 10 * kMi);
    EXPECT_EQ(sum_of_all_charges(region_, 0), 10 * kMi);
    EXPECT_EQ(slots_in_use(region_), 1u);
    EXPECT_EQ(live_bits(region_), 1u);
    EXPECT_EQ(region_.ext().devices[0].memory_lock, 0u);
    for (unsigned i = 0; i < 4; ++i) {
      if (i == own_.index) continue;
      EXPECT_EQ(region_.hami().slots[i].pid, 0);
      EXPECT_EQ(region_.hami().slots[i].status, 0);
      EXPECT_EQ(region_.hami().slots[i].used[0].total, 0u);
      EXPECT_EQ(region_.ext().slots[i].start_time, 0u);
    }
    EXPECT_EQ(region_.hami().slots[own_.index].used[0].total, 10 * kMi);
  }
  Slot own_;
};

}  // namespace kiboko::region
