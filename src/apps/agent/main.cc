// kiboko-agent: shares the accelerators of one host. What is wired to what.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "apps/agent/config.h"
#include "base/log.h"
#include "base/text.h"
#include "host/host.h"
#include "host/metrics.h"
#include "host/routes.h"
#include "net/server.h"
#include "node/nvml.h"
#include "node/simulation.h"

namespace kiboko::agent {
namespace {

using namespace std::chrono_literals;

constexpr int kOurFailure = 125;  // as docker and `kiboko run` have it
constexpr auto kPeriod = 1s;
constexpr auto kFirstAnswer = 30s;

// The same devices for every agent of this runtime directory, so that a restart finds those that programs use.
std::string simulation_name(const Config& config) {
  const std::uint64_t hash = region::checksum_of(config.runtime_dir.data(), config.runtime_dir.size(), 0);
  return fmt::format("agent-{}-{:08x}", ::geteuid(), static_cast<std::uint32_t>(hash ^ hash >> 32U));
}

// A directory in /tmp may have been made by somebody who waits for us to trust it.
Result<void> check_ours(const std::string& directory) {
  struct stat found {};
  if (::lstat(directory.c_str(), &found) != 0) return fail_errno(errno, "look at " + directory);
  if (!S_ISDIR(found.st_mode) || found.st_uid != ::geteuid() || (found.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return fail(Errc::Forbidden, "{} must be a directory of user {} that nobody else may write", directory,
                ::geteuid());
  return {};
}

Result<UniqueFd> lock_runtime(const std::string& directory) {
  TRY(make_directories(directory, 0755));
  TRY(check_ours(directory));
  TRY(make_directories(directory + "/grants", 0755));
  UniqueFd lock = TRY(open_file(directory + "/lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(Errc::Conflict, "another agent uses {}: stop it, or choose another --runtime-dir", directory);
  return lock;
}

struct Driver {
  std::unique_ptr<Watcher> watcher;
  bool simulated = false;
};

std::unique_ptr<Watcher> watch(const std::string& library, bool simulated, const Clock& clock) {
  return std::make_unique<Watcher>(std::make_shared<NvmlLibrary>(library, simulated), clock, kPeriod);
}

Result<Driver> simulate(const Config& config, const std::string& simulation_dir, const Clock& clock) {
  TRY(create_simulation({simulation_dir, simulation_name(config), config.simulate}));
  Driver driver{watch(simulation_dir + "/libnvidia-ml.so.1", true, clock), true};
  const Watcher::View view = driver.watcher->first(kFirstAnswer);
  if (!view.survey) return fail(Errc::Unavailable, "the simulated devices do not answer: {}", view.error);
  return driver;
}

// Simulated devices only if somebody said so, and then no others.
Result<Driver> find_devices(const Config& config, const std::string& simulation_dir, const Clock& clock) {
  if (!config.simulate.empty()) return simulate(config, simulation_dir, clock);
  Driver driver{watch(config.nvml, false, clock), false};
  const Watcher::View view = driver.watcher->first(kFirstAnswer);
  if (view.survey && !view.survey->devices.empty()) return driver;
  if (!view.survey && view.error.empty())
    return fail(Errc::Unavailable, "NVML has not answered for {}: look at dmesg and nvidia-smi",
                format_duration(kFirstAnswer));
  return fail(Errc::NotFound,
              "this host has no device ({}). Install the NVIDIA driver, or try Kiboko on a simulated device with "
              "--simulate H100-80GB",
              view.error.empty() ? config.nvml + " counts none" : view.error);
}

Cgroups open_cgroups(const Config& config) {
  if (::geteuid() != 0) return Cgroups::none("the agent does not run as root");
  const auto mounts = read_file("/proc/self/mountinfo");
  return Cgroups::open(parse_mountinfo(mounts ? *mounts : std::string()), config.cgroup);
}

Result<std::string> open_console(net::Server& server, const std::string& address) {
  if (address == "none") return std::string();
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) return fail(Errc::Invalid, "listen '{}' is neither ADDRESS:PORT nor none", address);
  const auto port =
      TRY(parse_integer<std::uint16_t>(address.substr(colon + 1)).map_error(about("listen '{}'", address)));
  net::Listener listener = TRY(net::listen_tcp(address.substr(0, colon), port));
  std::string where = listener.address();
  TRY(server.add(std::move(listener), net::loopback_policy()));
  return where;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

Result<void> run(const Config& config) {
  const SystemClock clock;
  const std::string prefix = TRY(apps::installation_prefix());
  const std::string simulation_dir = prefix + "/lib/sim";
  const UniqueFd lock = TRY(lock_runtime(config.runtime_dir));
  Ledger ledger = TRY(Ledger::open(config.state_dir));
  TRY(check_ours(config.state_dir));
  const Driver driver = TRY(find_devices(config, simulation_dir, clock));

  AgentInfo info{KIBOKO_VERSION, host_name(), config.socket, {}, driver.simulated, {}};
  if (const auto group = net::group_id(config.group); !config.group.empty() && group) info.managers = *group;
  HostOptions options;
  options.runtime_dir = config.runtime_dir;
  options.programs = {prefix + "/lib/libkiboko.so", simulation_dir, driver.simulated ? simulation_name(config) : ""};
  options.reserve = TRY(parse_bytes(config.memory_reserve).map_error(about("memory-reserve")));
  options.slots = config.grants_per_device;
  options.queue_per_user = config.queue_per_user;

  net::Loop loop;
  host::Pacer pacer;
  Host host(options, loop, clock, std::move(ledger), open_cgroups(config), *driver.watcher);
  TRY(host.recover());
  host.on_shares_changed([&pacer](auto grants) { pacer.grants_changed(std::move(grants)); });

  net::Metrics metrics(host_metric_families());
  net::Router router;
  net::Server server(loop, router);
  TRY(server.add(TRY(net::listen_unix({config.socket, 0666, std::nullopt})), {}));
  info.console = TRY(open_console(server, config.listen));
  add_host_routes(router, host, loop, metrics, info);

  const auto ticks = loop.every(kPeriod, [&host] { host.tick(); });
  const auto signals = loop.on_signals({SIGTERM, SIGINT}, [&loop](int) { loop.stop(); });
  const std::size_t count = host.survey().survey->devices.size();
  log::info("{} {}device{}, {} mode", count, driver.simulated ? "simulated " : "", count == 1 ? "" : "s",
            host.enforces() ? "enforced" : "cooperative");
  loop.run();
  server.stop();
  host.say_goodbye();
  return {};
}

int start(int argc, char** argv) {
  const auto invocation = read_invocation(argc, argv);
  const auto complain = [](const Error& error) {
    std::fprintf(stderr, "kiboko-agent: %s\n", error.message.c_str());
    return kOurFailure;
  };
  if (!invocation) return complain(invocation.error());
  const Config& config = invocation->config;
  switch (invocation->wish) {
    case Wish::Help:
      std::fputs(help_text().c_str(), stdout);
      return 0;
    case Wish::Version:
      std::puts("kiboko-agent " KIBOKO_VERSION);
      return 0;
    case Wish::PrintConfig:
      std::fputs(config_text(config).c_str(), stdout);
      return 0;
    case Wish::Run:
      break;
  }
  if (!config.standalone) return complain({Errc::Invalid, "say --standalone to share the devices of this host"});
  const auto level = parse_log_level(config.log_level);
  if (!level) return complain(level.error());
  set_up_log("kiboko-agent", *level);
  ::signal(SIGPIPE, SIG_IGN);
  const auto ran = run(config);
  return ran ? 0 : complain(ran.error());
}

}  // namespace
}  // namespace kiboko::agent

int main(int argc, char** argv) {
  try {
    return kiboko::agent::start(argc, argv);
  } catch (const std::exception& wrong) {
    std::fprintf(stderr, "kiboko-agent: %s\n", wrong.what());
    return 125;
  }
}
