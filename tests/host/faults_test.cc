// Broken disks, second agents, and files that a tenant tampered with.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "one_host.h"

namespace kiboko::host_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr int kOperatingSystemError = 304;

class Faults : public OneHost {
 protected:
  void TearDown() override {
    if (!disk_.empty()) {
      agent.reset();
      end_all_descendants();
      ::umount2(disk_.c_str(), MNT_DETACH);
    }
  }
  // A disk of `kib`, mounted there; false without the right to.
  bool mount_disk(const std::string& at, unsigned kib, unsigned long flags = 0) {
    fs::create_directories(at);
    if (::mount("none", at.c_str(), "tmpfs", flags, fmt::format("size={}k,mode=0755", kib).c_str()) != 0) return false;
    disk_ = at;
    return true;
  }
  // Starts an agent that must end by itself: what it says.
  std::string refusal(const Words& more = {}, uid_t uid = 0) const {
    const Ended ended = run(start(agent_command(more), uid));
    EXPECT_EQ(ended.exit_code(), 125) << ended.err;
    return ended.err;
  }

 private:
  std::string disk_;
};

void fill(const std::string& file) {
  const UniqueFd fd = open_file(file, O_WRONLY | O_CREAT).value();
  while (write_all(fd.get(), std::string(4096, 'x'), file)) {
  }
}

TEST_F(Faults, AStateFolderThatCannotBeWrittenIsNamed) {
  const std::string state = path("state");
  if (!mount_disk(state, 512, MS_RDONLY)) GTEST_SKIP() << "no right to mount a disk";
  EXPECT_THAT(refusal(), HasSubstr(state));
}

TEST_F(Faults, OnAFullDiskAnAskIsRefusedAndWhatRunsGoesOn) {
  if (!mount_disk(path("run"), 512)) GTEST_SKIP() << "no right to mount a disk";
  start_agent();
  Child running = tenant({"--memory", "30GiB"});
  fill(path("run/filler"));
  const Ended refused = kiboko({"run", "--memory", "10GiB", "--", "/bin/echo", "it ran"});
  EXPECT_EQ(refused.exit_code(), 125);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, HasSubstr("space"));
  EXPECT_EQ(allocate(running, 29 * kGiB), 0);
  EXPECT_EQ(allocate(running, kGiB), kOutOfMemory);
  EXPECT_THAT(grants(), SizeIs(1));
  EXPECT_EQ(granted_bytes(), 30 * kGiB);
  fs::remove(path("run/filler"));
  EXPECT_EQ(kiboko({"run", "--memory", "10GiB", "--", "/bin/echo", "it ran"}).out, "it ran\n");
}

TEST_F(Faults, ASecondAgentIsTurnedAwayAndTheFirstUnharmed) {
  start_agent();
  Child running = tenant({"--memory", "30GiB"});
  EXPECT_THAT(refusal(), HasSubstr("another agent"));
  EXPECT_THAT(refusal({"--state-dir", path("state2")}), HasSubstr("another agent"));
  EXPECT_THAT(refusal({"--runtime-dir", path("run2")}), HasSubstr("another agent"));
  EXPECT_THAT(refusal({"--runtime-dir", path("run2"), "--state-dir", path("state2"), "--socket", socket()}),
              HasSubstr("another agent"));
  run(start({installed("kiboko-sim"), "remove", simulation("run2")}));
  EXPECT_EQ(allocate(running, 10 * kGiB), 0);
  EXPECT_EQ(state(grant_of(running)), "running");
  EXPECT_EQ(kiboko({"run", "--memory", "10GiB", "--", "/bin/echo", "it ran"}).out, "it ran\n");
}

// What a tenant may do to its own region harms nobody else.
class Region : public Faults {
 protected:
  void damage(const std::function<void(const std::string& file)>& how, bool readable = false) {
    start_agent();
    Child victim = tenant({"--memory", "20GiB"}), other = tenant({"--memory", "30GiB"});
    ASSERT_EQ(allocate(other, 10 * kGiB), 0);
    const std::string id = grant_of(victim);
    ASSERT_TRUE(eventually([&] { return grant(id)["devices"][0]["used_bytes"].is_number(); }));
    how(folder_of(id) + "/region.cache");
    for (int i = 0; i < 3; ++i) {  // over several looks of the agent
      ::usleep(700'000);
      ASSERT_TRUE(agent_answers());
    }
    EXPECT_FALSE(agent->ended());
    EXPECT_EQ(grant(id)["devices"][0]["limit_bytes"], 20 * kGiB);
    EXPECT_TRUE(readable || eventually([&] { return events("region").size() == 1; }));
    EXPECT_EQ(grant(id)["devices"][0]["used_bytes"].is_null(), !readable);
    EXPECT_EQ(allocate(other, 25 * kGiB), kOutOfMemory);
    EXPECT_EQ(allocate(other, 5 * kGiB), 0);
    EXPECT_EQ(kiboko({"run", "--memory", "10GiB", "--", program("device_user"), "open 0"}).exit_code(), 0);
    EXPECT_EQ(kiboko({"ps"}).exit_code(), 0);
    EXPECT_EQ(kiboko({"release", "--force", "--grace", "0s", id}).exit_code(), 0);
    EXPECT_FALSE(fs::exists(folder_of(id)));
    EXPECT_EQ(granted_bytes(), 30 * kGiB);
  }
};

TEST_F(Region, Truncated) {
  damage([](const std::string& file) { fs::resize_file(file, 100); });
}
TEST_F(Region, OverwrittenWithGarbage) {
  damage([](const std::string& file) {
    std::string garbage(fs::file_size(file), '\0');
    std::uint32_t word = 12345;
    for (char& c : garbage) c = static_cast<char>((word = word * 1103515245 + 12345) >> 16U);
    const UniqueFd fd = open_file(file, O_WRONLY).value();
    ASSERT_TRUE(write_all(fd.get(), garbage, file));
  });
}
TEST_F(Region, ReplacedByALink) {
  damage([](const std::string& file) {
    fs::remove(file);
    fs::create_symlink("/etc/passwd", file);
  });
}
TEST_F(Region, ReplacedByAFifo) {
  damage([](const std::string& file) {
    fs::remove(file);
    ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  });
}
TEST_F(Region, ReplacedByAFolder) {
  damage([](const std::string& file) {
    fs::remove(file);
    fs::create_directory(file);
  });
}
TEST_F(Region, BlownUp) {
  damage([](const std::string& file) { fs::resize_file(file, std::uint64_t{1} << 40); }, true);
}

// While no agent was there. Programs that run have mapped the old page; the region they share stays.
TEST_F(Faults, ALostPageIsMadeAgainByTheNextAgent) {
  start_agent();
  Child running = tenant({"--memory", "20GiB"});
  ASSERT_EQ(allocate(running, 10 * kGiB), 0);
  const std::string id = grant_of(running);
  kill_agent();
  ASSERT_TRUE(fs::remove(folder_of(id) + "/page"));
  start_agent();
  EXPECT_TRUE(fs::exists(folder_of(id) + "/page"));
  EXPECT_TRUE(eventually([&] {
    const Json used = grant(id)["devices"][0]["used_bytes"];
    return used.is_number() && used > 10 * kGiB;
  })) << grant(id);
}

// A page that cannot be read is an error that somebody sees, and never "no limit".
class Page : public Faults {
 protected:
  // Runs `script`, which may change $KIBOKO_GRANT and then becomes a program that calls cuInit.
  void expect_no_cuda(const std::string& script) {
    SCOPED_TRACE(script);
    const Ended ended = kiboko(
        {"run", "--memory", "10GiB", "--", "/bin/sh", "-c",
         "export COPY=" + path("copy") + "; " + script + "; exec " + program("device_user") + " init init 'open 0'"});
    const std::string refused = std::to_string(kOperatingSystemError);
    EXPECT_EQ(ended.out, "init " + refused + "\ninit " + refused + "\nopen " + refused + "\n");
    EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr("kiboko"));
  }
};

TEST_F(Page, ThatCannotBeReadStopsCuda) {
  start_agent();
  expect_no_cuda("rm $KIBOKO_GRANT");
  expect_no_cuda("export KIBOKO_GRANT=/nonexistent");
  expect_no_cuda("export KIBOKO_GRANT=/dev/zero");
  expect_no_cuda("head -c 4096 /dev/urandom > $COPY; export KIBOKO_GRANT=$COPY");
  expect_no_cuda("head -c 100 $KIBOKO_GRANT > $COPY; export KIBOKO_GRANT=$COPY");
  expect_no_cuda(
      "cp $KIBOKO_GRANT $COPY; printf '\\377' | dd of=$COPY bs=1 seek=8 conv=notrunc 2>/dev/null; "
      "export KIBOKO_GRANT=$COPY");
  expect_no_cuda(
      "cp $KIBOKO_GRANT $COPY; printf '\\377' | dd of=$COPY bs=1 seek=1700 conv=notrunc 2>/dev/null; "
      "printf '\\377' | dd of=$COPY bs=1 seek=2000 conv=notrunc 2>/dev/null; export KIBOKO_GRANT=$COPY");
  expect_no_cuda("ln -sf $KIBOKO_GRANT $COPY; export KIBOKO_GRANT=$COPY");
  EXPECT_TRUE(eventually([&] { return grants().empty(); }));
}

}  // namespace
}  // namespace kiboko::host_test
