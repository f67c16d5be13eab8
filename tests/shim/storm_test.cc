// Many processes: one after another, more than the region has slots for, killed all at once, on a disk without room.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <memory>

#include "region/snapshot.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::HasSubstr;

class Storm : public OnDriver {
 protected:
  Ended start_one() { return tenant.probe_run({"init"}); }
  // Slots that somebody has, alive or not.
  unsigned slots_taken() const {
    const auto snapshot = std::make_unique<region::RegionSnapshot>();
    region::PageError error{};
    const int fd = ::open(tenant.region_path().c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_TRUE(region::read_snapshot(fd, region::SnapshotCover::Skip, snapshot.get(), &error)) << error.text;
    ::close(fd);
    return snapshot->slot_count;
  }
};
KIBOKO_ON_EVERY_DRIVER(Storm);

TEST_P(Storm, ThreeHundredStartsInARowLeaveNothing) {
  tenant.grant({{0, kGiB}});
  const int count = sanitized() ? 30 : 300;
  for (int i = 0; i < count && !HasFailure(); ++i)
    EXPECT_EQ(tenant.probe_run({"init", "context", "0", "alloc", "1048576"}).out, "init 0\ncontext 0\nalloc 0\n");
  EXPECT_EQ(slots_taken(), 0u);
}

TEST_P(Storm, OneMoreThanThereAreSlotsIsRefusedAndTheSlotsOfTheKilledAreTakenAgain) {
  if (sanitized()) GTEST_SKIP() << "a thousand sanitized processes are too many";
  tenant.grant({{0, kGiB}});
  Process storm(tenant.start({program("shim_guest_program"), "storm", "1024", "2"}));
  for (int round = 0; round < 2; ++round) {
    const std::string started = storm.read_line(100'000);
    if (started != "1024" && storm.errors().find("no process") != std::string::npos)
      GTEST_SKIP() << "this machine allows fewer processes";
    EXPECT_EQ(started, "1024") << storm.errors();
    EXPECT_EQ(slots_taken(), 1024u);
    const Ended one_more = start_one();
    EXPECT_EQ(one_more.out, "init 304\n");
    EXPECT_EQ(lines_of(one_more.err).size(), 1u) << one_more.err;
    EXPECT_THAT(one_more.err, HasSubstr("1024 slots are used by live processes"));
    storm.write_line("");
  }
  EXPECT_EQ(storm.wait().exit_code, 0);
  EXPECT_EQ(start_one().out, "init 0\n");
  EXPECT_EQ(slots_taken(), 0u) << "of the dead";
}

TEST_P(Storm, AProcessWithoutRoomOnTheDiskIsRefusedAndTheNextOneWithIsNot) {
  if (tenant.run({"unshare", "-m", "mount", "-t", "tmpfs", "none", tenant.path("")}).exit_code != 0)
    GTEST_SKIP() << "needs the right to mount";
  const std::string disk = tenant.path("disk"), storm = "echo | " + program("shim_guest_program") + " storm 20 1\n";
  tenant.grant({{0, kGiB}}, disk + "/region");
  const Ended ended = tenant.run({"unshare", "-m", "sh", "-c",
                                  "set -e\nmkdir " + disk + "\nmount -t tmpfs -o size=1m none " + disk + "\n" +
                                      program("shim_probe") + " init\n" +  // makes the region
                                      "cat /dev/zero >" + disk + "/filler 2>/dev/null || true\n" + storm + "rm " +
                                      disk + "/filler\n" + storm});
  const std::vector<std::string> said = lines_of(ended.out);
  ASSERT_EQ(said.size(), 3u) << ended.out << ended.err;
  EXPECT_EQ(said[0], "init 0");
  const int started = std::stoi(said[1]);  // the first slots share a page
  EXPECT_GE(started, 1);
  EXPECT_LT(started, 20);
  EXPECT_EQ(said[2], "20");
  const std::vector<std::string> errors = lines_of(ended.err);
  EXPECT_EQ(errors.size(), static_cast<std::size_t>(20 - started)) << ended.err;
  for (const std::string& error : errors) EXPECT_THAT(error, HasSubstr("no space on disk for another process"));
}

}  // namespace
}  // namespace kiboko::shim_test
