// One host with an agent on simulated devices, as a user meets it: the real programs, a socket and folders of its own.
//
// The fixture of all tests here. Whatever was started is ended and whatever was made is removed at the end of a test,
// also of a failed one.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "child.h"

namespace kiboko::host_test {

using namespace std::chrono_literals;
using Json = nlohmann::json;

inline constexpr std::uint64_t kMiB = 1ULL << 20;
inline constexpr std::uint64_t kGiB = 1ULL << 30;
inline constexpr int kOutOfMemory = 2;
inline constexpr uid_t kSomebody = 65534;  // an unprivileged user who needs no entry anywhere

// Looks again until it is so. Long enough for a machine that does ten other things.
bool eventually(const std::function<bool()>& condition, std::chrono::seconds patience = 60s);

// The numbers of an answer "NAME 1 2 3"; empty if it is another one's.
std::vector<std::uint64_t> numbers(const std::string& answer, const std::string& name);

class OneHost : public testing::Test {
 protected:
  OneHost();
  ~OneHost() override;

  // The agent, answering; or, with what it says, not.
  void start_agent(const Words& more = {}, uid_t uid = 0);
  Child spawn_agent(const Words& more = {}, uid_t uid = 0) const;
  void kill_agent();
  bool agent_answers() const;
  std::string agent_log() const;
  Words agent_command(const Words& more = {}) const;

  // `kiboko WORDS…` to its end, or going on.
  Ended kiboko(const Words& words, const std::string& input = {}) const;
  Json kiboko_json(Words words) const;
  Child spawn(const Words& words, uid_t uid = 0) const;
  // `kiboko run FLAGS -- device_user … -`, told what to do by lines.
  Child user(const Words& flags, uid_t uid = 0) const;
  // The same, with device 0 open.
  Child tenant(const Words& flags, uid_t uid = 0) const;

  // Straight to the agent's socket.
  std::pair<int, Json> call(const std::string& method, const std::string& target, const std::string& body = {}) const;
  std::string text(const std::string& target) const;
  Json grants() const { return call("GET", "/api/v1/grants").second["grants"]; }
  Json grant(const std::string& id) const { return call("GET", "/api/v1/grants/" + id).second; }
  std::string state(const std::string& id) const { return grant(id).value("state", "gone"); }
  Json device(unsigned index = 0) const { return call("GET", "/api/v1/devices").second["devices"].at(index); }
  std::vector<std::string> events(const std::string& kind) const;  // their sentences
  std::uint64_t granted_bytes(unsigned index = 0) const { return device(index)["granted_bytes"]; }
  std::string folder_of(const std::string& id) const { return path("run/grants/" + id); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string socket() const { return path("run/agent.sock"); }
  // The name of the set of devices of an agent with that runtime folder.
  std::string simulation(const std::string& folder = "run") const;
  Start start(const Words& command, uid_t uid = 0) const {
    return {.command = command, .environment = environment, .uid = uid};
  }

  Environment environment;  // of every program that is started; may be changed
  std::optional<Child> agent;
  std::string spec = "1xH100-80GB";

 private:
  std::string directory_;
  std::string group_;
};

// The grant that a device_user is in.
std::string grant_of(Child& user);
// Free and total memory as CUDA tells it.
struct Memory {
  std::uint64_t free = 0, total = 0, device_total = 0;
};
Memory memory_of(Child& user);
int allocate(Child& user, std::uint64_t bytes);

std::string program(const std::string& name);    // built beside these tests
std::string installed(const std::string& name);  // in the build's bin
bool is_root();
// Whether an unprivileged user can reach what was built: a checkout in a private home cannot be.
bool reachable_for(uid_t uid);

#define SKIP_UNLESS_ROOT() \
  if (!is_root()) GTEST_SKIP() << "needs root"
#define SKIP_UNLESS_SOMEBODY_CAN_RUN_IT() \
  SKIP_UNLESS_ROOT();                     \
  if (!reachable_for(kSomebody)) GTEST_SKIP() << "the build folder is not readable for other users"

}  // namespace kiboko::host_test
