// Several processes of one grant at once, each on its own random walk (memory_crowd.cc), that come, go, exec, are
// killed and meet a failing driver. In every pause what is charged is what the driver took, and in the end nothing is
// left. A seed is printed with its failure; KIBOKO_WALK_SEED=n walks that one again.
#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <list>
#include <random>
#include <sstream>
#include <thread>

#include "region/account.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

constexpr std::uint64_t kLimit = 4 * kGiB;
constexpr const char* kManySteps = "step 250";

class MemoryCrowd : public OnDriver {
 protected:
  void walk(unsigned seed) {
    SCOPED_TRACE("KIBOKO_WALK_SEED=" + std::to_string(seed));
    random_.seed(seed);
    // Shared memory lies in files named after the device set, beside those of other tests.
    const std::filesystem::path folder = std::filesystem::path(tenant.region_path()).parent_path();
    tenant.environment["KIBOKO_SIM"] = folder / folder.filename();
    std::filesystem::create_directory(tenant.path("handles"));
    tenant.grant({{0, kLimit}, {1, kLimit}});
    join("");
    const Figures first = figures();
    for (unsigned device = 0; device < 2; ++device) before_[device] = first.taken[device] - first.charged[device];
    for (int i = 0; i < 3; ++i) join("");
    for (int round = 0; round < 8 && !HasFailure(); ++round) {
      SCOPED_TRACE("round " + std::to_string(round));
      go_round();
      if (!HasFailure()) expect_agreement();
    }
    if (HasFailure()) return members_.clear();
    for (Process& member : members_) ask(member, "end", "ended");
    for (Process& member : members_) EXPECT_EQ(member.wait().exit_code, 0);
    members_.clear();
    expect_nothing_charged();
  }

 private:
  struct Figures {
    std::uint64_t charged[2], taken[2];
  };

  // False: there was no room for it.
  bool join(const std::string& faults) {
    if (!faults.empty()) tenant.environment["KIBOKO_SIM_FAULT"] = faults;
    members_.emplace_back(tenant.start(
        {program("shim_memory_program"), tenant.region_path(), "0", "crowd", std::to_string(random_() % 100'000)}));
    tenant.environment.erase("KIBOKO_SIM_FAULT");
    members_.back().write_line(tenant.path("handles"));
    if (is_here(members_.back())) return true;
    members_.pop_back();
    return false;
  }
  bool is_here(Process& member) {
    const std::string answer = member.read_line();
    if (answer == "here") return true;
    EXPECT_EQ(answer, "no room") << member.errors();
    EXPECT_EQ(member.wait().exit_code, 0);
    return false;
  }
  void ask(Process& member, const std::string& line, const std::string& answer) {
    member.write_line(line);
    hear(member, answer);
  }
  void hear(Process& member, const std::string& answer) {
    const std::string heard = member.read_line();
    EXPECT_EQ(heard, answer) << member.errors();
  }
  // All walk at once; one of them is killed meanwhile, in the middle of anything, or dies in the driver. Whoever comes
  // does so while the others rest: what a context takes is measured.
  void go_round() {
    const unsigned event = static_cast<unsigned>(random_() % 4);
    std::list<Process> doomed;
    if (event == 0 && join("cuMemAllocAsync:3=2,cuArrayCreate_v2:2=2,cuMemCreate:2=2,cuMemAlloc_v2:" +
                           std::to_string(5 + random_() % 20) + "=kill"))
      doomed.splice(doomed.end(), members_, std::prev(members_.end()));
    if (event == 1) {
      members_.front().write_line("exec");
      members_.front().write_line(tenant.path("handles"));
      if (!is_here(members_.front())) members_.pop_front();
    }
    while (members_.size() < 4 && join("cuMemAllocFromPoolAsync:3=2,cuMemAllocPitch_v2:2=2,cuMemAllocManaged:2=2")) {
    }
    for (Process& member : members_) ask(member, "alone", "done");
    if (HasFailure()) return;
    for (Process& member : doomed) member.write_line("step 100000");
    for (Process& member : members_) member.write_line(kManySteps);
    for (Process& member : doomed) expect_killed(member);
    if (event == 2) {
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 20'000));
      ::kill(members_.front().pid(), SIGKILL);
      expect_killed(members_.front());
      members_.pop_front();
    }
    for (Process& member : members_) hear(member, "done");
  }
  void expect_killed(Process& member) {
    const Ended ended = member.wait();
    EXPECT_EQ(ended.exit_code, 128 + SIGKILL) << ended.out << ended.err;
  }

  Figures figures() {
    Figures figures{};
    members_.front().write_line("figures");
    std::istringstream(members_.front().read_line()) >> figures.charged[0] >> figures.taken[0] >> figures.charged[1] >>
        figures.taken[1];
    return figures;
  }
  // The driver may need a moment to notice that a process has died.
  void expect_agreement() {
    for (Process& member : members_) ask(member, "settle", "settled");
    Figures now{};
    for (int look = 0; look < 200; ++look) {
      reap();
      now = figures();
      if (now.taken[0] - before_[0] == now.charged[0] && now.taken[1] - before_[1] == now.charged[1]) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    for (unsigned device = 0; device < 2; ++device) {
      EXPECT_EQ(now.taken[device] - before_[device], now.charged[device]) << "of device " << device;
      EXPECT_LE(now.charged[device], kLimit);
    }
  }
  void reap() {
    region::Mapping region;
    open(region);
    region::reap_dead_slots(region);
    region.close();
  }
  void expect_nothing_charged() {
    region::Mapping region;
    open(region);
    region::reap_dead_slots(region);
    for (const region::ChargeGroup& group : region.ext().charges)
      for (unsigned device = 0; device < 2; ++device)
        for (const auto& word : group.charged[device]) EXPECT_EQ(word.load(), 0u);
    for (const region::SlotIdentity& slot : region.ext().slots)
      EXPECT_EQ(region::unpack(slot.state.load()).state, region::SlotState::Free);
    region.close();
  }
  void open(region::Mapping& region) {
    region::RegionSeed seed;
    seed.grant_id = "g-test";
    seed.device_count = 2;
    for (unsigned device = 0; device < 2; ++device) seed.uuids[device] = tenant.devices().at(device).uuid.c_str();
    region::PageError error;
    ASSERT_TRUE(region.open(tenant.region_path().c_str(), seed, &error)) << error.text;
  }

  std::mt19937 random_;
  std::list<Process> members_;
  std::uint64_t before_[2] = {};
};
INSTANTIATE_TEST_SUITE_P(, MemoryCrowd, testing::Values(drivers().back()),
                         [](const testing::TestParamInfo<Driver>& row) { return std::string(row.param.name); });

TEST_P(MemoryCrowd, IsChargedWithWhatTheDriverTookWhoeverComesAndGoes) {
  const char* asked = std::getenv("KIBOKO_WALK_SEED");
  if (asked != nullptr) return walk(static_cast<unsigned>(std::atol(asked)));
  for (unsigned seed = 1; seed <= 6 && !HasFailure(); ++seed) walk(seed);
}

}  // namespace
}  // namespace kiboko::shim_test
