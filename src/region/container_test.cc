// A region that a container's processes share under HAMi's variables: devices by UUID, any user, and what to do with a
// file that HAMi-core left. Its files are built from numbers of its releases, not from our layout.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <filesystem>
#include <vector>

#include "region/fixture.h"
#include "region/hami_file.h"

namespace kiboko::region {
namespace {

constexpr char kA[] = "GPU-aaaaaaaa-0000-0000-0000-000000000001";
constexpr char kB[] = "GPU-bbbbbbbb-0000-0000-0000-000000000002";
constexpr char kC[] = "GPU-cccccccc-0000-0000-0000-000000000003";

// Limits are told apart by their numbers: 100 + i.
RegionSeed container(const std::vector<const char*>& uuids, unsigned numbered = 0) {
  RegionSeed seed;
  seed.sharing = Sharing::Container;
  seed.numbered = numbered;
  for (const char* uuid : uuids) seed.uuids[seed.device_count++] = uuid;
  for (unsigned i = 0; i < kMaxDevices; ++i) seed.memory_limit[i] = 100 + i;
  return seed;
}

class ContainerRegion : public testing::Test {
 protected:
  std::string path() const { return dir_.path("region.cache"); }
  std::string refusal(const RegionSeed& seed) {
    Mapping region;
    PageError error;
    const bool open = region.open(path().c_str(), seed, &error);
    unwritable_ = region.unwritable();
    return open ? "" : error.text;
  }
  void open(Mapping& region, const RegionSeed& seed) const {
    PageError error;
    ASSERT_TRUE(region.open(path().c_str(), seed, &error)) << error.text;
  }
  // "uuid=limit", in the file's order.
  std::vector<std::string> devices() const {
    Mapping region;
    open(region, container({}));
    std::vector<std::string> list;
    for (unsigned i = 0; i < devices_in(region.hami()); ++i)
      list.push_back(std::string(region.hami().uuids[i]) + "=" + std::to_string(region.hami().memory_limit[i]));
    return list;
  }
  template <class T>
  void put(std::size_t offset, T value) const {
    const int fd = ::open(path().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    ASSERT_EQ(::pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)), static_cast<ssize_t>(sizeof value));
    ::close(fd);
  }
  void put_text(std::size_t offset, const char* text) const {
    for (; *text != '\0'; ++text) put(offset++, *text);
  }
  // A file as HAMi-core leaves it, with the devices B and A; no slot is used.
  void leave_hami_file() const {
    put<std::int32_t>(0, 19920718);
    put<std::uint32_t>(4, 1);
    put<std::uint32_t>(8, 2);
    put<std::uint64_t>(16, 4242);  // a lock that its owner died with
    put<std::uint64_t>(56, 2);
    put_text(64, kB);
    put_text(64 + 96, kA);
    put<std::uint64_t>(1600, 7);
    put<std::uint64_t>(1608, 8);
    put<std::int32_t>(2008900, 0);            // switch
    put<std::int32_t>(2008904, -1);           // blocked
    put<std::uint64_t>(2008912, 1234567890);  // last kernel
    put<char>(2008952, 0);
  }
  void leave_slot(unsigned index, pid_t pid) const {
    const std::size_t slot = 1856 + index * 1960;
    put<std::int32_t>(slot, pid);
    put<std::int32_t>(slot + 4, pid + 1000);
    put<std::uint64_t>(slot + 8 + 32, 5 * kMi);
    put<std::uint64_t>(slot + 8 + 64 + 32, 6 * kMi);
    put<std::int32_t>(slot + 1928, 1);
    put<std::int32_t>(2008896, static_cast<std::int32_t>(index) + 1);
  }
  // A process that waits to be killed, with the region mapped or without.
  pid_t bystander(bool maps) const {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t pid = start_child([&] {
      const int fd = ::open(path().c_str(), O_RDWR);
      if (maps && ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED) return 1;
      ::close(fd);
      if (::write(ready[1], "x", 1) != 1) return 1;
      ::pause();
      return 0;
    });
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
    return pid;
  }
  static void end(pid_t pid) {
    ::kill(pid, SIGKILL);
    wait_for(pid);
  }
  TempDir dir_;
  bool unwritable_ = false;
};

using Devices = std::vector<std::string>;
std::string with(const char* uuid, unsigned limit) { return std::string(uuid) + "=" + std::to_string(limit); }

TEST_F(ContainerRegion, TakesAnyPartOfItsDevicesInAnyOrder) {
  EXPECT_EQ(refusal(container({kA, kB})), "");
  EXPECT_EQ(refusal(container({kB})), "");
  EXPECT_EQ(refusal(container({kB, kA})), "");
  EXPECT_EQ(refusal(container({})), "");
  EXPECT_EQ(devices(), (Devices{with(kA, 100), with(kB, 101)}));
}

TEST_F(ContainerRegion, AppendsADeviceThatItDoesNotKnow) {
  EXPECT_EQ(refusal(container({kB})), "");
  Mapping open_before;
  open(open_before, container({kB}));
  EXPECT_EQ(refusal(container({kA, kB})), "");
  EXPECT_EQ(refusal(container({kC})), "");
  EXPECT_EQ(devices(), (Devices{with(kB, 100), with(kA, 101), with(kC, 102)}));
  EXPECT_EQ(index_of_device(open_before.hami(), kC), 2);
  EXPECT_EQ(open_before.ext().header.device_count, 3u);
}

TEST_F(ContainerRegion, GivesADeviceTheLimitsOfItsNumberAtWhateverIndex) {
  EXPECT_EQ(refusal(container({kC})), "");
  EXPECT_EQ(refusal(container({kA, kB, kC}, 2)), "");
  EXPECT_EQ(devices(), (Devices{with(kC, 100), with(kA, 100), with(kB, 101)}));
}

TEST_F(ContainerRegion, KnowsADeviceInAnyLettersAndAMigDeviceByItsGpuName) {
  EXPECT_EQ(refusal(container({"MIG-AAAAAAAA-0000-0000-0000-000000000001"})), "");
  EXPECT_EQ(refusal(container({kA})), "");
  EXPECT_EQ(devices(), (Devices{with("MIG-AAAAAAAA-0000-0000-0000-000000000001", 100)}));
}

TEST_F(ContainerRegion, HoldsEveryDeviceOnceWhenManyBringTheirsAtOnce) {
  std::vector<std::string> uuids;
  for (unsigned i = 0; i < kMaxDevices; ++i)
    uuids.push_back("GPU-00000000-0000-0000-0000-0000000000" + std::to_string(10 + i));
  std::vector<pid_t> children;
  for (unsigned i = 0; i < 2 * kMaxDevices; ++i)
    children.push_back(start_child([&] {
      const char* first = uuids[i % kMaxDevices].c_str();
      const char* second = uuids[(i * 7 + 3) % kMaxDevices].c_str();
      return refusal(first == second ? container({first}) : container({first, second})).empty() ? 0 : 1;
    }));
  for (const pid_t child : children) EXPECT_EQ(exit_code_of(child), 0);
  Mapping region;
  open(region, container({}));
  EXPECT_EQ(devices_in(region.hami()), kMaxDevices);
  for (const std::string& uuid : uuids) EXPECT_GE(index_of_device(region.hami(), uuid.c_str()), 0) << uuid;
  EXPECT_NE(refusal(container({kA})).find("16 devices already"), std::string::npos);
}

TEST_F(ContainerRegion, IsOpenToEveryUserWhateverTheUmask) {
  EXPECT_EQ(exit_code_of(start_child([&] {
              ::umask(0077);
              return refusal(container({kA})).empty() && ::umask(0) == 0077 ? 0 : 1;
            })),
            0);
  struct stat status = {};
  ::stat(path().c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777u, 0666u);
}

TEST_F(ContainerRegion, IsSharedByProcessesOfSeveralUsers) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root to become other users";
  ::chmod(dir_.path("").c_str(), 0777);
  for (const uid_t user : {60001u, 60002u})
    EXPECT_EQ(exit_code_of(start_child([&] {
                ::umask(0022);
                return ::setuid(user) == 0 && refusal(container({kA})).empty() ? 0 : 1;
              })),
              0);
  EXPECT_EQ(refusal(container({kA})), "");
}

TEST_F(ContainerRegion, SaysWhetherItCouldNotBeWrittenOrIsNotAsItShouldBe) {
  ::mkdir(path().c_str(), 0700);
  EXPECT_NE(refusal(container({kA})), "");
  EXPECT_FALSE(unwritable_);
  ::rmdir(path().c_str());
  dir_.write("region.cache", std::string(5000, 'x'), 0600);
  EXPECT_NE(refusal(container({kA})), "");
  EXPECT_FALSE(unwritable_);
  Mapping region;
  PageError error;
  EXPECT_FALSE(region.open(dir_.path("nowhere/region").c_str(), container({kA}), &error));
  EXPECT_TRUE(region.unwritable());
}

TEST_F(ContainerRegion, TakesOverTheFileOfAHamiCoreThatIsGone) {
  leave_hami_file();
  const pid_t dead = start_child([] { return 0; });
  wait_for(dead);
  leave_slot(0, dead);
  leave_slot(2, dead);
  Mapping region;
  open(region, container({kA, kB, kC}, 2));
  EXPECT_EQ(std::filesystem::file_size(path()), kRegionBytes);
  EXPECT_EQ(devices(), (Devices{with(kB, 101), with(kA, 100), with(kC, 102)})) << "the order is HAMi-core's";
  const HamiRegion& hami = region.hami();
  EXPECT_EQ(hami.owner_pid, 0u);
  EXPECT_EQ(hami.semaphore[0], 1);
  EXPECT_EQ(hami.slot_count, 0);
  EXPECT_EQ(hami.slots[0].used[0].total + hami.slots[2].used[1].total, 0u);
  EXPECT_EQ(hami.slots[0].pid + hami.slots[2].pid + hami.slots[2].status, 0);
  EXPECT_EQ(hami.utilization_switch, 0);
  EXPECT_EQ(hami.recent_kernel, -1) << "the monitor's words are its own";
  EXPECT_EQ(hami.last_kernel_time, 1234567890);
  EXPECT_TRUE(Account(region, claim(region)).charge(0, kMi, ChargeKind::Data, AccountView{kMi, 0}));
}

TEST_F(ContainerRegion, TakesOverTheFileOfTheReleaseBeforeAndOneThatWasNeverFilled) {
  leave_hami_file();
  put<std::uint32_t>(8, 1);
  EXPECT_EQ(refusal(container({kA})), "");
  std::filesystem::remove(path());
  put<char>(2008952, 0);
  EXPECT_EQ(refusal(container({kA})), "");
  EXPECT_EQ(devices(), (Devices{with(kA, 100)}));
}

TEST_F(ContainerRegion, LeavesAFileAloneThatALiveProcessUsesThroughHamiCore) {
  leave_hami_file();
  const pid_t user = bystander(true);
  leave_slot(3, user);
  EXPECT_NE(refusal(container({kA})).find("process " + std::to_string(user) + " uses it through HAMi-core"),
            std::string::npos)
      << refusal(container({kA}));
  EXPECT_EQ(std::filesystem::file_size(path()), 2008953u);
  EXPECT_FALSE(unwritable_);
  end(user);
  EXPECT_EQ(refusal(container({kA})), "");
}

TEST_F(ContainerRegion, IsNotKeptFromAFileByAProcessThatOnlyHasThePidOfADeadOne) {
  leave_hami_file();
  const pid_t other = bystander(false);
  leave_slot(0, other);
  leave_slot(1, ::getpid());  // and the program itself may have one
  EXPECT_EQ(refusal(container({kA})), "");
  end(other);
}

TEST_F(ContainerRegion, NamesTheOlderLayoutsThatItCannotRead) {
  put<std::int32_t>(0, 19920718);
  put_text(56, kA);
  put<char>(1197896, 0);
  EXPECT_NE(refusal(container({kA})).find("HAMi-core's, version 0"), std::string::npos) << refusal(container({kA}));
  EXPECT_NE(refusal(container({kA})).find("delete it"), std::string::npos);
  std::filesystem::remove(path());

  put<std::int32_t>(0, 19920718);
  put<std::uint32_t>(4, 1);
  put<std::uint32_t>(8, 1);
  put<std::uint64_t>(88, 1);
  put_text(96, kA);
  put<char>(2008984, 0);
  EXPECT_NE(refusal(container({kA})).find("HAMi-core's, version 1.1b"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(path()), 2008985u);
}

TEST_F(ContainerRegion, OfHamiCoreIsNothingForAGrant) {
  leave_hami_file();
  EXPECT_NE(refusal(one_device()).find("HAMi-core's, version 1.2"), std::string::npos) << refusal(one_device());
  EXPECT_EQ(std::filesystem::file_size(path()), 2008953u);
}

}  // namespace
}  // namespace kiboko::region
