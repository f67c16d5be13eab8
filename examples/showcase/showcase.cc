// kiboko-showcase: what ./run starts once everything is built. See showcase.h.
#include "showcase.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"

namespace kiboko::showcase {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Environment = std::vector<std::pair<std::string, std::string>>;

constexpr double kSettleSeconds = 4;
constexpr char kSimulated[] = "1xH100-80GB,1xA10-24GB";

volatile sig_atomic_t asked_to_stop = 0;

// What this run keeps on disk; gone with it.
class Workplace {
 public:
  Workplace() {
    std::string name = (fs::temp_directory_path() / "kiboko-run.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      throw std::runtime_error("cannot make a directory in " + fs::temp_directory_path().string());
    path_ = name;
    fs::permissions(path_, fs::perms::owner_all | fs::perms::group_exec | fs::perms::others_exec);
  }
  ~Workplace() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

void say(const std::string& text) { fmt::print(stderr, "{}\n", text); }

std::string contents(const fs::path& path) {
  const auto text = read_file(path.string());
  return text ? *text : std::string();
}

struct Agent {
  Child child;
  net::Endpoint endpoint;
  std::string simulation;  // name of the simulated set, empty on real devices
  std::string device;      // the first one's model
};

Child start_agent(const fs::path& bin, const Workplace& place, const std::string& simulate) {
  std::vector<std::string> command{(bin / "kiboko-agent").string(),
                                   "--standalone",
                                   "--socket",
                                   (place / "agent.sock").string(),
                                   "--runtime-dir",
                                   (place / "run").string(),
                                   "--state-dir",
                                   (place / "state").string(),
                                   "--listen",
                                   "127.0.0.1:0"};
  if (!simulate.empty()) command.insert(command.end(), {"--simulate", simulate});
  return Child(command, {}, place / "agent.log");
}

// False when the agent ended.
bool wait_until_ready(Agent& agent) {
  for (int i = 0; i < 600 && asked_to_stop == 0; ++i) {
    if (agent.child.wait_status()) return false;
    if (const auto response = net::request(agent.endpoint, "GET", "/readyz"); response && response->ok()) return true;
    std::this_thread::sleep_for(100ms);
  }
  return false;
}

nlohmann::json get(const net::Endpoint& endpoint, const char* path) {
  const auto response = net::request(endpoint, "GET", path);
  if (!response || !response->ok()) return nullptr;
  return nlohmann::json::parse(response->body, nullptr, false);
}

Result<Agent> bring_up(const fs::path& bin, const Workplace& place, const Options& options) {
  Agent agent;
  agent.endpoint.socket_path = (place / "agent.sock").string();
  agent.child = start_agent(bin, place, options.simulate.value_or(""));
  if (!wait_until_ready(agent) && !options.simulate) {
    say(fmt::format("No GPU here, so the agent simulates two: {}", kSimulated));
    std::error_code ignored;
    fs::remove(place / "agent.log", ignored);
    agent.child = start_agent(bin, place, kSimulated);
    if (!wait_until_ready(agent))
      return fail(Errc::Unavailable, "the agent did not start:\n{}", contents(place / "agent.log"));
  } else if (agent.child.pid() < 0) {
    return fail(Errc::Unavailable, "the agent did not start:\n{}", contents(place / "agent.log"));
  }
  const nlohmann::json meta = get(agent.endpoint, "/api/v1/meta");
  if (meta.is_object()) {
    const nlohmann::json& data = meta.contains("data") ? meta["data"] : meta;
    if (data.contains("console") && data["console"].is_string())
      say("For reading, over HTTP: " + data["console"].get<std::string>() + "/metrics and /api/v1/grants");
  }
  return agent;
}

std::vector<Running> start_samples(const fs::path& bin, const Workplace& place, Sabotage sabotage) {
  std::vector<Running> running;
  const Environment environment{{"KIBOKO_SOCKET", (place / "agent.sock").string()}};
  for (const Sample& sample : samples()) {
    const bool too_much = sabotage == Sabotage::MemoryOff && sample.core_percent == 0;
    std::vector<std::string> command{(bin / "kiboko").string(),
                                     "run",
                                     "--memory",
                                     fmt::format("{}GiB", (sample.memory_bytes >> 30) * (too_much ? 2 : 1)),
                                     "--device",
                                     "0",
                                     "--policy",
                                     "force"};
    if (sample.core_percent != 0) command.insert(command.end(), {"--cores", std::to_string(sample.core_percent)});
    command.emplace_back("--");
    if (sabotage == Sabotage::ShimOff) command.insert(command.end(), {"env", "-u", "LD_PRELOAD"});
    command.push_back((bin / "examples" / sample.program).string());
    command.insert(command.end(), sample.arguments.begin(), sample.arguments.end());
    const fs::path output = place / (std::string(sample.name) + ".out").c_str();
    running.push_back({&sample, Child(command, environment, output), output});
    say("Started: kiboko " + fmt::format("{}", fmt::join(command.begin() + 1, command.end(), " ")));
  }
  return running;
}

// Takes the compute limits away behind the check's back: it must notice.
void loosen(const fs::path& bin, const net::Endpoint& agent) {
  const auto list = grants(agent);
  if (!list) return;
  for (const GrantSeen& grant : *list) {
    if (grant.program.find("memory_hog") != std::string::npos) continue;
    Child child({(bin / "kiboko").string(), "resize", grant.id, "--cores", "1"}, {{"KIBOKO_SOCKET", agent.socket_path}},
                "/dev/null");
    for (int i = 0; i < 50 && !child.wait_status(); ++i) std::this_thread::sleep_for(100ms);
  }
}

// The simulated set that the agent's programs use, as their environment names it; empty on real devices.
std::string simulation_of(const net::Endpoint& endpoint) {
  const nlohmann::json body = get(endpoint, "/api/v1/grants");
  const nlohmann::json& list = body.is_object() && body.contains("grants") ? body["grants"] : body;
  if (!list.is_array()) return "";
  for (const nlohmann::json& grant : list)
    if (grant.contains("environment") && grant["environment"].contains("KIBOKO_SIM"))
      return grant["environment"]["KIBOKO_SIM"].get<std::string>();
  return "";
}

void pause(double seconds) {
  for (int i = 0; i < static_cast<int>(seconds * 10) && asked_to_stop == 0; ++i) std::this_thread::sleep_for(100ms);
}

int check(const fs::path& bin, const Workplace& place, const Agent& agent, std::vector<Running>& running,
          const Options& options) {
  say(fmt::format("Letting them settle for {:.0f} s, then measuring for {:.0f} s ...", kSettleSeconds,
                  options.seconds));
  pause(kSettleSeconds / 2);
  if (options.sabotage == Sabotage::ShareOff) loosen(bin, agent.endpoint);
  pause(kSettleSeconds / 2);
  auto judged = watch_and_judge(agent.endpoint, running, agent.simulation, options.seconds);
  if (!judged) {
    say("kiboko-showcase: " + judged.error().message);
    return 1;
  }
  bool held = asked_to_stop == 0;
  for (std::size_t i = 0; i < running.size(); ++i) {
    Judged& one = (*judged)[i];
    if (running[i].child.wait_status() && one.fault.empty())
      one.fault = "it ended early: " + contents(running[i].output);
    held = held && one.fault.empty();
  }
  const char* measured_by = agent.simulation.empty() ? "the agent (NVML)" : "the simulated device's log";
  fmt::print("{}", options.json ? as_json(*judged, measured_by) : as_table(*judged));
  if (!options.json)
    fmt::print("\nMeasured by {} over {:.0f} s. {}\n", measured_by, options.seconds,
               held ? "Every program was held to its share." : "NOT every program was held to its share.");
  (void)place;
  return held ? 0 : 1;
}

int live_view(const fs::path& bin, const Workplace& place) {
  say("Live view: q or Ctrl-C ends everything.");
  pause(1);
  const pid_t child = fork();
  if (child == 0) {
    setenv("KIBOKO_SOCKET", (place / "agent.sock").c_str(), 1);
    execl((bin / "kiboko").c_str(), "kiboko", "top", nullptr);
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR)
    if (asked_to_stop != 0) kill(child, SIGTERM);
  if (isatty(STDOUT_FILENO) == 0)
    while (asked_to_stop == 0) pause(1);  // `top` printed once: the programs go on until somebody stops us
  return 0;
}

Result<Options> parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&]() -> std::string { return i + 1 < argc ? argv[++i] : ""; };
    if (word == "--check") {
      options.check = true;
    } else if (word == "--json") {
      options.json = true;
    } else if (word == "--simulate") {
      options.simulate = value();
    } else if (word == "--seconds") {
      options.seconds = std::atof(value().c_str());
      if (!(options.seconds >= 2 && options.seconds <= 30))
        return fail(Errc::Invalid, "--seconds takes 2 to 30: the device's log keeps 32 s");
    } else if (word == "--sabotage") {
      const std::string what = value();
      if (what == "shim-off")
        options.sabotage = Sabotage::ShimOff;
      else if (what == "memory-off")
        options.sabotage = Sabotage::MemoryOff;
      else if (what == "share-off")
        options.sabotage = Sabotage::ShareOff;
      else
        return fail(Errc::Invalid, "--sabotage '{}' is not one of shim-off, memory-off, share-off", what);
    } else {
      return fail(Errc::Invalid, "'{}' is not an option; ./run --help lists them", word);
    }
  }
  return options;
}

int main_program(const Options& options) {
  const fs::path bin = fs::read_symlink("/proc/self/exe").parent_path();
  const Workplace place;
  auto agent = bring_up(bin, place, options);
  if (!agent) {
    say("kiboko-showcase: " + agent.error().message);
    return 1;
  }
  std::vector<Running> running = start_samples(bin, place, options.sabotage);
  pause(1);
  agent->simulation = simulation_of(agent->endpoint);
  const int result = options.check ? check(bin, place, *agent, running, options) : live_view(bin, place);
  say("Ending the programs and the agent ...");
  for (Running& one : running) one.child.stop();
  agent->child.stop();
  if (!agent->simulation.empty()) {
    Child remove({(bin / "kiboko-sim").string(), "remove", "--force", agent->simulation}, {}, "/dev/null");
    for (int i = 0; i < 50 && !remove.wait_status(); ++i) std::this_thread::sleep_for(100ms);
  }
  return result;
}

}  // namespace
}  // namespace kiboko::showcase

int main(int argc, char** argv) {
  using namespace kiboko::showcase;
  struct sigaction action {};
  action.sa_handler = [](int) { asked_to_stop = 1; };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  const auto options = parse(argc, argv);
  if (!options) {
    fmt::print(stderr, "kiboko-showcase: {}\n", options.error().message);
    return 2;
  }
  try {
    return main_program(*options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "kiboko-showcase: {}\n", error.what());
    return 1;
  }
}
