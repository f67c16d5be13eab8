// What can be asked for, and changed while a program runs.
#include <signal.h>
#include <sys/wait.h>

#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

class Asks : public OneHost {};

TEST_F(Asks, WithoutADeviceTheAgentNamesBothWaysOn) {
  Words command = agent_command();
  command.erase(command.begin() + 2, command.begin() + 4);  // --simulate SPEC
  const Ended ended = run(start(command));
  EXPECT_EQ(ended.exit_code(), 125);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("Install the NVIDIA driver"), HasSubstr("--simulate")));
}

TEST_F(Asks, WithoutAnAgentTheCommandNamesTheWaysOn) {
  const Ended ended = kiboko({"run", "--", "/bin/true"});
  EXPECT_EQ(ended.exit_code(), 125);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("no agent answers"), HasSubstr("kiboko-agent --standalone --simulate")));
}

TEST_F(Asks, WithoutNumbersTheDefaultShareIsGrantedAndExplained) {
  start_agent();
  Child program = tenant({});
  const std::uint64_t total = device()["total_bytes"];
  EXPECT_EQ(memory_of(program).total / kMiB, total / 4 / kMiB);
  EXPECT_EQ(grant(grant_of(program))["default_applied"], true);
  const Ended explained = kiboko({"explain"});
  EXPECT_EQ(explained.exit_code(), 0);
  EXPECT_THAT(explained.out, AllOf(HasSubstr("25 % of the device"), HasSubstr("default")));
  EXPECT_EQ(kiboko_json({"explain"})["default_applied"], true);
  EXPECT_EQ(kiboko_json({"explain", "--memory", "1GiB"})["default_applied"], false);
}

TEST_F(Asks, ExplainGrantsNothing) {
  start_agent();
  EXPECT_EQ(kiboko({"explain", "--memory", "60GiB"}).exit_code(), 0);
  EXPECT_EQ(kiboko({"explain", "--memory", "600GiB"}).exit_code(), 1);
  EXPECT_EQ(kiboko({"run", "--dry-run", "--memory", "60GiB", "--", "/bin/echo", "it ran"}).out.find("it ran"),
            std::string::npos);
  EXPECT_EQ(granted_bytes(), 0U);
}

TEST_F(Asks, AResizeIsSeenByTheRunningProgram) {
  start_agent();
  Child program = tenant({"--memory", "10GiB", "--cores", "20"});
  const std::string id = grant_of(program);
  ASSERT_EQ(allocate(program, 8 * kGiB), 0);
  EXPECT_EQ(allocate(program, 8 * kGiB), kOutOfMemory);

  const Ended larger = kiboko({"resize", id, "--memory", "20GiB", "--cores", "50"});
  EXPECT_EQ(larger.exit_code(), 0) << larger.err;
  EXPECT_TRUE(eventually([&] { return memory_of(program).total == 20 * kGiB; }));
  EXPECT_EQ(allocate(program, 8 * kGiB), 0);
  EXPECT_EQ(granted_bytes(), 20 * kGiB);
  EXPECT_EQ(grant(id)["devices"][0]["core_percent"], 50);

  // Less than it holds: it keeps that, and gets nothing more until it is under.
  EXPECT_EQ(kiboko({"resize", id, "--memory", "10GiB"}).exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return memory_of(program).total == 10 * kGiB; }));
  EXPECT_EQ(memory_of(program).free, 0U);
  EXPECT_EQ(allocate(program, 2 * kMiB), kOutOfMemory);
  EXPECT_EQ(program.ask("free"), "free 0");
  EXPECT_EQ(allocate(program, kGiB), 0);
  EXPECT_EQ(allocate(program, kGiB), kOutOfMemory);
}

TEST_F(Asks, AResizeBeyondTheDeviceIsRefused) {
  start_agent();
  Child program = tenant({"--memory", "10GiB"}), other = tenant({"--memory", "60GiB"});
  const Ended refused = kiboko({"resize", grant_of(program), "--memory", "30GiB"});
  EXPECT_EQ(refused.exit_code(), 1);
  EXPECT_THAT(refused.err, HasSubstr("free"));
  EXPECT_EQ(memory_of(program).total, 10 * kGiB);
}

TEST_F(Asks, AResizeThatMakesRoomStartsWhoWaits) {
  start_agent();
  Child program = tenant({"--memory", "70GiB"});
  Child waiting = user({"--memory", "30GiB"});
  ASSERT_TRUE(eventually([&] { return call("GET", "/api/v1/queue").second["queue"].size() == 1; }));
  EXPECT_EQ(kiboko({"resize", grant_of(program), "--memory", "40GiB"}).exit_code(), 0);
  EXPECT_EQ(waiting.ask("open 0"), "open 0");
}

TEST_F(Asks, ReleaseAsksFirstAndThenKills) {
  start_agent();
  Child polite = tenant({"--memory", "10GiB"}), deaf = tenant({"--memory", "10GiB"});
  ASSERT_EQ(deaf.ask("deaf"), "deaf");
  const Ended first = kiboko({"release", grant_of(polite)});
  EXPECT_EQ(first.exit_code(), 0) << first.err;
  EXPECT_EQ(polite.wait().exit_code(), 128 + SIGTERM);
  const Ended second = kiboko({"release", "--force", "--grace", "500ms", grant_of(deaf)});
  EXPECT_EQ(second.exit_code(), 0) << second.err;
  EXPECT_EQ(deaf.wait().exit_code(), 128 + SIGKILL);
  EXPECT_EQ(granted_bytes(), 0U);
  EXPECT_EQ(kiboko({"release", "g-00000000"}).exit_code(), 1);
}

TEST_F(Asks, ReleaseEndsDescendantsToo) {
  start_agent();
  Child shell = spawn({"run", "--memory", "10GiB", "--", "/bin/sh", "-c", "setsid sleep 1000 & echo started; wait"});
  ASSERT_EQ(shell.read_line(), "started");
  const std::string id = grants().at(0)["id"];
  // Without a control group of its own a grant knows of descendants when `kiboko run` ends.
  const bool grouped = grant(id)["held_by"] == "control group";
  if (!grouped) GTEST_SKIP() << "no control groups here";
  ASSERT_TRUE(eventually([&] { return grant(id)["processes"].size() == 2; }));
  EXPECT_EQ(kiboko({"release", "--force", id}).exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return state(id) == "ended"; }));
}

TEST_F(Asks, AnExclusiveGrantEmptiesTheDeviceAndIsNotInTheWay) {
  spec = "2xH100-80GB";
  start_agent();
  Child whole = user({"--exclusive", "--device", "1"});
  EXPECT_EQ(whole.ask("variable LD_PRELOAD"), "variable");
  EXPECT_EQ(whole.ask("variable KIBOKO_GRANT"), "variable");
  EXPECT_EQ(whole.ask("open 0"), "open 0");
  const std::string uuid = device(1)["uuid"];
  EXPECT_EQ(whole.ask("devices"), "devices " + uuid);
  EXPECT_GT(memory_of(whole).device_total, 75 * kGiB);
  EXPECT_EQ(device(1)["exclusive"], true);
  const Ended refused = kiboko({"run", "--no-wait", "--memory", "1GiB", "--device", "1", "--", "/bin/true"});
  EXPECT_EQ(refused.exit_code(), 125);
  EXPECT_THAT(refused.err, HasSubstr("granted whole"));
  EXPECT_EQ(kiboko({"run", "--no-wait", "--memory", "1GiB", "--", "/bin/true"}).exit_code(), 0);
  whole.wait();
  EXPECT_TRUE(eventually([&] { return device(1)["exclusive"] == false; }));
}

TEST_F(Asks, AWholeDeviceWaitsUntilTheDeviceIsEmpty) {
  start_agent();
  Child share = tenant({"--memory", "1GiB"});
  const Ended refused = kiboko({"run", "--no-wait", "--exclusive", "--", "/bin/true"});
  EXPECT_EQ(refused.exit_code(), 125);
  Child whole = user({"--exclusive"});
  ASSERT_TRUE(eventually([&] { return call("GET", "/api/v1/queue").second["queue"].size() == 1; }));
  share.wait();
  EXPECT_EQ(whole.ask("open 0"), "open 0");
}

TEST_F(Asks, CountTwoGivesThePartOnEachOfTwoDevices) {
  spec = "2xH100-80GB";
  start_agent();
  Child both = tenant({"--count", "2", "--memory", "30GiB"});
  EXPECT_EQ(granted_bytes(0), 30 * kGiB);
  EXPECT_EQ(granted_bytes(1), 30 * kGiB);
  const std::string uuids = both.ask("devices");
  EXPECT_THAT(uuids,
              AllOf(HasSubstr(device(0)["uuid"].get<std::string>()), HasSubstr(device(1)["uuid"].get<std::string>())));
  for (const char* ordinal : {"0", "1"}) {
    EXPECT_EQ(both.ask(std::string("open ") + ordinal), "open 0");  // the answer is CUDA's
    EXPECT_EQ(memory_of(both).total, 30 * kGiB);
    EXPECT_EQ(allocate(both, 29 * kGiB), 0);
    EXPECT_EQ(allocate(both, 2 * kGiB), kOutOfMemory);
  }
  const Ended refused = kiboko({"run", "--count", "3", "--memory", "1GiB", "--", "/bin/true"});
  EXPECT_EQ(refused.exit_code(), 125);
  EXPECT_THAT(refused.err, HasSubstr("3"));
}

TEST_F(Asks, DevicesAreChosenByIndexUuidAndModel) {
  spec = "1xH100-80GB,1xA10-24GB";
  start_agent();
  const std::string first = device(0)["uuid"], second = device(1)["uuid"];
  const auto devices_with = [&](const Words& flags) {
    Child child = tenant(flags);
    return child.ask("devices");
  };
  EXPECT_EQ(devices_with({"--device", "1", "--memory", "1GiB"}), "devices " + second);
  EXPECT_EQ(devices_with({"--device", "0", "--memory", "1GiB"}), "devices " + first);
  EXPECT_EQ(devices_with({"--device", second, "--memory", "1GiB"}), "devices " + second);
  EXPECT_EQ(devices_with({"--type", "A10", "--memory", "1GiB"}), "devices " + second);
  EXPECT_EQ(devices_with({"--type", "h100", "--memory", "1GiB"}), "devices " + first);
  for (const auto& [flags, named] :
       {std::pair(Words{"--device", "7"}, "7"),
        std::pair(Words{"--device", "GPU-00000000-0000-0000-0000-000000000000"}, "GPU-00000000"),
        std::pair(Words{"--type", "B300"}, "B300"), std::pair(Words{"--tpye", "A10"}, "--type"),
        std::pair(Words{"--policy", "firm"}, "firm"), std::pair(Words{"--cores", "101"}, "101")}) {
    Words words{"run"};
    words.insert(words.end(), flags.begin(), flags.end());
    words.insert(words.end(), {"--", "/bin/echo", "it ran"});
    const Ended refused = kiboko(words);
    EXPECT_EQ(refused.exit_code(), 125) << named;
    EXPECT_EQ(refused.out, "");
    EXPECT_THAT(refused.err, HasSubstr(named));
  }
}

TEST_F(Asks, AnUnhealthyDeviceIsSaidAndNotGranted) {
  spec = "2xH100-80GB";
  start_agent();
  ASSERT_EQ(run(start({installed("kiboko-sim"), "--set", simulation(), "unhealthy", "0"})).status, 0);
  ASSERT_TRUE(eventually([&] { return device(0)["health"] == "unhealthy"; }));
  EXPECT_THAT(kiboko({"devices"}).out, HasSubstr("unhealthy"));
  Child program = user({"--memory", "1GiB"});
  EXPECT_EQ(program.ask("variable CUDA_VISIBLE_DEVICES"), "variable " + device(1)["uuid"].get<std::string>());
  EXPECT_EQ(granted_bytes(1), kGiB);
  ASSERT_EQ(run(start({installed("kiboko-sim"), "--set", simulation(), "healthy", "0"})).status, 0);
  EXPECT_TRUE(eventually([&] { return device(0)["health"] == "healthy"; }));
  EXPECT_TRUE(eventually([&] { return events("device").size() == 2; }));
}

}  // namespace
}  // namespace kiboko::host_test
