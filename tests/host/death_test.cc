// Whoever is killed, with SIGKILL and at any moment: programs run on, limits hold, and nothing stays charged.
#include <signal.h>
#include <unistd.h>

#include <filesystem>

#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Death : public OneHost {
 protected:
  std::uint64_t used_by(const std::string& id) const {
    const Json used = grant(id)["devices"][0]["used_bytes"];
    return used.is_number() ? used.get<std::uint64_t>() : 0;
  }
};

TEST_F(Death, AKilledProgramsMemoryIsChargedToNobody) {
  start_agent();
  Child parent = user({"--memory", "30GiB"});
  const auto sibling = parent.ask("child 10737418240");
  const auto pid = numbers(sibling, "child");
  ASSERT_THAT(sibling, HasSubstr("alloc 0"));
  ASSERT_EQ(parent.ask("open 0"), "open 0");
  const std::string id = grant_of(parent);
  EXPECT_LT(memory_of(parent).free, 20 * kGiB);
  EXPECT_TRUE(eventually([&] { return used_by(id) > 10 * kGiB; }));
  EXPECT_TRUE(eventually([&] { return grant(id)["processes"].size() == 2; })) << grant(id);

  ASSERT_EQ(::kill(static_cast<pid_t>(pid.at(0)), SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return memory_of(parent).free > 29 * kGiB; }));
  EXPECT_TRUE(eventually([&] { return used_by(id) < kGiB; }));
  EXPECT_EQ(allocate(parent, 29 * kGiB), 0);
}

TEST_F(Death, ProgramsRunOnWithTheirLimitsWhileNoAgentIsThere) {
  start_agent();
  Child first = tenant({"--memory", "30GiB"}), second = tenant({"--memory", "45GiB", "--cores", "50"});
  const std::string first_id = grant_of(first), second_id = grant_of(second);
  ASSERT_EQ(allocate(first, 10 * kGiB), 0);
  kill_agent();

  EXPECT_EQ(memory_of(first).total, 30 * kGiB);
  EXPECT_EQ(allocate(first, 25 * kGiB), kOutOfMemory);
  EXPECT_EQ(allocate(first, 5 * kGiB), 0);
  EXPECT_THAT(numbers(second.ask("spin 1000000 0.3"), "spin"), SizeIs(1));
  const Ended refused = kiboko({"run", "--", "/bin/true"});
  EXPECT_EQ(refused.exit_code(), 125);
  EXPECT_THAT(refused.err, HasSubstr("no agent answers"));

  start_agent();
  EXPECT_THAT(grants(), SizeIs(2));
  for (const auto& [id, limit] : {std::pair(first_id, 30 * kGiB), std::pair(second_id, 45 * kGiB)}) {
    EXPECT_EQ(state(id), "running");
    EXPECT_EQ(grant(id)["devices"][0]["limit_bytes"], limit);
  }
  EXPECT_TRUE(eventually([&] { return used_by(first_id) > 15 * kGiB; }));
  EXPECT_EQ(kiboko({"resize", first_id, "--memory", "20GiB"}).exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return memory_of(first).total == 20 * kGiB; }));
  EXPECT_EQ(first.wait().exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return state(first_id) == "ended"; }));
}

TEST_F(Death, AProgramThatStartsUnderARestartedAgentFindsRoomWhereOneEndedMeanwhile) {
  start_agent();
  Child first = tenant({"--memory", "60GiB"});
  kill_agent();
  first.wait();
  start_agent();
  EXPECT_THAT(grants(), IsEmpty());
  Child second = tenant({"--memory", "70GiB"});
  EXPECT_EQ(memory_of(second).total, 70 * kGiB);
}

TEST_F(Death, AfterEverythingWasKilledTheNextStartIsClean) {
  start_agent();
  std::string folder;
  {
    Child running = tenant({"--memory", "30GiB"});
    ASSERT_EQ(allocate(running, 10 * kGiB), 0);
    Child waiting = user({"--memory", "79GiB"});
    ASSERT_TRUE(eventually([&] { return call("GET", "/api/v1/queue").second["queue"].size() == 1; }));
    folder = folder_of(grant_of(running));
    ASSERT_TRUE(std::filesystem::exists(folder + "/page"));
    ASSERT_TRUE(std::filesystem::exists(folder + "/region.cache"));
    agent->signal(SIGKILL);
    agent.reset();
    end_all_descendants();
  }
  start_agent();
  EXPECT_THAT(grants(), IsEmpty());
  EXPECT_EQ(granted_bytes(), 0U);
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(folder); }));
  EXPECT_TRUE(std::filesystem::is_empty(path("run/grants")));
  EXPECT_TRUE(eventually([&] { return device()["used_bytes"] == 0; }));
  Child next = tenant({"--memory", "70GiB"});
  EXPECT_EQ(allocate(next, 69 * kGiB), 0);
}

TEST_F(Death, KillingKibokoRunLeavesItsProgramAndGrant) {
  start_agent();
  Child command =
      spawn({"run", "--memory", "30GiB", "--", program("device_user"), "open 0", "alloc 1073741824", "pid", "hold"});
  ASSERT_EQ(command.read_line(), "open 0");
  ASSERT_EQ(command.read_line(), "alloc 0");
  const auto pid = numbers(command.read_line(), "pid");
  ASSERT_THAT(pid, SizeIs(1));
  command.signal(SIGKILL);
  command.wait();
  const std::string id = grants()[0]["id"];
  for (int i = 0; i < 3; ++i) {  // over several looks of the agent
    ::usleep(700'000);
    EXPECT_EQ(::kill(static_cast<pid_t>(pid[0]), 0), 0);
    EXPECT_EQ(state(id), "running");
  }
  EXPECT_GT(used_by(id), kGiB);
  EXPECT_EQ(kiboko({"release", "--force", id}).exit_code(), 0);
  EXPECT_EQ(state(id), "ended");
}

TEST_F(Death, AnAskWhoseAskerWasKilledLeavesTheQueue) {
  start_agent();
  Child first = tenant({"--memory", "75GiB"});
  Child second = user({"--memory", "10GiB"});
  ASSERT_TRUE(eventually([&] { return call("GET", "/api/v1/queue").second["queue"].size() == 1; }));
  second.signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return call("GET", "/api/v1/queue").second["queue"].empty(); }));
}

}  // namespace
}  // namespace kiboko::host_test
