// What the tests of this folder share: a directory that goes away, a process that waits to be killed, a host on fake
// devices.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "host/host.h"
#include "node/fake_library.h"

namespace kiboko::testing_host {

using namespace std::chrono_literals;

class Directory {
 public:
  Directory() {
    std::string pattern = testing::TempDir() + "kiboko-host-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
    ::chmod(path_.c_str(), 0755);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// In a forked child: without the ledger's lock and the like, which would keep them held.
inline void close_inherited() { ::close_range(3, ~0U, 0); }

// Waits to be killed; with `stubborn` it ignores TERM.
class Child {
 public:
  explicit Child(bool stubborn = false) {
    int held[2];
    if (::pipe2(held, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for a child");
    pid_ = ::fork();
    if (pid_ == 0) {
      if (stubborn) ::signal(SIGTERM, SIG_IGN);
      close_inherited();
      for (;;) ::pause();
    }
    // Until it has let go of everything, the ledger's lock among it.
    ::close(held[1]);
    char nothing;
    while (::read(held[0], &nothing, 1) < 0 && errno == EINTR) {
    }
    ::close(held[0]);
  }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Child& operator=(Child&&) = delete;
  ~Child() { end(); }
  pid_t pid() const { return pid_; }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  // How it died, once it has.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }

 private:
  pid_t pid_ = 0;
};

inline Grant a_grant(const std::string& id, GrantState state = GrantState::Granted) {
  Grant grant;
  grant.id = {id};
  grant.state = state;
  grant.owner = {::geteuid(), ::getegid(), "me"};
  grant.devices = {{{"GPU-0"}, 0, "Fake 80GB", 80_GiB, 4_GiB, CorePercent{30}}};
  grant.asked.memory = 4_GiB;
  grant.asked.command = {"python", "train.py"};
  grant.created_ms = 1;
  return grant;
}

inline Ask asking(Bytes memory, pid_t keeper, bool wait = true) {
  Ask ask;
  ask.memory = memory;
  ask.keeper_pid = keeper;
  ask.wait = wait;
  return ask;
}

inline Caller me() { return {true, ::geteuid(), ::getegid(), ::getpid(), true}; }
inline Caller somebody(uid_t uid) { return {true, uid, uid, ::getpid(), false}; }

// A host with two devices of 80 GiB. `restart` stops it as a crash would and starts it on the same files.
class HostTest : public testing::Test {
 protected:
  HostTest() {
    std::filesystem::create_directories(directory_ / "run/grants");
    (void)write_file_atomically(directory_ / "libkiboko.so", "");
    start();
  }

  void start() {
    HostOptions options;
    options.runtime_dir = directory_ / "run";
    options.programs = {directory_ / "libkiboko.so", directory_ / "sim", ""};
    watcher_ = std::make_unique<Watcher>(library_, system_clock_, 2ms);
    ASSERT_NE(watcher_->first(60s).survey, nullptr);
    auto ledger = Ledger::open(directory_ / "state");
    ASSERT_TRUE(ledger) << ledger.error().message;
    host_ = std::make_unique<Host>(options, loop_, clock_, std::move(*ledger), cgroups(), *watcher_);
    const auto recovered = host_->recover();
    ASSERT_TRUE(recovered) << recovered.error().message;
  }
  virtual Cgroups cgroups() { return Cgroups::none("a test"); }
  void stop() {
    host_.reset();
    watcher_.reset();
  }
  void restart() {
    stop();
    start();
  }

  // Turns the loop until `condition`; the bound only ends a test that fails.
  bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 3000; ++i) {
      if (condition()) return true;
      loop_.run_for(10ms);
      host_->tick();
    }
    return false;
  }
  // The library's present answer has been seen twice.
  void surveys(const Survey& survey) {
    library_->answer(survey);
    for (int round = 0; round < 2; ++round) {
      const std::uint64_t before = watcher_->latest().serial;
      ASSERT_TRUE(eventually([&] { return watcher_->latest().serial > before + 1; }));
      host_->tick();
    }
  }

  GrantId granted(Ask ask, const Caller& caller = me()) {
    const auto answer = host_->ask(std::move(ask), caller);
    if (!answer || answer->refusal) return {};
    return answer->id;
  }
  GrantState state(const GrantId& id) const {
    const LiveGrant* live = host_->find(id);
    return live == nullptr ? GrantState::Ended : live->grant().state;
  }
  std::string why_ended(const GrantId& id) const {
    const Grant* grant = host_->find_ended(id);
    return grant == nullptr ? "it has not ended" : grant->end_reason;
  }
  std::vector<std::string> event_kinds() const {
    std::vector<std::string> kinds;
    const std::vector<Event> events = host_->events_after(0, 1000).value();
    for (const Event& event : events) kinds.push_back(event.kind);
    return kinds;
  }

  Directory directory_;
  SystemClock system_clock_;
  FakeClock clock_;
  net::Loop loop_;
  std::shared_ptr<FakeLibrary> library_ = std::make_shared<FakeLibrary>(survey_of(2));
  std::unique_ptr<Watcher> watcher_;
  std::unique_ptr<Host> host_;
};

}  // namespace kiboko::testing_host
