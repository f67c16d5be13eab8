#include "host/cgroups.h"

#include <gmock/gmock.h>

#include "host/testing.h"

namespace kiboko {
namespace {

using namespace testing_host;
using testing::Contains;
using testing::ElementsAre;

struct MountRow {
  const char* name;
  const char* mountinfo;
  CgroupMounts mounts;
};
void PrintTo(const MountRow& row, std::ostream* out) { *out << row.name; }

class MountTable : public testing::TestWithParam<MountRow> {};
TEST_P(MountTable, IsRead) { EXPECT_EQ(parse_mountinfo(GetParam().mountinfo), GetParam().mounts); }
INSTANTIATE_TEST_SUITE_P(
    Cgroups, MountTable,
    testing::Values(MountRow{"Unified",
                             "31 23 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
                             {"/sys/fs/cgroup", "", ""}},
                    MountRow{"Hybrid",
                             "36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n"
                             "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
                             "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
                             "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
                             {"/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/devices"}},
                    MountRow{"OldOnly",
                             "32 31 0:29 / /sys/fs/cgroup/cpu\\040set rw - cgroup cgroup rw,cpu,cpuacct\n",
                             {"", "/sys/fs/cgroup/cpu set", ""}},
                    MountRow{"None", "21 1 8:1 / / rw - ext4 /dev/root rw\ngarbage\n - \n", {"", "", ""}}),
    [](const auto& row) { return row.param.name; });

TEST(Cgroups, WithoutAHierarchyThereAreNone) {
  const Cgroups groups = Cgroups::open({}, "kiboko-test");
  EXPECT_FALSE(groups.available());
  EXPECT_FALSE(groups.why().empty());
  EXPECT_TRUE(groups.processes({"g-00000000"}).empty());
}

TEST(Cgroups, AProcessAndItsChildrenAreInTheirGroup) {
  const Cgroups groups = Cgroups::open(parse_mountinfo(read_file("/proc/self/mountinfo").value()),
                                       fmt::format("kiboko-test-{}", ::getpid()));
  if (!groups.available()) GTEST_SKIP() << groups.why();
  const GrantId id{"g-00000000"};
  ASSERT_TRUE(groups.create(id));
  Child child;
  const auto moved = groups.add(id, child.pid());
  if (moved) {
    EXPECT_THAT(groups.processes(id), ElementsAre(child.pid()));
    EXPECT_THAT(groups.all(), Contains(id));
    EXPECT_FALSE(groups.remove(id));
  }
  child.end();
  EXPECT_TRUE(groups.processes(id).empty());
  EXPECT_TRUE(groups.remove(id));
  EXPECT_FALSE(groups.exists(id));
  ::rmdir(groups.root().c_str());
  if (!moved) GTEST_SKIP() << moved.error().message;
}

}  // namespace
}  // namespace kiboko
