#include "region/grant_page.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>

#include "region/test_files.h"

namespace kiboko::region {
namespace {

GrantSettings settings_with(std::uint64_t limit, std::uint32_t percent) {
  GrantSettings settings = {};
  settings.core_policy = static_cast<std::uint32_t>(CorePolicy::Force);
  settings.priority = 1;
  settings.devices[0] = {limit, percent, 0};
  return settings;
}

void fill_page(GrantPage& page) {
  page.identity.owner_uid = 1000;
  page.identity.device_count = 1;
  std::strcpy(page.identity.grant_id, "g-7f3a");
  std::strcpy(page.identity.owner, "alice: python train.py");
  std::strcpy(page.identity.region_path, "/run/kiboko/g-7f3a/region");
  std::strcpy(page.identity.devices[0].uuid, "GPU-00000000-0000-0000-0000-000000000001");
  page.identity.devices[0].physical_bytes = 80ull << 30;
  seal_new_page(page, settings_with(4ull << 30, 30));
}

std::unique_ptr<GrantPage> new_page() {
  auto page = std::make_unique<GrantPage>();
  fill_page(*page);
  return page;
}

std::string bytes_of(const GrantPage& page) { return {reinterpret_cast<const char*>(&page), sizeof page}; }

std::string refusal_of(const GrantPage& page) {
  PageError error;
  return check_grant_page(&page, sizeof page, &error) ? "" : error.text;
}

std::string refusal_of_file(const std::string& path) {
  PageError error;
  return open_grant_page(path.c_str(), &error) != nullptr ? "" : error.text;
}

TEST(GrantPage, KeepsItsBytes) { EXPECT_EQ(bytes_of(*new_page()), golden("grant_page.bin", bytes_of(*new_page()))); }

TEST(GrantPage, IsReadBackAsItWasWritten) {
  TempDir dir;
  const std::string path = dir.write("page", bytes_of(*new_page()), 0644);
  PageError error;
  const GrantPage* page = open_grant_page(path.c_str(), &error);
  ASSERT_NE(page, nullptr) << error.text;
  GrantSettings settings;
  ASSERT_TRUE(read_settings(*page, &settings));
  EXPECT_EQ(settings.devices[0].limit_bytes, 4ull << 30);
  EXPECT_EQ(settings.devices[0].core_percent, 30u);
  EXPECT_STREQ(page->identity.grant_id, "g-7f3a");
}

TEST(GrantPage, ShowsANewLimitAfterAResize) {
  auto page = new_page();
  const std::uint64_t generation = page->live.generation;
  publish_settings(*page, settings_with(8ull << 30, 50));
  GrantSettings settings;
  ASSERT_TRUE(read_settings(*page, &settings));
  EXPECT_EQ(settings.devices[0].limit_bytes, 8ull << 30);
  EXPECT_EQ(page->live.generation, generation + 1);
  EXPECT_EQ(page->live.wake, 1u);
}

TEST(GrantPage, IsStillReadWhenOneCopyIsDamaged) {
  auto page = new_page();
  page->settings[page->live.generation & 1].devices[0].limit_bytes = 1;
  GrantSettings settings;
  ASSERT_TRUE(read_settings(*page, &settings));
  EXPECT_EQ(settings.devices[0].limit_bytes, 4ull << 30);
}

TEST(GrantPage, IsRepairedByTheNextResizeWithoutTouchingTheGoodCopy) {
  auto page = new_page();
  const std::uint64_t good = (page->live.generation + 1) & 1;
  page->settings[page->live.generation & 1].devices[0].limit_bytes = 1;
  const std::uint64_t checksum = page->settings[good].checksum;
  publish_settings(*page, settings_with(8ull << 30, 50));
  EXPECT_EQ(page->settings[good].checksum, checksum);
  GrantSettings settings;
  ASSERT_TRUE(read_settings(*page, &settings));
  EXPECT_EQ(settings.devices[0].limit_bytes, 8ull << 30);
}

TEST(GrantPage, IsRefusedWhenBothCopiesAreDamaged) {
  auto page = new_page();
  for (GrantSettings& copy : page->settings) copy.devices[0].limit_bytes = 1;
  EXPECT_NE(refusal_of(*page).find("neither copy"), std::string::npos);
}

TEST(GrantPage, IsRefusedWhenAFixedByteChanged) {
  auto page = new_page();
  page->identity.devices[0].physical_bytes ^= 1;
  EXPECT_NE(refusal_of(*page).find("checksum"), std::string::npos);
}

TEST(GrantPage, IsRefusedWhenOfAnotherVersion) {
  auto page = new_page();
  page->identity.version = 2;
  EXPECT_NE(refusal_of(*page).find("version 2"), std::string::npos);
}

TEST(GrantPage, IsRefusedWhenSomethingElse) {
  auto page = new_page();
  page->identity.magic = 0;
  EXPECT_NE(refusal_of(*page).find("does not begin as"), std::string::npos);
}

struct BadIdentity {
  const char* name;
  void (*spoil)(GrantIdentity&);
  const char* reason;
};
void PrintTo(const BadIdentity& c, std::ostream* out) { *out << c.name; }
class SealedPage : public testing::TestWithParam<BadIdentity> {};
TEST_P(SealedPage, IsRefusedForItsContents) {
  auto page = new_page();
  GetParam().spoil(page->identity);
  page->identity.checksum = identity_checksum(page->identity);
  EXPECT_NE(refusal_of(*page).find(GetParam().reason), std::string::npos) << refusal_of(*page);
}
INSTANTIATE_TEST_SUITE_P(
    GrantPage, SealedPage,
    testing::Values(BadIdentity{"NoDevices", [](GrantIdentity& i) { i.device_count = 0; }, "0 devices"},
                    BadIdentity{"TooManyDevices", [](GrantIdentity& i) { i.device_count = 17; }, "17 devices"},
                    BadIdentity{"NoUuid", [](GrantIdentity& i) { i.devices[0].uuid[0] = 0; }, "device 0 has no UUID"},
                    BadIdentity{"EndlessUuid", [](GrantIdentity& i) { std::memset(i.devices[0].uuid, 'x', 64); },
                                "device 0 has no UUID"},
                    BadIdentity{"EndlessOwner", [](GrantIdentity& i) { std::memset(i.owner, 'x', 128); },
                                "does not end"},
                    BadIdentity{"RelativeRegion", [](GrantIdentity& i) { i.region_path[0] = '.'; }, "not absolute"}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(GrantPage, IsRefusedWhenItsSettingsAreOutOfRange) {
  auto page = std::make_unique<GrantPage>();
  fill_page(*page);
  publish_settings(*page, settings_with(1, 101));
  publish_settings(*page, settings_with(1, 101));
  EXPECT_NE(refusal_of(*page), "");
}

TEST(GrantPage, OfAnySizeButFourKiBIsRefused) {
  const std::string bytes = bytes_of(*new_page()) + "x";
  PageError error;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kGrantPageBytes - 1, kGrantPageBytes + 1})
    EXPECT_FALSE(check_grant_page(bytes.data(), size, &error)) << size;
}

TEST(GrantPageFile, ThatIsMissingIsNamedWithTheNextStep) {
  const std::string refusal = refusal_of_file("/nowhere/page");
  EXPECT_NE(refusal.find("/nowhere/page"), std::string::npos);
  EXPECT_NE(refusal.find("No such file"), std::string::npos);
  EXPECT_NE(refusal.find("kiboko run"), std::string::npos);
}

TEST(GrantPageFile, ThatIsALinkIsRefused) {
  TempDir dir;
  const std::string path = dir.write("page", bytes_of(*new_page()), 0644);
  ASSERT_EQ(::symlink(path.c_str(), dir.path("link").c_str()), 0);
  EXPECT_NE(refusal_of_file(dir.path("link")).find("symbolic link"), std::string::npos);
}

TEST(GrantPageFile, ThatIsAFifoOrAFolderIsRefusedAtOnce) {
  TempDir dir;
  ASSERT_EQ(::mkfifo(dir.path("fifo").c_str(), 0600), 0);
  EXPECT_NE(refusal_of_file(dir.path("fifo")).find("not a regular file"), std::string::npos);
  EXPECT_NE(refusal_of_file(dir.path("")).find("not a regular file"), std::string::npos);
}

TEST(GrantPageFile, OfTheWrongSizeIsRefused) {
  TempDir dir;
  const std::string path = dir.write("page", bytes_of(*new_page()).substr(1), 0644);
  EXPECT_NE(refusal_of_file(path).find("4095 bytes"), std::string::npos);
}

TEST(GrantPageFile, ThatOthersMayWriteIsRefused) {
  TempDir dir;
  for (const ::mode_t mode : {0666u, 0664u, 0646u}) {
    const std::string path = dir.write("page", bytes_of(*new_page()), mode);
    EXPECT_NE(refusal_of_file(path).find("others may write"), std::string::npos) << mode;
  }
}

TEST(GrantPageFile, OfSomebodyElseIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a file away";
  TempDir dir;
  const std::string path = dir.write("page", bytes_of(*new_page()), 0644);
  ASSERT_EQ(::chown(path.c_str(), 12345, 0), 0);
  EXPECT_NE(refusal_of_file(path).find("uid 12345"), std::string::npos);
}

TEST(GrantPageFile, ThatIsDamagedIsRefusedByName) {
  TempDir dir;
  auto page = new_page();
  page->identity.owner_uid ^= 1;
  const std::string path = dir.write("page", bytes_of(*page), 0644);
  const std::string refusal = refusal_of_file(path);
  EXPECT_NE(refusal.find(path), std::string::npos);
  EXPECT_NE(refusal.find("checksum"), std::string::npos);
}

TEST(GrantPageFile, IsOpenedWithoutTouchingErrnoOrLeavingADescriptor) {
  TempDir dir;
  const std::string path = dir.write("page", bytes_of(*new_page()), 0644);
  const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(next);
  errno = 77;
  PageError error;
  open_grant_page(path.c_str(), &error);
  open_grant_page("/nowhere", &error);
  EXPECT_EQ(errno, 77);
  const int now = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(now);
  EXPECT_EQ(now, next);
}

}  // namespace
}  // namespace kiboko::region
