// A process may be killed at any instruction. These tests kill one at every marked step of what it does to the region
// and the grant page, and then look whether the others go on and the sums are right. Built with KIBOKO_STEP_POINTS.
#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "region/grant_page.h"
#include "region/killed.h"

namespace kiboko::region {
namespace {

long g_steps_left = 0;
void kill_when_due(const char*) {
  if (g_steps_left-- == 0) ::kill(::getpid(), SIGKILL);
}
void arm(long steps) {
  g_steps_left = steps;
  step_point = kill_when_due;
}

// Runs `body` in a child that is killed at its step 0, 1, 2, … and calls `check` after each; ends when a child got
// through. Returns the number of steps.
template <class Prepare, class Body, class Check>
long kill_at_every_step(Prepare prepare, Body body, Check check) {
  for (long step = 0;; ++step) {
    SCOPED_TRACE("killed at step " + std::to_string(step));
    prepare();
    const int status = wait_for(start_child([&] {
      arm(step);
      body();
      return 0;
    }));
    check();
    if (WIFEXITED(status) || testing::Test::HasFailure()) return step;
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
  }
}

TEST_F(Killed, AtAnyStepOfALifeAProcessLeavesNothingBehind) {
  const long steps = kill_at_every_step(
      [] {},
      [&] {
        const Slot slot = claim(region_);
        Account account(region_, slot);
        account.charge(0, 2 * kMi, ChargeKind::Data, AccountView{1ull << 40, 0});  // far from the limit
        account.charge(0, 2 * kMi, ChargeKind::Context, kLimit);                   // near it
        account.charge(0, 95 * kMi, ChargeKind::Data, kLimit);                     // over it
        account.refund(0, kMi, ChargeKind::Data);
        account.refund(0, kMi, ChargeKind::Context);
        release_slot(region_, slot);
      },
      [&] { expect_sound(); });
  EXPECT_GT(steps, 20);
}

TEST_F(Killed, AtAnyStepOfTakingASlotBackTheNextOneFinishes) {
  pid_t zombie = 0;
  const long steps = kill_at_every_step(
      [&] {
        zombie = leave_corpse(true);
        leave_corpse(false);
      },
      [&] {
        claim(region_);  // finds the one that is gone
        reap_dead_slots(region_);
      },
      [&] {
        expect_sound();
        wait_for(zombie);
      });
  EXPECT_GT(steps, 15);
}

TEST_F(Killed, AtAnyStepOfAReapTheNextReaperMayBeKilledToo) {
  for (long second = 0; second < 12; ++second) {
    leave_corpse(false);
    for (const long step : {3L, second})
      wait_for(start_child([&] {
        arm(step);
        reap_dead_slots(region_);
        return 0;
      }));
    expect_sound();
    if (HasFailure()) break;
  }
}

TEST_F(Killed, AtAnyMomentAtAllProcessesLeaveNothingBehind) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    pid_t children[3];
    for (pid_t& child : children)
      child = start_child([&] {
        for (unsigned n = 0;; ++n) {
          const Slot slot = claim(region_);
          Account account(region_, slot);
          for (unsigned i = 0; i < n % 8; ++i)
            if (account.charge(0, 30 * kMi, ChargeKind::Data, kLimit) && i % 2 == 0)
              account.refund(0, 30 * kMi, ChargeKind::Data);
          release_slot(region_, slot);
        }
        return 0;
      });
    const timespec time{0, static_cast<long>(random() % 3'000'000)};
    ::nanosleep(&time, nullptr);
    EXPECT_LE(Account(region_, own_).total(0), 100 * kMi + 3 * 30 * kMi);  // what is in flight is counted too
    for (const pid_t child : children) ::kill(child, SIGKILL);
    for (const pid_t child : children) wait_for(child);
    expect_sound();
    if (HasFailure()) break;
  }
}

TEST(KilledCreator, AtAnyStepLeavesARegionThatTheNextOneFinishes) {
  TempDir dir;
  const std::string path = dir.path("region");
  const auto open = [&](Mapping& region) {
    PageError error;
    return region.open(path.c_str(), one_device(5 * kMi), &error) ? "" : std::string(error.text);
  };
  const long steps = kill_at_every_step([&] { ::unlink(path.c_str()); },
                                        [&] {
                                          Mapping region;
                                          open(region);
                                        },
                                        [&] {
                                          Mapping region;
                                          EXPECT_EQ(open(region), "");
                                          if (!region) return;
                                          EXPECT_EQ(region.hami().memory_limit[0], 5 * kMi);
                                          EXPECT_EQ(region.hami().slots[0].pid, 0);
                                          Account account(region, claim(region));
                                          EXPECT_TRUE(account.charge(0, kMi, ChargeKind::Data, kLimit));
                                        });
  EXPECT_GE(steps, 5);
}

// A region for a container: opens it for a device that no file has yet.
std::string open_for_container(Mapping& region, const std::string& path) {
  RegionSeed seed = one_device(5 * kMi);
  seed.sharing = Sharing::Container;
  PageError error;
  return region.open(path.c_str(), seed, &error) ? "" : error.text;
}

TEST(KilledCreator, AtAnyStepOfAddingADeviceLeavesAListThatTheNextOneGoesOnWith) {
  TempDir dir;
  const std::string path = dir.path("region");
  RegionSeed others = one_device(7 * kMi);
  others.sharing = Sharing::Container;
  others.uuids[0] = "GPU-other";
  const long steps = kill_at_every_step(
      [&] {
        ::unlink(path.c_str());
        Mapping region;
        ASSERT_TRUE(region.open(path.c_str(), others, nullptr));
      },
      [&] {
        Mapping region;
        open_for_container(region, path);
      },
      [&] {
        Mapping region;
        ASSERT_TRUE(region.open(path.c_str(), others, nullptr));
        EXPECT_EQ(region.ext().header.device_count, region.hami().device_count);
        Mapping again;
        EXPECT_EQ(open_for_container(again, path), "");
        EXPECT_EQ(devices_in(region.hami()), 2u);
        EXPECT_EQ(index_of_device(region.hami(), one_device().uuids[0]), 1);
      });
  EXPECT_GE(steps, 3);
}

TEST(KilledCreator, AtAnyStepOfTakingOverAFileOfHamiCoreLeavesItToTheNextOne) {
  TempDir dir;
  const std::string path = dir.path("region");
  const long steps = kill_at_every_step(
      [&] {
        std::string bytes(sizeof(HamiRegion), '\0');
        const std::int32_t magic = kHamiMagic, version[] = {1, 2}, dead = 1 << 22;
        std::memcpy(bytes.data(), &magic, sizeof magic);
        std::memcpy(bytes.data() + offsetof(HamiRegion, major_version), version, sizeof version);
        std::memcpy(bytes.data() + offsetof(HamiRegion, slots), &dead, sizeof dead);
        dir.write("region", bytes, 0666);
      },
      [&] {
        Mapping region;
        open_for_container(region, path);
      },
      [&] {
        Mapping region;
        ASSERT_EQ(open_for_container(region, path), "");
        EXPECT_EQ(devices_in(region.hami()), 1u);
        EXPECT_EQ(region.ext().header.device_count, 1u);
        EXPECT_EQ(region.hami().memory_limit[0], 5 * kMi);
        EXPECT_EQ(region.hami().slots[0].pid, 0);
        EXPECT_TRUE(Account(region, claim(region)).charge(0, kMi, ChargeKind::Data, kLimit));
      });
  EXPECT_GE(steps, 6);
}

TEST(KilledAgent, AtAnyStepOfAResizeLeavesTheOldLimitsOrTheNew) {
  GrantSettings settings = {};
  settings.devices[0] = {1, 1, 0};
  GrantPage& page = shared_page(settings);
  std::uint64_t old_limit = 1, new_limit = 1;
  const long steps = kill_at_every_step([&] { new_limit = old_limit + 1; },
                                        [&] {
                                          settings.devices[0] = {new_limit, 50, 0};
                                          publish_settings(page, settings);
                                        },
                                        [&] {
                                          GrantSettings read;
                                          ASSERT_TRUE(read_settings(page, &read));
                                          const std::uint64_t limit = read.devices[0].limit_bytes;
                                          EXPECT_TRUE(limit == old_limit || limit == new_limit) << limit;
                                          EXPECT_EQ(read.devices[0].core_percent, limit == 1 ? 1u : 50u);
                                          PageError error;
                                          EXPECT_TRUE(check_grant_page(&page, sizeof page, &error)) << error.text;
                                          old_limit = limit;
                                        });
  EXPECT_GT(steps, 30);
  EXPECT_EQ(old_limit, new_limit);
  ::munmap(&page, kGrantPageBytes);
}

}  // namespace
}  // namespace kiboko::region
