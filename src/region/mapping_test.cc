#include "region/mapping.h"

#include <fcntl.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "region/fixture.h"

namespace kiboko::region {
namespace {

class RegionFile : public testing::Test {
 protected:
  std::string path() const { return dir_.path("region"); }
  // "" when the file is taken as a region.
  std::string refusal(const RegionSeed& seed) const {
    Mapping region;
    PageError error;
    return region.open(path().c_str(), seed, &error) ? "" : error.text;
  }
  std::string refusal() const { return refusal(one_device()); }
  void make() const { ASSERT_EQ(refusal(), ""); }
  template <class T>
  void put(std::size_t offset, T value) const {
    const int fd = ::open(path().c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_EQ(::pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)), static_cast<ssize_t>(sizeof value));
    ::close(fd);
  }
  struct stat status() const {
    struct stat status = {};
    ::stat(path().c_str(), &status);
    return status;
  }
  TempDir dir_;
};

TEST_F(RegionFile, BeginsWithTheBytesThatHamiReads) {
  make();
  const std::string bytes = file_bytes(path());
  ASSERT_EQ(bytes.size(), kRegionBytes);
  const std::string head = bytes.substr(0, offsetof(HamiRegion, slots));
  EXPECT_EQ(head, golden("region_v1.2_head.bin", head));
  const std::string tail =
      bytes.substr(offsetof(HamiRegion, slot_count), sizeof(HamiRegion) - offsetof(HamiRegion, slot_count));
  EXPECT_EQ(tail, golden("region_v1.2_tail.bin", tail));
  EXPECT_EQ(bytes.find_first_not_of('\0', offsetof(HamiRegion, slots)), offsetof(HamiRegion, utilization_switch));
}

TEST_F(RegionFile, HasSemaphoresAsTheCLibraryMakesThem) {
  make();
  sem_t semaphore;
  std::memset(&semaphore, 0, sizeof semaphore);
  ASSERT_EQ(::sem_init(&semaphore, 1, 1), 0);
  const std::string expected(reinterpret_cast<const char*>(&semaphore), sizeof semaphore);
  const std::string bytes = file_bytes(path());
  EXPECT_EQ(bytes.substr(offsetof(HamiRegion, semaphore), 32), expected);
  EXPECT_EQ(bytes.substr(offsetof(HamiRegion, post_init_semaphore), 32), expected);
}

TEST_F(RegionFile, IsPrivateToItsUserAndSparse) {
  make();
  EXPECT_EQ(status().st_mode & 0777u, 0600u);
  EXPECT_LE(status().st_blocks * 512, 64 * 1024);
}

TEST_F(RegionFile, StaysSmallWithEightProcesses) {
  Mapping region;
  PageError error;
  ASSERT_TRUE(region.open(path().c_str(), one_device(), &error)) << error.text;
  for (int i = 0; i < 8; ++i) Account(region, claim(region)).add(0, kMi, ChargeKind::Data);
  EXPECT_LE(status().st_blocks * 512, 64 * 1024);
}

TEST_F(RegionFile, KeepsTheModeAndTheContentsItHas) {
  dir_.write("region", "", 0640);
  make();
  put(offsetof(HamiRegion, memory_limit), std::uint64_t{123});
  Mapping again;
  PageError error;
  ASSERT_TRUE(again.open(path().c_str(), one_device(500), &error)) << error.text;
  EXPECT_EQ(again.hami().memory_limit[0], 123u);
  EXPECT_EQ(status().st_mode & 0777u, 0640u);
}

TEST_F(RegionFile, IsSharedByTwoMappings) {
  Mapping one, two;
  PageError error;
  ASSERT_TRUE(one.open(path().c_str(), one_device(), &error)) << error.text;
  ASSERT_TRUE(two.open(path().c_str(), one_device(), &error)) << error.text;
  Account(one, claim(one)).add(0, kMi, ChargeKind::Data);
  EXPECT_EQ(Account(two, claim(two)).total(0), kMi);
}

TEST_F(RegionFile, IsFinishedByTheNextWhenItsCreatorDiedBeforeItSaidSo) {
  make();
  put(offsetof(HamiRegion, magic), std::int32_t{0});
  put(offsetof(HamiRegion, device_count), std::uint64_t{9});
  EXPECT_EQ(refusal(), "");
}

struct Spoilt {
  const char* name;
  std::size_t offset;
  std::uint32_t value;
  const char* reason;
};
void PrintTo(const Spoilt& c, std::ostream* out) { *out << c.name; }
class SpoiltRegion : public RegionFile, public testing::WithParamInterface<Spoilt> {};
TEST_P(SpoiltRegion, IsRefusedByNameWithTheNextStep) {
  make();
  put(GetParam().offset, GetParam().value);
  EXPECT_NE(refusal().find(GetParam().reason), std::string::npos) << refusal();
  EXPECT_NE(refusal().find(path()), std::string::npos);
  EXPECT_NE(refusal().find("delete it"), std::string::npos);
}
INSTANTIATE_TEST_SUITE_P(Mapping, SpoiltRegion,
                         testing::Values(Spoilt{"Magic", 0, 5, "does not begin"}, Spoilt{"Major", 4, 2, "version 2.2"},
                                         Spoilt{"Minor", 8, 1, "version 1.1"},
                                         Spoilt{"DeviceCount", 56, 2, "for 2 devices"},
                                         Spoilt{"Uuid", 64, 0x2d555047 + 1, "its device 0 is 'HPU-"},
                                         Spoilt{"EndlessUuid", 64 + 40, 0x41414141, "its device 0"},
                                         Spoilt{"ExtensionMagic", kExtensionOffset, 7, "does not begin"},
                                         Spoilt{"ExtensionVersion", kExtensionOffset + 8, 9, "version 9"},
                                         Spoilt{"ExtensionHeaderBytes", kExtensionOffset + 12, 9, "its extension"},
                                         Spoilt{"ExtensionDevices", kExtensionOffset + 32, 16, "devices"}),
                         [](const auto& param_info) { return param_info.param.name; });

TEST_F(RegionFile, ForOtherDevicesIsRefused) {
  make();
  RegionSeed seed = one_device();
  seed.uuids[0] = "GPU-other";
  EXPECT_NE(refusal(seed).find("GPU-other"), std::string::npos);
  seed = one_device();
  seed.device_count = 2;
  EXPECT_NE(refusal(seed).find("has 2"), std::string::npos);
}

TEST_F(RegionFile, ThatWasCutIsRefused) {
  make();
  for (const std::uint64_t size : {std::uint64_t{1}, std::uint64_t{4096}, std::uint64_t{2008953}, kRegionBytes - 1}) {
    std::filesystem::resize_file(path(), size);
    EXPECT_NE(refusal().find(std::to_string(size) + " bytes"), std::string::npos) << refusal();
  }
}

TEST_F(RegionFile, ThatIsNoFileIsRefused) {
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  EXPECT_NE(refusal().find("not a regular file"), std::string::npos);
  ::unlink(path().c_str());
  ASSERT_EQ(::symlink(dir_.path("elsewhere").c_str(), path().c_str()), 0);
  EXPECT_NE(refusal().find("symbolic link"), std::string::npos);
  Mapping region;
  PageError error;
  EXPECT_FALSE(region.open("/nowhere/region", one_device(), &error));
  EXPECT_NE(std::string(error.text).find("folder must exist"), std::string::npos);
}

TEST_F(RegionFile, OnAFullDiskIsRefusedAndLeftEmpty) {
  // A limit on file sizes stands for a full disk: both are a failing ftruncate or fallocate.
  EXPECT_EQ(exit_code_of(start_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const struct rlimit limit = {1 << 20, 1 << 20};
              ::setrlimit(RLIMIT_FSIZE, &limit);
              return refusal().find("no room") != std::string::npos ? 0 : 1;
            })),
            0);
  EXPECT_EQ(status().st_size, 0);
}

TEST_F(RegionFile, IsMadeOnceByManyAtOnce) {
  std::vector<pid_t> children;
  for (int i = 0; i < 16; ++i)
    children.push_back(start_child([&] {
      Mapping region;
      PageError error;
      if (!region.open(path().c_str(), one_device(), &error)) return 1;
      Account(region, claim(region)).add(0, kMi, ChargeKind::Data);
      return 0;
    }));
  for (const pid_t child : children) EXPECT_EQ(exit_code_of(child), 0);
  Mapping region;
  PageError error;
  ASSERT_TRUE(region.open(path().c_str(), one_device(), &error)) << error.text;
  reap_dead_slots(region);
  EXPECT_EQ(sum_of_all_charges(region, 0), 0u);
}

TEST_F(RegionFile, IsServedStillWhenTheProgramClosedOurDescriptor) {
  Mapping region;
  PageError error;
  ASSERT_TRUE(region.open(path().c_str(), one_device(), &error)) << error.text;
  EXPECT_EQ(exit_code_of(start_child([&] {
              for (int fd = 3; fd < 64; ++fd) ::close(fd);
              const int other = ::open(dir_.path("other").c_str(), O_RDWR | O_CREAT, 0600);  // may get our number
              for (int i = 0; i < 4; ++i) ::dup(other);
              for (int i = 0; i < 70; ++i) claim(region);
              struct stat other_status = {};
              ::fstat(other, &other_status);
              return slots_in_use(region) == 70 && other_status.st_blocks == 0 ? 0 : 1;
            })),
            0);
}

TEST_F(RegionFile, LeavesErrnoAlone) {
  errno = 77;
  make();
  EXPECT_EQ(errno, 77);
}

TEST(PrivateRegion, NeedsNoFile) {
  Mapping region;
  PageError error;
  ASSERT_TRUE(region.open_private(one_device(), &error)) << error.text;
  const Slot slot = claim(region);
  EXPECT_TRUE(Account(region, slot).charge(0, kMi, ChargeKind::Data, AccountView{kMi, 0}));
  EXPECT_FALSE(Account(region, slot).charge(0, 1, ChargeKind::Data, AccountView{kMi, 0}));
}

TEST(RegionSeedOf, TooManyDevicesIsRefused) {
  RegionSeed seed;
  seed.device_count = kMaxDevices + 1;
  Mapping region;
  PageError error;
  EXPECT_FALSE(region.open_private(seed, &error));
}

}  // namespace
}  // namespace kiboko::region
