// Processes (forked, each with its slot) race for the last room of a grant, round after round.
#include <sys/mman.h>

#include <atomic>
#include <climits>
#include <new>
#include <vector>

#include "region/fixture.h"
#include "region/os.h"

namespace kiboko::region {
namespace {

// A count in shared memory that processes wait for.
class Count {
 public:
  void raise(std::uint32_t by = 1) {
    word_.fetch_add(by);
    os::futex_wake(&word_, INT_MAX);
  }
  void wait_for(std::uint32_t value) const {
    for (std::uint32_t now = word_.load(); now < value; now = word_.load()) os::futex_wait(&word_, now, 100'000'000);
  }

 private:
  std::atomic<std::uint32_t> word_{0};
};

struct Meeting {
  Count round, refunding;  // as far as the parent lets them go
  Count asked, refunded;
  std::atomic<unsigned> winners{0};
};

struct Race {
  const char* name;
  std::uint32_t racers;
  std::uint64_t ask, limit;  // bytes
};
void PrintTo(const Race& race, std::ostream* out) { *out << race.name; }

constexpr std::uint32_t kRounds = 100;

int take_part(Mapping& region, Meeting& meeting, const Race& race) {
  Account account(region, claim(region));
  for (std::uint32_t round = 1; round <= kRounds; ++round) {
    meeting.round.wait_for(round);
    const bool won = account.charge(0, race.ask, ChargeKind::Data, AccountView{race.limit, 0});
    meeting.winners += won;
    meeting.asked.raise();
    meeting.refunding.wait_for(round);
    if (won) account.refund(0, race.ask, ChargeKind::Data);
    meeting.refunded.raise();
  }
  return 0;
}

class RaceOfProcesses : public RegionTest, public testing::WithParamInterface<Race> {};

TEST_P(RaceOfProcesses, IsWonByExactlyAsManyAsFit) {
  const Race& race = GetParam();
  void* memory = ::mmap(nullptr, sizeof(Meeting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Meeting& meeting = *new (memory) Meeting();
  std::vector<pid_t> children;
  for (std::uint32_t i = 0; i < race.racers; ++i)
    children.push_back(start_child([&] { return take_part(region_, meeting, race); }));
  const unsigned fit = static_cast<unsigned>(race.limit / race.ask);
  const unsigned expected = fit < race.racers ? fit : race.racers;
  for (std::uint32_t round = 1; round <= kRounds; ++round) {
    meeting.winners = 0;
    meeting.round.raise();
    meeting.asked.wait_for(round * race.racers);
    EXPECT_EQ(meeting.winners, expected) << "in round " << round;
    EXPECT_EQ(sum_of_all_charges(region_, 0), expected * race.ask);
    meeting.refunding.raise();
    meeting.refunded.wait_for(round * race.racers);
  }
  for (const pid_t child : children) EXPECT_EQ(exit_code_of(child), 0);
  EXPECT_EQ(sum_of_all_charges(region_, 0), 0u);
  ::munmap(memory, sizeof(Meeting));
}
INSTANTIATE_TEST_SUITE_P(Account, RaceOfProcesses,
                         testing::Values(Race{"TwoForOne", 2, 2 * kMi, 2 * kMi},
                                         Race{"EightForThree", 8, 2 * kMi, 6 * kMi},
                                         Race{"EightFarFromTheLimitForThree", 8, 300 * kMi, 1000 * kMi},
                                         Race{"SixtyFourForTen", 64, 2 * kMi, 21 * kMi},
                                         Race{"SixtyFourFarFromTheLimitForTen", 64, 400 * kMi, 4300 * kMi}),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace kiboko::region
