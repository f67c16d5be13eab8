#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace kiboko {
namespace {

class File : public testing::Test {
 protected:
  File() {
    std::string pattern = testing::TempDir() + "kiboko-file-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
  }
  ~File() override { std::filesystem::remove_all(root_); }
  std::string in_root(const std::string& name) const { return root_ + "/" + name; }
  static mode_t mode_of(const std::string& path) {
    struct stat found {};
    return ::stat(path.c_str(), &found) == 0 ? found.st_mode & 07777U : 0;
  }
  std::string root_;
};

TEST_F(File, WhatIsWrittenIsRead) {
  ASSERT_TRUE(write_file_atomically(in_root("a"), "one"));
  ASSERT_TRUE(write_file_atomically(in_root("a"), "two", 0640));
  EXPECT_EQ(read_file(in_root("a")).value(), "two");
  EXPECT_EQ(mode_of(in_root("a")), 0640U);
}

TEST_F(File, NoTemporaryFileStaysBehind) {
  ASSERT_TRUE(write_file_atomically(in_root("a"), "one"));
  std::filesystem::create_directory(in_root("taken"));
  EXPECT_FALSE(write_file_atomically(in_root("taken"), "a directory cannot be replaced by a file"));
  std::size_t names = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(root_)) ++names;
  EXPECT_EQ(names, 2U);
}

TEST_F(File, AFileBeyondTheLimitIsAnError) {
  ASSERT_TRUE(write_file_atomically(in_root("a"), std::string(100, 'x')));
  EXPECT_TRUE(read_file(in_root("a"), 100));
  EXPECT_EQ(read_file(in_root("a"), 99).error().code, Errc::Invalid);
}

TEST_F(File, AMissingFileIsNamed) {
  const Error error = read_file(in_root("missing")).error();
  EXPECT_EQ(error.code, Errc::NotFound);
  EXPECT_NE(error.message.find("missing"), std::string::npos);
}

TEST_F(File, FilesOfTheKernelAreReadWhole) { EXPECT_FALSE(read_file("/proc/self/stat").value().empty()); }

TEST_F(File, DirectoriesGetTheModeWhateverTheUmask) {
  const mode_t before = ::umask(077);
  ASSERT_TRUE(make_directories(in_root("a/b/c"), 0755));
  ::umask(before);
  EXPECT_EQ(mode_of(in_root("a/b")), 0755U);
  EXPECT_EQ(mode_of(in_root("a/b/c")), 0755U);
  EXPECT_TRUE(make_directories(in_root("a/b/c/"), 0700));
  EXPECT_EQ(mode_of(in_root("a/b/c")), 0755U);
}

TEST_F(File, AFileInTheWayOfADirectoryIsAConflict) {
  ASSERT_TRUE(write_file_atomically(in_root("a"), ""));
  EXPECT_EQ(make_directories(in_root("a")).error().code, Errc::Conflict);
  EXPECT_FALSE(make_directories(in_root("a/b")));
}

TEST_F(File, DirectoryOfTakesTheLastPartAway) {
  EXPECT_EQ(directory_of("/run/kiboko/agent.sock"), "/run/kiboko");
  EXPECT_EQ(directory_of("/a"), "/");
  EXPECT_EQ(directory_of("a"), ".");
}

TEST_F(File, AUniqueFdClosesOnceAndMoves) {
  UniqueFd first = open_file("/dev/null", O_RDONLY).value();
  const int number = first.get();
  UniqueFd second = std::move(first);
  EXPECT_EQ(second.get(), number);
  second.reset();
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

}  // namespace
}  // namespace kiboko
