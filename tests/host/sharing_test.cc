// Two programs share one device: each sees and gets its own part, and whoever does not fit waits.
#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class Sharing : public OneHost {};

TEST_F(Sharing, EachProgramSeesItsOwnLimitEverywhere) {
  start_agent();
  Child small = tenant({"--memory", "30GiB"}), large = tenant({"--memory", "45GiB"});
  for (auto& [child, limit] : {std::pair(&small, 30 * kGiB), std::pair(&large, 45 * kGiB)}) {
    const Memory memory = memory_of(*child);
    EXPECT_EQ(memory.total, limit);
    EXPECT_EQ(memory.device_total, limit);
    EXPECT_LT(memory.free, limit);  // the context is charged
    EXPECT_GT(memory.free, limit - kGiB);
    const auto nvml = numbers(child->ask("nvml"), "nvml");
    ASSERT_THAT(nvml, SizeIs(4));
    EXPECT_EQ(nvml[0], limit);
    EXPECT_EQ(nvml[1], limit - memory.free);
    EXPECT_EQ(nvml[2], limit);
    EXPECT_EQ(nvml[3], limit - memory.free);
    const auto pid = numbers(child->ask("pid"), "pid");
    EXPECT_THAT(numbers(child->ask("processes"), "processes"), ElementsAre(pid[0], limit - memory.free));
  }
}

TEST_F(Sharing, EachProgramGetsItsLimitAndNothingBeyond) {
  start_agent();
  Child small = tenant({"--memory", "30GiB"}), large = tenant({"--memory", "45GiB"});
  for (Child* child : {&small, &large}) {
    const Memory before = memory_of(*child);
    EXPECT_EQ(allocate(*child, before.free + 2 * kMiB), kOutOfMemory);
    EXPECT_EQ(allocate(*child, before.free), 0);
    EXPECT_EQ(memory_of(*child).free, 0U);
    EXPECT_EQ(allocate(*child, 2 * kMiB), kOutOfMemory);
    EXPECT_EQ(child->ask("free"), "free 0");
    EXPECT_EQ(memory_of(*child).free, before.free);
    const auto filled = numbers(child->ask("fill"), "fill");
    ASSERT_THAT(filled, SizeIs(2));
    EXPECT_EQ(filled[1], static_cast<unsigned>(kOutOfMemory));
    EXPECT_GT(filled[0] + 2 * kMiB, before.free);
  }
}

TEST_F(Sharing, WhatDoesNotFitWaitsWithAReasonAndStartsWhenItDoes) {
  start_agent();
  Child first = tenant({"--memory", "30GiB"}), second = tenant({"--memory", "45GiB"});
  Child third = user({"--memory", "10GiB"});
  ASSERT_TRUE(eventually([&] { return call("GET", "/api/v1/queue").second["queue"].size() == 1; }));
  const Json waiting = call("GET", "/api/v1/queue").second["queue"][0];
  EXPECT_EQ(waiting["waiting"]["position"], 1);
  EXPECT_EQ(waiting["waiting"]["code"], "memory");
  EXPECT_THAT(waiting["waiting"]["reason"].get<std::string>(), HasSubstr("asked 10.0 GiB"));
  EXPECT_THAT(kiboko({"ps"}).out, HasSubstr("asked 10.0 GiB"));
  const Json listed = kiboko_json({"ps"});
  EXPECT_THAT(listed["grants"], SizeIs(3));

  first.wait();
  EXPECT_EQ(third.ask("open 0"), "open 0");
  EXPECT_EQ(memory_of(third).total, 10 * kGiB);
  EXPECT_EQ(state(grant_of(third)), "running");
  EXPECT_TRUE(eventually([&] { return granted_bytes() == 55 * kGiB; }));
}

TEST_F(Sharing, WhoDoesNotWantToWaitIsRefusedWithASentence) {
  start_agent();
  Child first = tenant({"--memory", "75GiB"});
  const Ended refused = kiboko({"run", "--no-wait", "--memory", "10GiB", "--", "/bin/echo", "it ran"});
  EXPECT_EQ(refused.exit_code(), 125);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, HasSubstr("asked 10.0 GiB"));
  EXPECT_THAT(refused.err, HasSubstr("nearest"));
  EXPECT_THAT(grants(), SizeIs(1));
}

TEST_F(Sharing, AnAskThatCouldNeverFitIsRefusedAtOnce) {
  start_agent();
  const Ended refused = kiboko({"run", "--memory", "100GiB", "--", "/bin/true"});
  EXPECT_EQ(refused.exit_code(), 125);
  EXPECT_THAT(refused.err, HasSubstr("100.0 GiB"));
}

TEST_F(Sharing, CtrlCInTheQueueWithdrawsTheAsk) {
  start_agent();
  Child first = tenant({"--memory", "75GiB"});
  Child second = user({"--memory", "10GiB"});
  ASSERT_TRUE(eventually([&] { return call("GET", "/api/v1/queue").second["queue"].size() == 1; }));
  second.signal(SIGINT);
  EXPECT_EQ(second.wait().exit_code(), 128 + SIGINT);
  EXPECT_TRUE(eventually([&] { return call("GET", "/api/v1/queue").second["queue"].empty(); }));
}

TEST_F(Sharing, AProgramsEndGivesItsShareBack) {
  start_agent();
  EXPECT_EQ(
      kiboko({"run", "--memory", "40GiB", "--", program("device_user"), "open 0", "alloc 1073741824"}).exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return grants().empty() && granted_bytes() == 0; }));
  EXPECT_TRUE(eventually([&] { return device()["used_bytes"] == 0; }));
}

}  // namespace
}  // namespace kiboko::host_test
