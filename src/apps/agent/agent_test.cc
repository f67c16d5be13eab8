// The agent as a program: started, asked over its socket, killed, started again.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "net/client.h"
#include "region/grant_page.h"

namespace kiboko {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;
using testing::HasSubstr;

class Directory {
 public:
  Directory() {
    std::string pattern = testing::TempDir() + "kiboko-agent-XXXXXX";
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

 private:
  std::string path_;
};

using Arguments = std::vector<std::string>;

// A program with its standard error in a file.
class Program {
 public:
  Program(Arguments arguments, const std::string& log, uid_t uid = ::geteuid()) : log_(log) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
    ::dup2(fd, 2);
    ::dup2(fd, 1);
    if (uid != ::geteuid() && ::setresuid(uid, uid, uid) != 0) ::_exit(99);
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    ::execv(pointers[0], pointers.data());
    ::_exit(99);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (pid_ > 0) kill(SIGKILL), wait();
  }
  pid_t pid() const { return pid_; }
  void kill(int signal) const { ::kill(pid_, signal); }
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }
  int exit_code() {
    const int status = wait();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  bool ended() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_;
  }
  std::string log() const { return read_file(log_).value_or(""); }

 private:
  pid_t pid_ = 0;
  std::string log_;
};

class AgentTest : public testing::Test {
 protected:
  ~AgentTest() override {
    agent_.reset();
    for (const char* hierarchy : {"/sys/fs/cgroup/", "/sys/fs/cgroup/unified/", "/sys/fs/cgroup/devices/"})
      ::rmdir((hierarchy + group_).c_str());
  }

  Arguments command(const Arguments& more = {}) const {
    Arguments all{
        KIBOKO_AGENT,  "--standalone",       "--nvml",   KIBOKO_TINY_NVML, "--runtime-dir", directory_ / "run",
        "--state-dir", directory_ / "state", "--listen", "none",           "--cgroup",      group_};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::unique_ptr<Program> spawn(const Arguments& more = {}) const {
    return std::make_unique<Program>(command(more), directory_ / "log");
  }
  bool answers() const {
    const auto health = net::request({directory_ / "run/agent.sock", "", 0}, "GET", "/healthz");
    return health && health->status == 200;
  }
  // Started, and answering.
  void start(const Arguments& more = {}) {
    agent_ = spawn(more);
    ASSERT_TRUE(eventually([&] { return answers() || agent_->ended(); }));
    ASSERT_FALSE(agent_->ended()) << agent_->log();
  }
  void crash() {
    agent_->kill(SIGKILL);
    agent_->wait();
  }
  static bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 3000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(20ms);
    }
    return false;
  }
  std::pair<int, Json> call(const std::string& method, const std::string& target, const std::string& body = {}) const {
    net::CallOptions options;
    options.timeout = 60s;
    const auto answer = net::request({directory_ / "run/agent.sock", "", 0}, method, target, body, options);
    if (!answer) return {0, answer.error().message};
    return {answer->status, Json::parse(answer->body, nullptr, false)};
  }
  Json ask(const std::string& more = R"("memory_bytes": 1073741824)") const {
    return call("POST", "/api/v1/grants", fmt::format(R"({{"keeper_pid": {}, {}}})", ::getpid(), more)).second;
  }
  std::string state(const std::string& id) const {
    const auto [status, grant] = call("GET", "/api/v1/grants/" + id);
    return status == 200 ? grant["state"].get<std::string>() : std::to_string(status);
  }
  // What an agent says that does not start.
  void expect_failure(const Arguments& more, const std::string& sentence) const {
    Program program(command(more), directory_ / "failure");
    EXPECT_EQ(program.exit_code(), 125);
    EXPECT_THAT(program.log(), HasSubstr(sentence));
  }

  Directory directory_;
  const std::string group_ = "kiboko-agent-test-" + std::to_string(::getpid());
  std::unique_ptr<Program> agent_;
};

TEST_F(AgentTest, ItGrantsAndEndsCleanly) {
  start();
  const Json grant = ask();
  ASSERT_EQ(grant["state"], "granted") << grant;
  agent_->kill(SIGTERM);
  EXPECT_EQ(agent_->exit_code(), 0) << agent_->log();
  EXPECT_FALSE(std::filesystem::exists(directory_ / "run/agent.sock"));
  start();
  EXPECT_EQ(state(grant["id"]), "granted");
}

TEST_F(AgentTest, ARunningProgramNeitherEndsNorLosesItsGrantWhenTheAgentIsKilled) {
  start();
  const Json grant = ask();
  Program program({"/bin/sleep", "1000"}, directory_ / "program");
  ASSERT_EQ(call("POST", "/api/v1/grants/" + grant["id"].get<std::string>() + "/attach",
                 fmt::format(R"({{"pid": {}}})", program.pid()))
                .first,
            200);
  region::PageError error{};
  const region::GrantPage* page = region::open_grant_page(grant["page"].get<std::string>().c_str(), &error);
  ASSERT_NE(page, nullptr) << error.text;
  crash();
  EXPECT_FALSE(program.ended());
  start();
  EXPECT_EQ(state(grant["id"]), "running");
  EXPECT_EQ(call("PATCH", "/api/v1/grants/" + grant["id"].get<std::string>(), R"({"memory_bytes": 2147483648})").first,
            200);
  region::GrantSettings settings{};
  ASSERT_TRUE(region::read_settings(*page, &settings));  // mapped before the crash, and still the grant's
  EXPECT_EQ(settings.devices[0].limit_bytes, 2147483648U);
  EXPECT_EQ(call("DELETE", "/api/v1/grants/" + grant["id"].get<std::string>()).first, 202);
  EXPECT_EQ(WTERMSIG(program.wait()), SIGTERM);
  EXPECT_TRUE(eventually([&] { return state(grant["id"]) == "ended"; }));
}

// Asks in a row while the agent is killed: every grant that was answered is there afterwards.
TEST_F(AgentTest, NoAnsweredGrantIsLostToAKill) {
  for (const int after_ms : {1, 7, 20, 45}) {
    start();
    std::thread killer([this, after_ms] {
      std::this_thread::sleep_for(std::chrono::milliseconds(after_ms));
      agent_->kill(SIGKILL);
    });
    std::vector<std::string> answered;
    for (int i = 0; i < 100; ++i) {
      const auto [status, grant] =
          call("POST", "/api/v1/grants", fmt::format(R"({{"keeper_pid": {}, "memory_bytes": 1048576}})", ::getpid()));
      if (status == 0) break;
      if (status == 201) answered.push_back(grant["id"]);
    }
    killer.join();
    agent_->wait();
    start();
    for (const std::string& id : answered) EXPECT_EQ(state(id), "granted") << id;
    for (const std::string& id : answered) call("DELETE", "/api/v1/grants/" + id);
    crash();
  }
}

TEST_F(AgentTest, ASecondAgentGoesAndTheFirstStays) {
  start();
  const Json grant = ask();
  expect_failure({}, "another agent");
  expect_failure({"--runtime-dir", directory_ / "other"}, "another agent");
  expect_failure({"--runtime-dir", directory_ / "other", "--state-dir", directory_ / "other-state", "--socket",
                  directory_ / "run/agent.sock"},
                 "another agent");
  EXPECT_EQ(state(grant["id"]), "granted");
}

TEST_F(AgentTest, WithoutADeviceItNamesBothWaysOn) {
  const Arguments none{"--nvml", "/nonexistent/libnvidia-ml.so.1"};
  expect_failure(none, "Install the NVIDIA driver");
  expect_failure(none, "--simulate H100");
}

TEST_F(AgentTest, WithoutADeviceItSharesSimulatedOnes) {
  const Arguments simulated{"--nvml", "/nonexistent/libnvidia-ml.so.1", "--simulate", "2xA10-24GB"};
  start(simulated);
  const Json devices = call("GET", "/api/v1/devices").second["devices"];
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[1]["simulated"], true);
  const Json grant = ask();
  const std::string name = grant["environment"]["KIBOKO_SIM"];
  EXPECT_FALSE(name.empty());
  EXPECT_THAT(grant["environment"]["LD_LIBRARY_PATH"].get<std::string>(), HasSubstr("lib/sim"));
  crash();
  start(simulated);  // the same devices: programs may be on them
  EXPECT_EQ(call("GET", "/api/v1/devices").second["devices"][1]["uuid"], devices[1]["uuid"]);
  EXPECT_EQ(state(grant["id"]), "granted");
  crash();
  start({"--simulate", "1xH100-80GB"});  // no program is on them
  ASSERT_EQ(call("GET", "/api/v1/devices").second["devices"].size(), 1U);
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm"))
    if (entry.path().filename().string().starts_with("kiboko-sim-" + name)) std::filesystem::remove(entry.path());
}

TEST_F(AgentTest, WhatIsWrongWithTheSettingsIsSaid) {
  ASSERT_TRUE(write_file_atomically(directory_ / "agent.yaml", "memroy-reserve: 1GiB\n"));
  expect_failure({"--config", directory_ / "agent.yaml"}, "agent.yaml:1: there is no setting 'memroy-reserve'");
  expect_failure({"--no-such-flag"}, "--no-such-flag");
  expect_failure({"--memory-reserve", "much"}, "much");
  expect_failure({"--grants-per-device", "0"}, "not within");
  expect_failure({"--listen", "0.0.0.0:1"}, "0.0.0.0");
  expect_failure({"--state-dir", "relative"}, "not an absolute path");
}

TEST_F(AgentTest, ADirectoryThatOthersMayWriteIsNotTrusted) {
  ::mkdir((directory_ / "open").c_str(), 0777);
  ::chmod((directory_ / "open").c_str(), 0777);
  expect_failure({"--runtime-dir", directory_ / "open"}, "nobody else may write");
}

TEST_F(AgentTest, ADamagedLedgerIsNamedAndKept) {
  start();
  ask();
  agent_->kill(SIGTERM);
  agent_->wait();
  ASSERT_TRUE(write_file_atomically(directory_ / "state/ledger.db", std::string(8192, 'x')));
  expect_failure({}, "ledger.db");
  EXPECT_EQ(read_file(directory_ / "state/ledger.db")->size(), 8192U);
}

TEST_F(AgentTest, OnAFullDiskAnAskFailsAndWhatIsGrantedStays) {
  const std::string disk = directory_ / "state";
  ::mkdir(disk.c_str(), 0755);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=512k,mode=0755") != 0)
    GTEST_SKIP() << "no right to mount a small disk";
  start();
  const Json grant = ask();
  {
    const UniqueFd filler = open_file(disk + "/filler", O_WRONLY | O_CREAT).value();
    while (write_all(filler.get(), std::string(4096, 'x'), "filler")) {
    }
  }
  int status = 0;
  Json answer;
  for (int i = 0; i < 50 && status != 503; ++i)
    std::tie(status, answer) =
        call("POST", "/api/v1/grants", fmt::format(R"({{"keeper_pid": {}, "memory_bytes": 1048576}})", ::getpid()));
  EXPECT_EQ(status, 503);
  EXPECT_THAT(answer["detail"].get<std::string>(), HasSubstr("full"));
  EXPECT_EQ(state(grant["id"]), "granted");
  std::filesystem::remove(disk + "/filler");
  EXPECT_EQ(ask()["state"], "granted");
  crash();
  start();
  EXPECT_EQ(state(grant["id"]), "granted");
  agent_.reset();
  ::umount2(disk.c_str(), MNT_DETACH);
}

TEST_F(AgentTest, LoopbackIsForReading) {
  start({"--listen", "127.0.0.1:0"});
  const std::string console = call("GET", "/api/v1/meta").second["console"];
  const net::Endpoint endpoint = net::parse_endpoint(console).value();
  EXPECT_EQ(net::request(endpoint, "GET", "/api/v1/devices")->status, 200);
  EXPECT_EQ(net::request(endpoint, "POST", "/api/v1/grants", "{}")->status, 403);
  EXPECT_EQ(net::request(endpoint, "POST", "/api/v1/explain", "{}")->status, 200);
}

TEST_F(AgentTest, PrintedSettingsAreReadBack) {
  Program print(command({"--grants-per-device", "7", "--print-config"}), directory_ / "printed.yaml");
  EXPECT_EQ(print.exit_code(), 0);
  Program again({KIBOKO_AGENT, "--config", directory_ / "printed.yaml", "--print-config"}, directory_ / "again.yaml");
  EXPECT_EQ(again.exit_code(), 0) << again.log();
  EXPECT_EQ(again.log(), print.log());
  EXPECT_THAT(again.log(), HasSubstr("grants-per-device: 7"));
}

// A user of their own: the page is root's, the region theirs, and nobody else's grant is theirs to end.
TEST_F(AgentTest, AnotherUserIsHeldToTheirOwn) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  start();
  const Json mine = ask();
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(12345, 12345, 12345) != 0) ::_exit(2);
    const Json theirs = ask();
    bool good = theirs["mode"] == "enforced" && theirs["owner"]["uid"] == 12345;
    region::PageError error{};
    const std::string page = theirs["page"], region = theirs["region"], directory = page.substr(0, page.rfind('/'));
    good = good && region::open_grant_page(page.c_str(), &error) != nullptr;
    good = good && ::access(page.c_str(), W_OK) != 0 && ::access(directory.c_str(), W_OK) != 0;
    good = good && ::access(region.c_str(), R_OK | W_OK) == 0 &&
           ::access(mine["region"].get<std::string>().c_str(), R_OK) != 0;
    good = good && call("DELETE", "/api/v1/grants/" + mine["id"].get<std::string>()).first == 403;
    good = good && call("DELETE", "/api/v1/grants/" + theirs["id"].get<std::string>()).first == 200;
    if (!good) std::fprintf(stderr, "%s\n", theirs.dump().c_str());
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace kiboko
