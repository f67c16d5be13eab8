#include "host/grant_files.h"

#include <gmock/gmock.h>

#include "host/testing.h"

namespace kiboko {
namespace {

using namespace testing_host;
using testing::ElementsAre;
using testing::HasSubstr;

struct stat look(const std::string& path) {
  struct stat found {};
  ::stat(path.c_str(), &found);
  return found;
}

class GrantFiles : public testing::Test {
 protected:
  const region::GrantPage* open_as_program() const {
    region::PageError error{};
    const auto* page = region::open_grant_page(paths_.page.c_str(), &error);
    EXPECT_NE(page, nullptr) << error.text;
    return page;
  }
  static region::GrantSettings settings(const region::GrantPage& page) {
    region::GrantSettings out{};
    EXPECT_TRUE(region::read_settings(page, &out));
    return out;
  }
  Directory directory_;
  Grant grant_ = a_grant("g-0000abcd");
  GrantPaths paths_ = paths_of(directory_.path(), grant_.id);
};

TEST_F(GrantFiles, AProgramReadsWhatTheGrantSays) {
  grant_.asked.policy = CorePolicy::Force;
  grant_.asked.priority = Priority::Low;
  ASSERT_TRUE(GrantPageFile::create(paths_, grant_));
  const region::GrantPage* page = open_as_program();
  ASSERT_NE(page, nullptr);
  EXPECT_STREQ(page->identity.grant_id, "g-0000abcd");
  EXPECT_STREQ(page->identity.owner, "me: python train.py");
  EXPECT_EQ(page->identity.region_path, paths_.region);
  EXPECT_STREQ(page->identity.devices[0].uuid, "GPU-0");
  EXPECT_EQ(page->identity.devices[0].physical_bytes, (80_GiB).count);
  const region::GrantSettings read = settings(*page);
  EXPECT_EQ(read.devices[0].limit_bytes, (4_GiB).count);
  EXPECT_EQ(read.devices[0].core_percent, 30U);
  EXPECT_EQ(read.core_policy, static_cast<unsigned>(region::CorePolicy::Force));
  EXPECT_EQ(read.priority, 1U);
}

TEST_F(GrantFiles, OnlyTheRegionIsTheOwners) {
  if (::geteuid() == 0) grant_.owner = {12345, 12345, "tenant"};
  ASSERT_TRUE(GrantPageFile::create(paths_, grant_));
  EXPECT_EQ(look(paths_.directory).st_mode & 07777U, 0755U);
  EXPECT_EQ(look(paths_.directory).st_uid, ::geteuid());
  EXPECT_EQ(look(paths_.page).st_mode & 07777U, 0644U);
  EXPECT_EQ(look(paths_.page).st_uid, ::geteuid());
  EXPECT_EQ(look(paths_.region).st_mode & 07777U, 0600U);
  EXPECT_EQ(look(paths_.region).st_uid, grant_.owner.uid);
}

TEST_F(GrantFiles, AResizeReachesAProgramThatRuns) {
  auto file = GrantPageFile::create(paths_, grant_).value();
  const region::GrantPage* page = open_as_program();
  const auto generation = page->live.generation.load();
  grant_.devices[0].limit = 8_GiB;
  grant_.devices[0].cores.reset();
  file.publish(grant_);
  EXPECT_EQ(settings(*page).devices[0].limit_bytes, (8_GiB).count);
  EXPECT_EQ(settings(*page).devices[0].core_percent, 0U);
  EXPECT_NE(page->live.generation.load(), generation);
}

TEST_F(GrantFiles, AfterARestartTheSamePageGoesOn) {
  ASSERT_TRUE(GrantPageFile::create(paths_, grant_));
  const region::GrantPage* page = open_as_program();
  const ino_t inode = look(paths_.page).st_ino;
  grant_.devices[0].limit = 8_GiB;  // the ledger knew of a resize that the page did not
  auto file = GrantPageFile::reopen(paths_, grant_).value();
  EXPECT_EQ(look(paths_.page).st_ino, inode);
  EXPECT_EQ(settings(*page).devices[0].limit_bytes, (8_GiB).count);
  file.beat(42);
  EXPECT_EQ(page->live.heartbeat_ns.load(), 42U);
  file.process_died();
  EXPECT_EQ(page->live.reap_generation.load(), 1U);
}

TEST_F(GrantFiles, APageOfAnotherGrantIsNotTaken) {
  ASSERT_TRUE(GrantPageFile::create(paths_, grant_));
  grant_.id = {"g-0000ffff"};
  EXPECT_THAT(GrantPageFile::reopen(paths_, grant_).error().message, HasSubstr("another grant"));
}

TEST_F(GrantFiles, ADamagedPageIsNotTaken) {
  ASSERT_TRUE(GrantPageFile::create(paths_, grant_));
  ASSERT_TRUE(write_file_atomically(paths_.page, std::string(4096, 'x')));
  EXPECT_FALSE(GrantPageFile::reopen(paths_, grant_));
  ASSERT_TRUE(write_file_atomically(paths_.page, "short"));
  EXPECT_FALSE(GrantPageFile::reopen(paths_, grant_));
}

TEST_F(GrantFiles, ALinkInPlaceOfThePageIsNotFollowed) {
  ASSERT_TRUE(GrantPageFile::create(paths_, grant_));
  std::filesystem::rename(paths_.page, directory_ / "elsewhere");
  std::filesystem::create_symlink(directory_ / "elsewhere", paths_.page);
  EXPECT_FALSE(GrantPageFile::reopen(paths_, grant_));
}

TEST_F(GrantFiles, WhatACrashLeftHalfMadeIsMadeAgain) {
  std::filesystem::create_directories(paths_.directory);
  ASSERT_TRUE(write_file_atomically(paths_.page + ".new", "half"));
  ASSERT_TRUE(write_file_atomically(paths_.region, "half"));
  ASSERT_TRUE(GrantPageFile::create(paths_, grant_));
  EXPECT_NE(open_as_program(), nullptr);
  EXPECT_EQ(look(paths_.region).st_size, 0);
}

TEST_F(GrantFiles, WhatNoGrantKnowsIsFound) {
  ASSERT_TRUE(GrantPageFile::create(paths_, grant_));
  ASSERT_TRUE(GrantPageFile::create(paths_of(directory_.path(), {"g-00000000"}), grant_));
  EXPECT_THAT(stray_grant_directories(directory_.path(), {grant_.id}), ElementsAre(directory_ / "grants/g-00000000"));
  EXPECT_TRUE(stray_grant_directories("/nonexistent", {}).empty());
}

TEST_F(GrantFiles, APathThatDoesNotFitThePageIsRefused) {
  const GrantPaths deep = paths_of(directory_ / std::string(220, 'd'), grant_.id);
  EXPECT_THAT(GrantPageFile::create(deep, grant_).error().message, HasSubstr("too long"));
}

}  // namespace
}  // namespace kiboko
