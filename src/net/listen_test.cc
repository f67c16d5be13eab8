#include "net/listen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "net/test_server.h"

namespace kiboko::net {
namespace {

using testing::HasSubstr;

class ListenTest : public testing::Test {
 protected:
  Result<Listener> listen(mode_t mode = 0600) { return listen_unix({path_, mode, {}}); }
  struct stat status() const {
    struct stat found {};
    EXPECT_EQ(::lstat(path_.c_str(), &found), 0);
    return found;
  }
  TemporaryDirectory directory_;
  const std::string path_ = directory_.file("agent.sock");
};

TEST_F(ListenTest, TheSocketHasExactlyTheModeAsked) {
  const mode_t before = ::umask(0077);
  const auto listener = listen(0666);
  ::umask(before);
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_EQ(status().st_mode & 07777U, 0666U);
  EXPECT_TRUE(RawClient(path_).connected());
}

TEST_F(ListenTest, TheSocketGetsTheGroupAsked) {
  const auto listener = listen_unix({path_, 0660, ::getgid()});
  ASSERT_TRUE(listener);
  EXPECT_EQ(status().st_gid, ::getgid());
}

TEST_F(ListenTest, ASecondServerIsRefusedAndTheFirstGoesOn) {
  const auto first = listen();
  const auto second = listen();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::Conflict);
  EXPECT_EQ(second.error().message, "another agent is listening on " + path_);
  EXPECT_TRUE(RawClient(path_).connected());
}

TEST_F(ListenTest, AServerThatTakesNoLockIsNotDisturbed) {
  const auto first = listen();
  std::filesystem::remove(path_ + ".lock");
  EXPECT_EQ(listen().error().code, Errc::Conflict);
  EXPECT_TRUE(RawClient(path_).connected());
}

TEST_F(ListenTest, TheSocketOfADeadServerIsReplaced) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto listener = listen();
    ::_exit(listener ? 0 : 1);  // no destructor: as after a crash
  }
  int status_of_child = -1;
  ASSERT_EQ(::waitpid(child, &status_of_child, 0), child);
  ASSERT_EQ(status_of_child, 0);
  ASSERT_TRUE(S_ISSOCK(status().st_mode));
  EXPECT_FALSE(RawClient(path_).connected());
  const auto listener = listen();
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_TRUE(RawClient(path_).connected());
}

TEST_F(ListenTest, AFileThatIsNoSocketIsLeftAlone) {
  ASSERT_TRUE(write_file_atomically(path_, "precious"));
  EXPECT_THAT(listen().error().message, HasSubstr("is not a socket"));
  EXPECT_EQ(read_file(path_).value(), "precious");
}

TEST_F(ListenTest, TheSocketGoesWithItsListener) {
  { const auto listener = listen(); }
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_TRUE(listen());
}

TEST_F(ListenTest, ASocketThatSomebodyPutInOurPlaceStays) {
  {
    const auto listener = listen();
    std::filesystem::remove(path_);
    ASSERT_TRUE(write_file_atomically(path_, "another's"));
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(ListenTest, APathThatDoesNotFitIsRefused) {
  EXPECT_EQ(listen_unix({directory_.file(std::string(120, 'a')), 0600, {}}).error().code, Errc::Invalid);
  EXPECT_EQ(listen_unix({"", 0600, {}}).error().code, Errc::Invalid);
}

TEST_F(ListenTest, TcpListensOnLoopbackAlone) {
  for (const char* bad : {"0.0.0.0", "192.0.2.1", "::", "localhost", ""})
    EXPECT_EQ(listen_tcp(bad, 0).error().code, Errc::Invalid) << bad;
  const Listener listener = listen_tcp("127.0.0.1", 0).value();
  EXPECT_EQ(listener.address(), fmt::format("http://127.0.0.1:{}", listener.port()));
  EXPECT_EQ(listen_tcp("127.0.0.1", listener.port()).error().code, Errc::Conflict);
}

TEST_F(ListenTest, GroupsAreFoundByName) {
  EXPECT_EQ(group_id("root").value(), 0U);
  EXPECT_EQ(group_id("no-such-group-here").error().code, Errc::NotFound);
}

}  // namespace
}  // namespace kiboko::net
