#include "apps/agent/config.h"

#include <unistd.h>

#include <cstdlib>

namespace kiboko::agent {
namespace {

constexpr apps::Setting<Config> kTable[] = {
    {"standalone", &Config::standalone, "share the devices of this host, without Kubernetes"},
    {"simulate", &Config::simulate,
     "devices to simulate in place of the host's own: a product such as H100-80GB, or several such as 2xA100-40GB"},
    {"socket", &Config::socket, "unix socket to listen on (root: /run/kiboko/agent.sock)"},
    {"listen", &Config::listen, "loopback address for reading and the console, or none"},
    {"runtime-dir", &Config::runtime_dir, "grant pages and regions; gone after a reboot (root: /run/kiboko)"},
    {"state-dir", &Config::state_dir, "the ledger (root: /var/lib/kiboko)"},
    {"nvml", &Config::nvml, "NVIDIA's management library: a name or a path"},
    {"memory-reserve", &Config::memory_reserve, "memory of each device that is never granted, such as 512MiB"},
    {"grants-per-device", &Config::grants_per_device, "how many grants may share one device", 1, 1024},
    {"queue-per-user", &Config::queue_per_user, "how many asks one user may have waiting", 1, 100'000},
    {"group", &Config::group, "members of this group may manage all grants; empty: root alone"},
    {"cgroup", &Config::cgroup, "name of the control group that holds those of the grants"},
    {"log-level", &Config::log_level, "debug, info, warning, error or off"},
    {"config", &Config::config, "YAML file with these settings"},
};

const apps::Settings<Config>& settings() {
  static const apps::Settings<Config> kSettings("KIBOKO_AGENT_", kTable, &Config::config);
  return kSettings;
}

std::string variable_or(const char* name, std::string otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && value[0] == '/' ? value : std::move(otherwise);
}

void fill_paths(Config& config) {
  const bool root = ::geteuid() == 0;
  const std::string mine = fmt::format("/tmp/kiboko-{}", ::geteuid());
  const std::string runtime = variable_or("XDG_RUNTIME_DIR", "");
  const std::string home_state = variable_or("HOME", "/tmp") + "/.local/state";
  if (config.runtime_dir.empty())
    config.runtime_dir = root ? "/run/kiboko" : runtime.empty() ? mine : runtime + "/kiboko";
  if (config.state_dir.empty())
    config.state_dir = root ? "/var/lib/kiboko" : variable_or("XDG_STATE_HOME", home_state) + "/kiboko";
  if (config.socket.empty()) config.socket = config.runtime_dir + "/agent.sock";
}

// What is wrong with each of these is best said before anything is made.
Result<void> check(const Config& config) {
  for (const auto& [name, path] : {std::pair("runtime-dir", config.runtime_dir),
                                   std::pair("state-dir", config.state_dir), std::pair("socket", config.socket)})
    if (path.empty() || path[0] != '/') return fail(Errc::Invalid, "{} '{}' is not an absolute path", name, path);
  if (config.cgroup.empty() || config.cgroup.find('/') != std::string::npos || config.cgroup[0] == '.')
    return fail(Errc::Invalid, "cgroup '{}' is not the name of a control group", config.cgroup);
  return {};
}

}  // namespace

Result<Invocation> read_invocation(int argc, char** argv) {
  Invocation invocation = TRY(settings().read(argc, argv));
  fill_paths(invocation.config);
  TRY(check(invocation.config));
  return invocation;
}

std::string help_text() {
  return "kiboko-agent --standalone [settings]\n\nShares the accelerators of this host. Settings, as flags, as "
         "variables, "
         "or in the file of --config:\n\n" +
         settings().help();
}

std::string config_text(const Config& config) { return settings().text(config); }

}  // namespace kiboko::agent
