// Programs that get onto a device past the library: not stopped, but reported.
#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

class Violations : public OneHost {
 protected:
  // As `env -i` would start it: a driver, and nothing of ours.
  Start bare() const {
    Start how = start({program("device_user"), "open 0", "alloc 1073741824", "pid", "hold"});
    how.environment = {{"LD_LIBRARY_PATH", KIBOKO_SIM_LIBRARIES}, {"KIBOKO_SIM", simulation()}};
    return how;
  }
};

TEST_F(Violations, AProcessWithoutAGrantIsReportedEverywhere) {
  start_agent();
  Child stranger(bare());
  ASSERT_EQ(stranger.read_line(), "open 0");
  ASSERT_EQ(stranger.read_line(), "alloc 0");
  const auto pid = numbers(stranger.read_line(), "pid");
  ASSERT_THAT(pid, SizeIs(1));
  ASSERT_TRUE(eventually([&] { return device()["strangers"].size() == 1; }));
  EXPECT_EQ(device()["strangers"][0]["pid"], pid[0]);
  EXPECT_GT(device()["strangers"][0]["used_bytes"], kGiB);
  EXPECT_THAT(kiboko({"ps"}).out, AllOf(HasSubstr("violation"), HasSubstr(std::to_string(pid[0]))));
  EXPECT_THAT(events("stranger"), SizeIs(1));
  EXPECT_THAT(text("/metrics"),
              HasSubstr("kiboko_device_strangers{device=\"" + device()["uuid"].get<std::string>() + "\"} 1\n"));
  stranger.signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return device()["strangers"].empty(); }));
}

TEST_F(Violations, AProgramOfAGrantThatDropsTheLibraryIsReportedWithItsGrant) {
  start_agent();
  Child escaped = spawn({"run", "--memory", "10GiB", "--", "/usr/bin/env", "-u", "LD_PRELOAD", "-u", "KIBOKO_GRANT",
                         program("device_user"), "open 0", "alloc 21474836480", "hold"});
  ASSERT_EQ(escaped.read_line(), "open 0");
  ASSERT_EQ(escaped.read_line(), "alloc 0");  // a preload cannot stop it
  ASSERT_TRUE(eventually([&] { return device()["strangers"].size() == 1; }));
  const std::string id = grants().at(0)["id"];
  EXPECT_EQ(device()["strangers"][0]["grant"], id);
  EXPECT_THAT(kiboko({"ps"}).out, AllOf(HasSubstr("violation"), HasSubstr("in grant " + id)));
  EXPECT_THAT(events("without_slot"), SizeIs(1));
}

TEST_F(Violations, ProgramsWithinTheirGrantsAreNotReported) {
  start_agent();
  Child share = tenant({"--memory", "10GiB"});
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(kiboko({"run", "--memory", "1GiB", "--", program("device_user"), "open 0", "alloc 4194304"}).exit_code(),
              0);
    EXPECT_TRUE(device()["strangers"].empty());
  }
  EXPECT_THAT(events("stranger"), SizeIs(0));
  EXPECT_THAT(events("without_slot"), SizeIs(0));
}

}  // namespace
}  // namespace kiboko::host_test
