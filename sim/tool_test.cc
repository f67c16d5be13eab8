// kiboko-sim against loads whose busy time is known to the nanosecond.
#include "tool_figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <nlohmann/json.hpp>

#include "test_load.h"

namespace sim::tool {
namespace {

using test::eventually;
using test::Load;

struct Ran {
  int exit_code;
  std::string output;  // both streams
};

Ran kiboko_sim(const std::string& arguments) {
  FILE* pipe = popen((KIBOKO_SIM_TOOL " " + arguments + " 2>&1").c_str(), "r");
  Ran ran{-1, ""};
  char text[4096];
  while (const std::size_t size = fread(text, 1, sizeof text, pipe)) ran.output.append(text, size);
  const int status = pclose(pipe);
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

class Tool : public test::DeviceSet {
 protected:
  // Runs kernels for `ns` on a device, well inside the interval it returns.
  Interval work(Load& load, std::uint64_t ns) {
    const std::uint64_t from = now_ns();
    test::sleep_ms(3);
    load.submit(ns);
    EXPECT_TRUE(eventually([&] { return load.is_idle(); }));
    test::sleep_ms(3);
    return {from, now_ns()};
  }
};

TEST_F(Tool, ShowsBusyTimeToTheNanosecond) {
  Load load(shared(), 0);
  ASSERT_TRUE(load.take(64 * kMiB));
  const Interval interval = work(load, 123'456'789);
  const Ran ran = kiboko_sim("busy --json --device 0 --since " + std::to_string(interval.from) + " --until " +
                             std::to_string(interval.to));
  ASSERT_EQ(ran.exit_code, 0) << ran.output;
  const auto report = nlohmann::json::parse(ran.output);
  const auto device = report["devices"][0];
  const auto process = device["processes"][0];
  EXPECT_EQ(process["pid"], getpid());
  EXPECT_EQ(process["namespace_pid"], getpid());
  EXPECT_EQ(process["alive"], true);
  EXPECT_EQ(process["memory_bytes"], 64 * kMiB);
  EXPECT_EQ(process["busy_ns_total"], 123'456'789);
  EXPECT_EQ(process["busy_ns"], 123'456'789);
  EXPECT_EQ(device["busy_ns"], 123'456'789);
  const double length = report["until"].get<double>() - report["since"].get<double>();
  EXPECT_NEAR(length, static_cast<double>(interval.to - interval.from), 2e6);
  const double share = 100.0 * 123'456'789 / length;
  EXPECT_NEAR(process["share_percent"].get<double>(), share, 1e-9);
}

TEST_F(Tool, SplitsTheDeviceAmongThoseWhoUsedIt) {
  Load one(shared(), 0), other(shared(), 0);
  const std::uint64_t from = now_ns();
  test::sleep_ms(3);
  one.submit(60'000'000);
  other.submit(20'000'000);
  ASSERT_TRUE(eventually([&] { return one.is_idle() && other.is_idle(); }));
  test::sleep_ms(3);
  const Request request{.interval = {from, now_ns()}, .target_percent = {}, .pid = {}};
  const std::vector<Figure> found = figures(shared(), 0, request);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].busy_ns, 60'000'000U);
  EXPECT_EQ(found[1].busy_ns, 20'000'000U);
}

TEST_F(Tool, FindsTheWorstSecondAgainstATarget) {
  Load load(shared(), 0);
  const std::uint64_t from = now_ns();
  load.submit(600'000'000'000);
  ASSERT_TRUE(eventually([&] { return now_ns() > from + 1'500'000'000; }));
  Request request{.interval = {from, now_ns()}, .target_percent = 60, .settle_ns = 20'000'000, .pid = {}};
  const std::vector<Figure> found = figures(shared(), 0, request);
  ASSERT_EQ(found.size(), 1U);
  ASSERT_TRUE(found[0].worst_1s_error_points.has_value());
  EXPECT_NEAR(*found[0].worst_1s_error_points, 40, 5);  // it had all of the device, but for the test's own start
  request.interval.to = from + 900'000'000;             // no whole second in it
  EXPECT_FALSE(figures(shared(), 0, request)[0].worst_1s_error_points.has_value());
}

TEST_F(Tool, KeepsTheFiguresOfAProcessThatIsGone) {
  {
    Load load(shared(), 0);
    work(load, 5'000'000);
  }
  const Ran ran = kiboko_sim("busy --json --device 0");
  const auto process = nlohmann::json::parse(ran.output)["devices"][0]["processes"][0];
  EXPECT_EQ(process["alive"], false);
  EXPECT_EQ(process["busy_ns"], 5'000'000);
  EXPECT_EQ(process["memory_bytes"], 0);
}

TEST_F(Tool, RefusesAnIntervalThatTheLogNoLongerHas) {
  const Ran ran = kiboko_sim("busy --window 40s");
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.output, testing::HasSubstr("the log keeps 32 s"));
}

TEST_F(Tool, WatchesSharesAsCsv) {
  Load load(shared(), 1);
  load.submit(600'000'000'000);
  const Ran ran = kiboko_sim("watch --device 1 --every 50ms --seconds 0.3");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.output,
              testing::StartsWith("monotonic_ns,device,pid,command,alive,share_percent,busy_ns,memory_bytes\n"));
  EXPECT_THAT(ran.output, testing::HasSubstr(",1," + std::to_string(getpid()) + ","));
  EXPECT_THAT(ran.output, testing::HasSubstr(",100.000,50000000,"));
}

TEST_F(Tool, MakesListsAndRemovesASet) {
  const std::string set = name() + "-made";
  EXPECT_EQ(kiboko_sim("create " + set + " 2xA10-24GB").exit_code, 0);
  EXPECT_EQ(kiboko_sim("create " + set + " 2xA10-24GB").exit_code, 1);
  EXPECT_EQ(kiboko_sim("create --keep " + set + " 2xA10-24GB").exit_code, 0);
  const auto listed = nlohmann::json::parse(kiboko_sim("--set " + set + " list --json").output);
  ASSERT_EQ(listed[0]["devices"].size(), 2U);
  EXPECT_EQ(listed[0]["devices"][1]["name"], "NVIDIA A10");
  EXPECT_EQ(listed[0]["devices"][1]["healthy"], true);
  EXPECT_EQ(kiboko_sim("remove " + set).exit_code, 0);
  EXPECT_NE(access(path_of(set).c_str(), F_OK), 0);
  EXPECT_NE(access(management_path(set).c_str(), F_OK), 0);
  EXPECT_EQ(kiboko_sim("remove " + set).exit_code, 1);
}

TEST_F(Tool, KeepsASetWithProcessesOnItUnlessForced) {
  Load load(shared(), 0);
  EXPECT_EQ(kiboko_sim("remove " + name()).exit_code, 1);
  EXPECT_EQ(access(path_of(name()).c_str(), F_OK), 0);
  EXPECT_EQ(kiboko_sim("remove --force " + name()).exit_code, 0);
}

TEST_F(Tool, DemandingOtherDevicesReplacesASetThatNobodyIsOn) {
  std::string error;
  ASSERT_NE(demand(name(), "2xH100-80GB,1xRTX-4090-24GB", error), nullptr) << error;
  {
    Load load(shared(), 0);
    EXPECT_EQ(demand(name(), "1xA10-24GB", error), nullptr);
    EXPECT_THAT(error, testing::HasSubstr("holds 2xH100-80GB,1xRTX-4090-24GB, not 1xA10-24GB, and 1 process is on it"));
    EXPECT_NE(demand(name(), "2xH100-80GB,1xRTX-4090-24GB", error), nullptr) << "the same may be asked for at any time";
  }
  const Shared* other = demand(name(), "1xA10-24GB", error);
  ASSERT_NE(other, nullptr) << error;
  EXPECT_EQ(other->device_count, 1U);
  EXPECT_EQ(demand(name(), "1xA11-24GB", error), nullptr);
  EXPECT_THAT(error, testing::HasSubstr("A11-24GB"));
}

TEST_F(Tool, MakesADeviceUnhealthyAndWellAgain) {
  std::string error;
  ManagementState& state = *attach_management(name(), error);
  std::uint64_t cursor = 0;
  EventCopy event{};
  EXPECT_EQ(kiboko_sim("unhealthy 1").exit_code, 0);
  EXPECT_EQ(state.devices[1].lost, 1U);
  ASSERT_TRUE(next_event(state, cursor, event));
  EXPECT_EQ(event.device, 1);
  EXPECT_EQ(event.data, kXidDeviceLost);
  EXPECT_EQ(kiboko_sim("healthy 1").exit_code, 0);
  EXPECT_EQ(state.devices[1].lost, 0U);
  EXPECT_EQ(kiboko_sim("xid " + uuid_text(shared().devices[0].uuid) + " 13").exit_code, 0);
  ASSERT_TRUE(next_event(state, cursor, event));
  EXPECT_EQ(event.device, 0);
  EXPECT_EQ(event.data, 13U);
  EXPECT_FALSE(next_event(state, cursor, event));
}

TEST_F(Tool, NamesADeviceOrSetThatIsNotThere) {
  EXPECT_THAT(kiboko_sim("xid 9 13").output, testing::HasSubstr("no device \"9\""));
  EXPECT_THAT(kiboko_sim("--set nowhere busy").output, testing::HasSubstr("kiboko-sim create nowhere"));
}

TEST(Duration, IsANumberWithAUnit) {
  EXPECT_EQ(parse_duration("10s"), 10 * kSecond);
  EXPECT_EQ(parse_duration("1.5"), kSecond * 3 / 2);
  EXPECT_EQ(parse_duration("250us"), 250'000U);
  EXPECT_EQ(parse_duration("2m"), 120 * kSecond);
  for (const char* wrong : {"", "s", "10 s", "10sx", "-1s", "1h"}) EXPECT_FALSE(parse_duration(wrong)) << wrong;
}

TEST(Events, KeepTheNewestWhenMoreHappenThanFit) {
  static ManagementState state;
  for (std::uint64_t i = 1; i <= kHealthEvents + 10; ++i) post_event(state, 0, kEventXid, i);
  std::uint64_t cursor = 0, seen = 0, first = 0;
  EventCopy event{};
  while (next_event(state, cursor, event)) {
    if (seen++ == 0) first = event.data;
  }
  EXPECT_EQ(seen, static_cast<std::uint64_t>(kHealthEvents));
  EXPECT_EQ(first, 11U);
}

}  // namespace
}  // namespace sim::tool
