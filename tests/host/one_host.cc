#include "one_host.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <thread>

#include "base/file.h"
#include "net/client.h"
#include "region/grant_page.h"

namespace kiboko::host_test {
namespace {

namespace fs = std::filesystem;

std::string fresh_directory() {
  std::string pattern = "/tmp/kiboko-e2e-XXXXXX";  // short: a socket's path has 107 bytes at most
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  ::chmod(pattern.c_str(), 0755);
  return pattern;
}

net::CallOptions patient() {
  net::CallOptions options;
  options.timeout = 60s;
  return options;
}

}  // namespace

bool eventually(const std::function<bool()>& condition, std::chrono::seconds patience) {
  for (const auto until = std::chrono::steady_clock::now() + patience; std::chrono::steady_clock::now() < until;) {
    if (condition()) return true;
    std::this_thread::sleep_for(20ms);
  }
  return condition();
}

std::vector<std::uint64_t> numbers(const std::string& answer, const std::string& name) {
  std::istringstream in(answer);
  std::vector<std::uint64_t> found;
  std::string word;
  if (!(in >> word) || word != name) return {};
  for (std::uint64_t number = 0; in >> number;) found.push_back(number);
  return found;
}

OneHost::OneHost() : directory_(fresh_directory()), group_("kiboko-e2e-" + std::to_string(::getpid())) {
  become_subreaper();
  environment = {{"PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
                 {"HOME", directory_},
                 {"LANG", "C.UTF-8"},
                 {"KIBOKO_SOCKET", socket()}};
}

OneHost::~OneHost() {
  agent.reset();
  end_all_descendants();
  if (HasFailure()) std::fprintf(stderr, "-- the agent's log --\n%s-- end --\n", agent_log().c_str());
  if (::access(("/dev/shm/kiboko-sim-" + simulation()).c_str(), F_OK) == 0)
    host_test::run(start({installed("kiboko-sim"), "remove", "--force", simulation()}));
  for (const char* hierarchy : {"/sys/fs/cgroup/", "/sys/fs/cgroup/unified/", "/sys/fs/cgroup/devices/"}) {
    std::error_code error;
    for (const fs::directory_entry& inner : fs::directory_iterator(hierarchy + group_, error))
      if (inner.is_directory()) ::rmdir(inner.path().c_str());
    ::rmdir((hierarchy + group_).c_str());
  }
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

// Named by the agent after its runtime folder.
std::string OneHost::simulation(const std::string& name) const {
  const std::string folder = path(name);
  const std::uint64_t hash = region::checksum_of(folder.data(), folder.size(), 0);
  struct stat found {};
  const uid_t uid = ::stat(folder.c_str(), &found) == 0 ? found.st_uid : ::geteuid();
  return fmt::format("agent-{}-{:08x}", uid, static_cast<std::uint32_t>(hash ^ hash >> 32U));
}

Words OneHost::agent_command(const Words& more) const {
  Words all{installed("kiboko-agent"),
            "--standalone",
            "--simulate",
            spec,
            "--runtime-dir",
            path("run"),
            "--state-dir",
            path("state"),
            "--listen",
            "none",
            "--cgroup",
            group_,
            "--nvml",
            "libnvidia-ml-absent.so.1"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Child OneHost::spawn_agent(const Words& more, uid_t uid) const {
  Start how = start(agent_command(more), uid);
  how.standard_error = path("agent.log");
  return Child(how);
}

bool OneHost::agent_answers() const {
  const auto health = net::request({socket(), "", 0}, "GET", "/healthz");
  return health && health->status == 200;
}

void OneHost::start_agent(const Words& more, uid_t uid) {
  agent.emplace(spawn_agent(more, uid));
  ASSERT_TRUE(eventually([&] { return agent_answers() || agent->ended(); }));
  ASSERT_FALSE(agent->ended()) << agent_log();
}

void OneHost::kill_agent() {
  agent->signal(SIGKILL);
  agent->wait();
  agent.reset();
}

std::string OneHost::agent_log() const { return read_file(path("agent.log")).value_or(""); }

Ended OneHost::kiboko(const Words& words, const std::string& input) const { return spawn(words).wait(input); }

Json OneHost::kiboko_json(Words words) const {
  words.insert(words.end(), {"--output", "json"});
  const Ended ended = kiboko(words);
  EXPECT_EQ(ended.err, "");
  return Json::parse(ended.out, nullptr, false);
}

Child OneHost::spawn(const Words& words, uid_t uid) const {
  Words command{installed("kiboko")};
  command.insert(command.end(), words.begin(), words.end());
  return Child(start(command, uid));
}

Child OneHost::user(const Words& flags, uid_t uid) const {
  Words words{"run"};
  words.insert(words.end(), flags.begin(), flags.end());
  words.insert(words.end(), {"--", program("device_user"), "-"});
  return spawn(words, uid);
}

Child OneHost::tenant(const Words& flags, uid_t uid) const {
  Child child = user(flags, uid);
  EXPECT_EQ(child.ask("open 0"), "open 0") << child.errors();
  return child;
}

std::pair<int, Json> OneHost::call(const std::string& method, const std::string& target,
                                   const std::string& body) const {
  const auto answer = net::request({socket(), "", 0}, method, target, body, patient());
  if (!answer) return {0, Json::object({{"detail", answer.error().message}})};
  return {answer->status, Json::parse(answer->body, nullptr, false)};
}

std::string OneHost::text(const std::string& target) const {
  const auto answer = net::request({socket(), "", 0}, "GET", target, {}, patient());
  return answer ? answer->body : answer.error().message;
}

std::vector<std::string> OneHost::events(const std::string& kind) const {
  std::vector<std::string> sentences;
  const Json log = call("GET", "/api/v1/events").second;
  for (const Json& event : log["events"])
    if (event["kind"] == kind) sentences.push_back(event["sentence"]);
  return sentences;
}

std::string grant_of(Child& user) {
  const fs::path page(user.ask("variable KIBOKO_GRANT").substr(sizeof "variable"));
  return page.parent_path().filename();
}

Memory memory_of(Child& user) {
  const auto found = numbers(user.ask("memory"), "memory");
  return found.size() == 3 ? Memory{found[0], found[1], found[2]} : Memory{};
}

int allocate(Child& user, std::uint64_t bytes) {
  const auto found = numbers(user.ask("alloc " + std::to_string(bytes)), "alloc");
  return found.size() == 1 ? static_cast<int>(found[0]) : -1;
}

std::string program(const std::string& name) { return KIBOKO_HOST_PROGRAMS "/" + name; }
std::string installed(const std::string& name) { return KIBOKO_BIN "/" + name; }
bool is_root() { return ::geteuid() == 0; }

bool reachable_for(uid_t uid) {
  return host_test::run({.command = {program("device_user")}, .environment = {}, .uid = uid}).status == 0;
}

}  // namespace kiboko::host_test
