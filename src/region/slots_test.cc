#include "region/slots.h"

#include <sys/mman.h>

#include <set>
#include <vector>

#include "region/fixture.h"

namespace kiboko::region {
namespace {

class Slots : public RegionTest {
 protected:
  SlotWord word(unsigned index) const { return unpack(region_.ext().slots[index].state.load()); }
  // A slot as a process that is no more left it.
  void leave_behind(unsigned index, SlotState state, std::uint32_t pid, std::uint64_t start, std::uint64_t ns) {
    ASSERT_TRUE(region_.reserve_slot(index));
    if (region_.ext().header.slot_blocks < index / 64 + 1) region_.ext().header.slot_blocks = index / 64 + 1;
    SlotIdentity& slot = region_.ext().slots[index];
    slot.start_time = start;
    slot.pid_ns = ns;
    slot.nonce = 1;
    slot.state = pack({5, state, pid});
    region_.ext().header.live[index / 64] |= 1ull << index % 64;
    region_.ext().charges[index / 8].charged[0][index % 8] = 8 * kMi;
    region_.hami().slots[index].pid = static_cast<std::int32_t>(pid);
    region_.hami().slots[index].status = 1;
    region_.hami().slots[index].used[0].total = 8 * kMi;
  }
  void expect_free(unsigned index) const {
    EXPECT_EQ(word(index).state, SlotState::Free);
    EXPECT_EQ(region_.ext().slots[index].start_time, 0u);
    EXPECT_EQ(region_.ext().charges[index / 8].charged[0][index % 8], 0u);
    EXPECT_EQ(region_.hami().slots[index].pid, 0);
    EXPECT_EQ(region_.hami().slots[index].status, 0);
    EXPECT_EQ(region_.hami().slots[index].used[0].total, 0u);
    EXPECT_EQ(region_.ext().header.live[index / 64] >> index % 64 & 1, 0u);
  }
  ProcessIdentity self_ = ProcessIdentity::self();
};

std::uint32_t pid_of_the_dead() {
  const pid_t pid = start_child([] { return 0; });
  wait_for(pid);
  return static_cast<std::uint32_t>(pid);
}

TEST_F(Slots, AreClaimedLowestFirst) {
  EXPECT_EQ(claim(region_).index, 0u);
  const Slot second = claim(region_);
  EXPECT_EQ(second.index, 1u);
  EXPECT_EQ(claim(region_).index, 2u);
  release_slot(region_, second);
  EXPECT_EQ(claim(region_).index, 1u);
}

TEST_F(Slots, ShowTheirProcessInBothParts) {
  const Slot slot = claim(region_);
  EXPECT_EQ(word(slot.index).pid, self_.pid);
  EXPECT_EQ(region_.ext().slots[slot.index].start_time, self_.start_time);
  EXPECT_EQ(region_.ext().slots[slot.index].nonce, kNonce);
  EXPECT_EQ(region_.hami().slots[slot.index].pid, static_cast<std::int32_t>(self_.pid));
  EXPECT_EQ(region_.hami().slots[slot.index].status, 1);
  EXPECT_EQ(region_.hami().slot_count, 1);
}

TEST_F(Slots, AreEmptyWhenReleasedAndGetANewGeneration) {
  const Slot first = claim(region_);
  Account(region_, first).add(0, kMi, ChargeKind::Data);
  release_slot(region_, first);
  expect_free(first.index);
  EXPECT_GT(claim(region_).generation, first.generation);
}

TEST_F(Slots, AreNotReleasedByAnOldGenerationOrAForkedChild) {
  const Slot slot = claim(region_);
  release_slot(region_, Slot{slot.index, slot.generation - 1});
  exit_code_of(start_child([&] {
    release_slot(region_, slot);
    return 0;
  }));
  EXPECT_EQ(word(slot.index).state, SlotState::Live);
}

TEST_F(Slots, OfTheDeadAreTakenBack) {
  leave_behind(0, SlotState::Live, pid_of_the_dead(), 12345, self_.pid_ns);
  EXPECT_EQ(reap_dead_slots(region_), 1u);
  expect_free(0);
}

TEST_F(Slots, OfTheDeadAreTakenBackByTheNextClaim) {
  leave_behind(0, SlotState::Live, pid_of_the_dead(), 12345, self_.pid_ns);
  EXPECT_EQ(claim(region_).index, 0u);
  EXPECT_EQ(region_.ext().charges[0].charged[0][0], 0u);
}

TEST_F(Slots, OfAReusedPidAreTakenBack) {
  leave_behind(0, SlotState::Live, 1, ProcessIdentity::self().start_time + 1, self_.pid_ns);
  EXPECT_EQ(reap_dead_slots(region_), 1u);
  expect_free(0);
}

TEST_F(Slots, OfAnEarlierProcessWithOurPidAreTakenBackWhenWeClaim) {
  leave_behind(0, SlotState::Live, self_.pid, self_.start_time - 1, self_.pid_ns);
  EXPECT_EQ(claim(region_).index, 0u);
  EXPECT_EQ(region_.ext().charges[0].charged[0][0], 0u);
}

TEST_F(Slots, OfThisProcessBeforeAnExecAreTakenBackWhenItClaims) {
  const Slot before = claim(region_);
  Account(region_, before).add(0, kMi, ChargeKind::Data);
  Slot after;
  PageError error;
  ASSERT_TRUE(claim_slot(region_, self_, kNonce + 1, &after, &error)) << error.text;
  EXPECT_EQ(after.index, before.index);
  EXPECT_EQ(sum_of_all_charges(region_, 0), 0u);
}

TEST_F(Slots, OfAZombieAreTakenBack) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t pid = start_child([&] {
    Account(region_, claim(region_)).add(0, kMi, ChargeKind::Data);
    return 0;
  });
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(reap_dead_slots(region_), 1u);
  EXPECT_EQ(sum_of_all_charges(region_, 0), 0u);
  wait_for(pid);
}

TEST_F(Slots, OfAnotherPidNamespaceAreLeftAlone) {
  claim(region_);
  leave_behind(1, SlotState::Live, pid_of_the_dead(), 12345, self_.pid_ns + 1);
  EXPECT_EQ(reap_dead_slots(region_), 0u);
  EXPECT_EQ(word(1).state, SlotState::Live);
}

// The container was started anew: its processes of before are in a namespace that is no more.
TEST_F(Slots, OfAnotherPidNamespaceAreTakenBackWhenTheirPresenceEnded) {
  claim(region_);
  leave_behind(1, SlotState::Live, self_.pid, 12345, self_.pid_ns + 1);
  region_.ext().slots[1].flags = kSlotShowsPresence;
  int ready[2], end[2];
  ASSERT_TRUE(::pipe(ready) == 0 && ::pipe(end) == 0);
  const pid_t holder = start_child([&] {
    Mapping theirs;
    PageError error;
    char byte = 0;
    ::close(end[1]);
    if (!theirs.open(path().c_str(), one_device(), &error) || !theirs.show_presence(1)) return 1;
    return ::write(ready[1], &byte, 1) == 1 && ::read(end[0], &byte, 1) == 0 ? 0 : 1;
  });
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(reap_dead_slots(region_), 0u);
  ::close(end[1]);
  EXPECT_EQ(exit_code_of(holder), 0);
  EXPECT_EQ(reap_dead_slots(region_), 1u);
  expect_free(1);
  for (const int fd : {ready[0], ready[1], end[0]}) ::close(fd);
}

TEST_F(Slots, ShowTheirPresenceUntilTheyAreReleased) {
  const Slot slot = claim(region_);
  EXPECT_EQ(region_.ext().slots[slot.index].flags, kSlotShowsPresence);
  EXPECT_FALSE(region_.is_absent(slot.index));
  release_slot(region_, slot);
  EXPECT_TRUE(region_.is_absent(slot.index));
}

TEST_F(Slots, HalfClaimedOrHalfReapedByTheDeadAreFinished) {
  claim(region_);  // so that the region knows its namespace
  for (const SlotState state : {SlotState::Claiming, SlotState::Reaping}) {
    leave_behind(1, state, pid_of_the_dead(), 0, 0);
    EXPECT_EQ(reap_dead_slots(region_), 1u);
    expect_free(1);
  }
}

TEST_F(Slots, HalfClaimedInAnUnknownNamespaceAreLeftAlone) {
  claim(region_);
  region_.ext().header.pid_ns_mixed = 1;
  leave_behind(1, SlotState::Claiming, pid_of_the_dead(), 0, 0);
  EXPECT_EQ(reap_dead_slots(region_), 0u);
}

TEST_F(Slots, UsedByAnotherLibraryAreNotMixedWithOurs) {
  ASSERT_TRUE(region_.reserve_slot(0));
  region_.hami().slots[0].pid = static_cast<std::int32_t>(::getppid());
  Slot slot;
  PageError error;
  EXPECT_FALSE(claim_slot(region_, self_, kNonce, &slot, &error));
  EXPECT_NE(std::string(error.text).find("another library"), std::string::npos);
  EXPECT_EQ(word(0).state, SlotState::Free);
}

TEST_F(Slots, EndAtOneThousandAndTwentyFourWithAnError) {
  std::vector<Slot> slots;
  for (unsigned i = 0; i < kMaxSlots; ++i) {
    slots.push_back(claim(region_));
    ASSERT_EQ(slots.back().index, i);
  }
  Slot slot;
  PageError error;
  EXPECT_FALSE(claim_slot(region_, self_, kNonce, &slot, &error));
  EXPECT_NE(std::string(error.text).find("1024"), std::string::npos);
  Account(region_, slots.back()).add(0, kMi, ChargeKind::Data);
  EXPECT_EQ(Account(region_, slots.front()).total(0), kMi);
  release_slot(region_, slots[500]);
  EXPECT_EQ(claim(region_).index, 500u);
}

TEST_F(Slots, AreClaimedByManyProcessesAtOnceEachItsOwn) {
  constexpr unsigned kProcesses = 64;
  auto* shared = static_cast<std::atomic<unsigned>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::atomic<unsigned>& ready = shared[0];
  std::atomic<unsigned>& done = shared[1];
  std::vector<pid_t> children;
  for (unsigned i = 0; i < kProcesses; ++i)
    children.push_back(start_child([&] {
      for (ready.fetch_add(1); ready.load() < kProcesses;) sleep_ms(1);
      Account(region_, claim(region_)).add(0, kMi, ChargeKind::Data);
      for (done.fetch_add(1); done.load() <= kProcesses;) sleep_ms(1);
      return 0;
    }));
  while (done.load() < kProcesses) sleep_ms(1);
  EXPECT_EQ(slots_in_use(region_), kProcesses);
  EXPECT_EQ(sum_of_all_charges(region_, 0), kProcesses * kMi);
  std::set<std::uint32_t> pids;
  for (unsigned i = 0; i < kProcesses; ++i) pids.insert(word(i).pid);
  EXPECT_EQ(pids.size(), kProcesses);
  done.fetch_add(1);
  for (const pid_t child : children) EXPECT_EQ(exit_code_of(child), 0);
  EXPECT_EQ(reap_dead_slots(region_), kProcesses);
  EXPECT_EQ(slots_in_use(region_) + live_bits(region_), 0u);
  ::munmap(shared, 4096);
}

TEST_F(Slots, SurviveARegionFullOfRubbish) {
  for (unsigned i = 0; i < kMaxSlots; ++i) region_.ext().slots[i].state = 0x9e3779b97f4a7c15u * (i + 1);
  region_.ext().header.slot_blocks = UINT64_MAX;
  Slot slot;
  PageError error;
  (void)claim_slot(region_, self_, kNonce, &slot, &error);
  reap_dead_slots(region_);
  EXPECT_TRUE(holder_is_dead(region_, kMaxSlots, 0));
}

TEST(SlotWord, IsUnpackedAsItWasPacked) {
  const SlotWord word = unpack(pack({0xfffffffe, SlotState::Reaping, (1u << 22) - 1}));
  EXPECT_EQ(word.generation, 0xfffffffeu);
  EXPECT_EQ(word.state, SlotState::Reaping);
  EXPECT_EQ(word.pid, (1u << 22) - 1);
}

TEST(ProcessIdentity, KnowsTheLivingFromTheDead) {
  const ProcessIdentity self = ProcessIdentity::self();
  EXPECT_EQ(liveness_of(self.pid, self.start_time, self.pid_ns), Liveness::Alive);
  EXPECT_EQ(liveness_of(self.pid, self.start_time + 1, self.pid_ns), Liveness::Dead);
  EXPECT_EQ(liveness_of(pid_of_the_dead(), self.start_time, self.pid_ns), Liveness::Dead);
  EXPECT_EQ(liveness_of(self.pid, self.start_time, self.pid_ns + 1), Liveness::Unknown);
  EXPECT_EQ(liveness_of(0, 0, self.pid_ns), Liveness::Unknown);
}

TEST(ProcessIdentity, IsItsOwnInAForkedChild) {
  const ProcessIdentity parent = ProcessIdentity::self();
  EXPECT_EQ(exit_code_of(start_child([&] {
              const ProcessIdentity child = ProcessIdentity::self();
              return child.pid == static_cast<std::uint32_t>(::getpid()) && child.pid != parent.pid &&
                             child.pid_ns == parent.pid_ns
                         ? 0
                         : 1;
            })),
            0);
}

}  // namespace
}  // namespace kiboko::region
