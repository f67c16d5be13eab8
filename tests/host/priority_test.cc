// Of two programs on one device, the one of lower priority gets what the other leaves.
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

}  // namespace
}  // namespace kiboko::host_test
