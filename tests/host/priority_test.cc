// Who may use the device when: of two programs the one of lower priority gets what the other leaves, and a suspended
// one gets nothing.
#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::HasSubstr;

class Priority : public OneHost {
 protected:
  // Percent of device 0 over the last second, by the device's own log.
  double share_of(std::uint64_t pid) const {
    const Ended ended =
        run(start({installed("kiboko-sim"), "--set", simulation(), "busy", "--json", "--window", "1s"}));
    const Json busy = Json::parse(ended.out, nullptr, false);
    if (!busy.is_object()) return -1;
    for (const Json& process : busy["devices"][0]["processes"])
      if (process["pid"] == pid) return process["share_percent"];
    return 0;
  }
};

TEST_F(Priority, TheLowerWaitsWhileTheHigherWorksAndHasTheDeviceAfterwards) {
  start_agent();
  Child high = tenant({"--memory", "1GiB"}), low = tenant({"--memory", "1GiB", "--priority", "low"});
  EXPECT_EQ(grant(grant_of(low))["priority"], "low");
  EXPECT_THAT(kiboko({"grants"}).out, HasSubstr("low"));
  const std::uint64_t first = numbers(high.ask("pid"), "pid")[0], second = numbers(low.ask("pid"), "pid")[0];
  low.write_line("spin 1000000 60");
  ASSERT_TRUE(eventually([&] { return share_of(second) > 50; }));
  high.write_line("spin 1000000 15");
  // Both want all of it; as equals they would have half each.
  EXPECT_TRUE(eventually([&] { return share_of(first) > 60 && share_of(second) < 20; }));
  EXPECT_TRUE(eventually([&] { return share_of(second) > 50; })) << "the higher has ended its work";
}

class Suspend : public Priority {};

TEST_F(Suspend, ASuspendedProgramLeavesTheDeviceAloneUntilItIsResumed) {
  start_agent();
  Child program = tenant({"--memory", "1GiB"});
  const std::string id = grant_of(program);
  const std::uint64_t pid = numbers(program.ask("pid"), "pid")[0];
  program.write_line("spin 1000000 60");
  ASSERT_TRUE(eventually([&] { return share_of(pid) > 50; }));
  const Ended suspended = kiboko({"suspend", id});
  EXPECT_EQ(suspended.out, id + " suspended, nothing of it is in flight\n") << suspended.err;
  EXPECT_EQ(suspended.exit_code(), 0);
  EXPECT_TRUE(eventually([&] { return share_of(pid) == 0; }));
  EXPECT_EQ(grant(id)["suspended"], true);
  EXPECT_EQ(grant(id)["drained"], true);
  EXPECT_THAT(kiboko({"ps"}).out, HasSubstr("suspended"));
  EXPECT_THAT(kiboko({"grants", "show", id}).out, HasSubstr("suspended: nothing new is launched"));
  kill_agent();
  start_agent();
  EXPECT_EQ(grant(id)["suspended"], true) << "an agent that was replaced knows it";
  EXPECT_EQ(share_of(pid), 0);
  EXPECT_EQ(kiboko({"resume", id}).out, id + " resumed\n");
  EXPECT_TRUE(eventually([&] { return share_of(pid) > 50; }));
  EXPECT_THAT(events("suspended"), testing::SizeIs(1));
  EXPECT_THAT(events("resumed"), testing::SizeIs(1));
}

}  // namespace
}  // namespace kiboko::host_test
