#include <fcntl.h>
#include <gmock/gmock.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/fake_agent.h"
#include "cli/top_frame.h"

namespace kiboko::cli {
namespace {

using testing::Each;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Le;
using testing::ResultOf;

TEST(Bar, FillsInEighthsOfAColumn) {
  EXPECT_EQ(bar(0, 4), "░░░░");
  EXPECT_EQ(bar(0.5, 4), "██░░");
  EXPECT_EQ(bar(0.53125, 4), "██▏░");
  EXPECT_EQ(bar(1, 4), "████");
  EXPECT_EQ(bar(7, 4), "████");
  EXPECT_EQ(bar(-1, 4), "░░░░");
}

Snapshot busy_host() {
  Snapshot snapshot;
  snapshot.meta.host = "box";
  DeviceView device;
  device.uuid = "GPU-1";
  device.model = "H100";
  device.health = "healthy";
  device.total_bytes = 80;
  device.used_bytes = 40;
  snapshot.devices = {device};
  GrantView grant;
  grant.id = "g-1";
  grant.state = "running";
  grant.command = {"python", "模型", std::string(300, 'x')};
  grant.devices.emplace_back().used_bytes = 7;
  snapshot.grants.assign(40, grant);
  return snapshot;
}

TEST(TopFrame, FitsInAnyTerminal) {
  std::string unused;
  const Output output{&unused, 80};
  for (const std::size_t columns : {24UL, 40UL, 80UL, 200UL})
    for (const std::size_t rows : {2UL, 10UL, 24UL, 100UL}) {
      const auto lines = top_frame(busy_host(), {}, output, columns, rows);
      EXPECT_LE(lines.size(), rows);
      EXPECT_THAT(lines, Each(ResultOf(display_width, Le(columns)))) << columns;
    }
}

TEST(TopFrame, SaysHowMuchIsNotShown) {
  std::string unused;
  EXPECT_THAT(top_frame(busy_host(), {}, Output{&unused, 80}, 80, 10).back(), HasSubstr("lines more"));
}

// `kiboko top` itself in a pseudo-terminal.
class TopScreen : public testing::Test {
 protected:
  void start() {
    master_ = -1;
    const winsize size{24, 80, 0, 0};
    pid_ = ::forkpty(&master_, nullptr, nullptr, &size);
    if (pid_ != 0) return;
    ::execl(KIBOKO_COMMAND, "kiboko", "top", "--socket", socket_.c_str(), nullptr);
    ::_exit(99);
  }
  void read_until(const std::string& text) {
    char chunk[4096];
    while (seen_.find(text) == std::string::npos) {
      const ssize_t got = ::read(master_, chunk, sizeof chunk);
      if (got <= 0) break;
      seen_.append(chunk, static_cast<std::size_t>(got));
    }
  }
  int finish() {
    read_until("\x01 never written");
    int status = -1;
    ::waitpid(pid_, &status, 0);
    ::close(master_);
    EXPECT_THAT(seen_, EndsWith("\x1b[?25h\x1b[?1049l"));
    return status;
  }

  FakeAgent agent_{{{"GET", "/api/v1/meta", says(200, R"({"host": "box"})")},
                    {"GET", "/api/v1/devices", says(200, R"({"devices": []})")},
                    {"GET", "/api/v1/grants", says(200, R"({"grants": []})")}}};
  const std::string socket_ = agent_.socket();
  pid_t pid_ = 0;
  int master_ = -1;
  std::string seen_;
};

TEST_F(TopScreen, GivesTheTerminalBackAfterQAndCtrlC) {
  for (const char key : {'q', '\x03'}) {
    seen_.clear();
    start();
    read_until("kiboko on box");
    ASSERT_EQ(::write(master_, &key, 1), 1);
    const int status = finish();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

TEST_F(TopScreen, GivesTheTerminalBackWhenItIsTerminated) {
  start();
  read_until("kiboko on box");
  ::kill(pid_, SIGTERM);
  const int status = finish();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

}  // namespace
}  // namespace kiboko::cli
