#include "apps/agent/config.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>

#include "base/file.h"
#include "base/text.h"

namespace kiboko::agent {
namespace {

constexpr Setting text(const char* name, std::string Config::*member, const char* help) {
  return {name, member, nullptr, nullptr, 0, 0, help};
}
constexpr Setting number(const char* name, unsigned Config::*member, unsigned low, unsigned high, const char* help) {
  return {name, nullptr, member, nullptr, low, high, help};
}
constexpr Setting truth(const char* name, bool Config::*member, const char* help) {
  return {name, nullptr, nullptr, member, 0, 0, help};
}

constexpr Setting kSettings[] = {
    truth("standalone", &Config::standalone, "share the devices of this host, without Kubernetes"),
    text("simulate", &Config::simulate,
         "devices to simulate in place of the host's own: a product such as H100-80GB, or several such as 2xA100-40GB"),
    text("socket", &Config::socket, "unix socket to listen on (root: /run/kiboko/agent.sock)"),
    text("listen", &Config::listen, "loopback address for reading and the console, or none"),
    text("runtime-dir", &Config::runtime_dir, "grant pages and regions; gone after a reboot (root: /run/kiboko)"),
    text("state-dir", &Config::state_dir, "the ledger (root: /var/lib/kiboko)"),
    text("nvml", &Config::nvml, "NVIDIA's management library: a name or a path"),
    text("memory-reserve", &Config::memory_reserve, "memory of each device that is never granted, such as 512MiB"),
    number("grants-per-device", &Config::grants_per_device, 1, 1024, "how many grants may share one device"),
    number("queue-per-user", &Config::queue_per_user, 1, 100'000, "how many asks one user may have waiting"),
    text("group", &Config::group, "members of this group may manage all grants; empty: root alone"),
    text("cgroup", &Config::cgroup, "name of the control group that holds those of the grants"),
    text("log-level", &Config::log_level, "debug, info, warning, error or off"),
    text("config", &Config::config, "YAML file with these settings"),
};

std::string variable_of(const Setting& setting) {
  std::string name = std::string("KIBOKO_AGENT_") + setting.name;
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

const Setting* find_setting(std::string_view name) {
  const auto found = std::ranges::find(kSettings, name, [](const Setting& s) { return std::string_view(s.name); });
  return found == std::end(kSettings) ? nullptr : found;
}

Result<void> set(Config& config, const Setting& setting, const std::string& value) {
  if (setting.text != nullptr) {
    config.*setting.text = value;
  } else if (setting.truth != nullptr) {
    if (value != "true" && value != "false" && value != "1" && value != "0")
      return fail(Errc::Invalid, "'{}' is neither true nor false", value);
    config.*setting.truth = value == "true" || value == "1";
  } else {
    const unsigned parsed = TRY(parse_integer<unsigned>(value));
    if (parsed < setting.low || parsed > setting.high)
      return fail(Errc::Invalid, "{} is not within {} and {}", parsed, setting.low, setting.high);
    config.*setting.number = parsed;
  }
  return {};
}

using Values = std::map<const Setting*, std::string>;

// --name value, --name=value, --truth.
Result<Values> read_flags(int argc, char** argv, Invocation::Wish& wish) {
  Values values;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") wish = Invocation::Wish::Help;
    if (argument == "--version") wish = Invocation::Wish::Version;
    if (argument == "--print-config") wish = Invocation::Wish::PrintConfig;
    if (argument == "--help" || argument == "-h" || argument == "--version" || argument == "--print-config") continue;
    const std::size_t equals = argument.find('=');
    const Setting* setting = argument.starts_with("--")
                                 ? find_setting(argument.substr(2, equals == argument.npos ? equals : equals - 2))
                                 : nullptr;
    if (setting == nullptr) return fail(Errc::Invalid, "there is no setting '{}'; see --help", argument);
    if (equals != argument.npos) {
      values[setting] = argument.substr(equals + 1);
    } else if (setting->truth != nullptr) {
      values[setting] = "true";
    } else if (i + 1 < argc) {
      values[setting] = argv[++i];
    } else {
      return fail(Errc::Invalid, "{} needs a value", argument);
    }
  }
  return values;
}

Values read_environment() {
  Values values;
  for (const Setting& setting : kSettings)
    if (const char* value = std::getenv(variable_of(setting).c_str())) values[&setting] = value;
  return values;
}

Result<Values> read_yaml(const std::string& path) {
  const std::string content = TRY(read_file(path));
  Values values;
  try {
    const YAML::Node root = YAML::Load(content);
    if (root.IsNull()) return values;
    if (!root.IsMap()) return fail(Errc::Invalid, "{} is not a list of 'name: value'", path);
    for (const auto& entry : root) {
      const auto name = entry.first.as<std::string>();
      const Setting* setting = find_setting(name);
      if (setting == nullptr || setting->text == &Config::config)
        return fail(Errc::Invalid, "{}:{}: there is no setting '{}'", path, entry.first.Mark().line + 1, name);
      if (!entry.second.IsScalar() && !entry.second.IsNull())
        return fail(Errc::Invalid, "{}:{}: '{}' needs one value", path, entry.second.Mark().line + 1, name);
      values[setting] = entry.second.IsNull() ? "" : entry.second.as<std::string>();
    }
  } catch (const YAML::Exception& wrong) {
    return fail(Errc::Invalid, "{}: {}", path, wrong.what());
  }
  return values;
}

Result<void> apply(Config& config, const Values& values, std::string_view where) {
  for (const auto& [setting, value] : values)
    TRY(set(config, *setting, value).map_error(about("{} {}", where, setting->name)));
  return {};
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

std::span<const Setting> settings() { return kSettings; }

Result<Invocation> read_invocation(int argc, char** argv) {
  Invocation invocation;
  const Values flags = TRY(read_flags(argc, argv, invocation.wish));
  const Values environment = read_environment();
  Config& config = invocation.config;
  const Setting* file = find_setting("config");
  for (const Values* values : {&environment, &flags})
    if (const auto named = values->find(file); named != values->end()) config.config = named->second;
  if (!config.config.empty()) TRY(apply(config, TRY(read_yaml(config.config)), config.config));
  TRY(apply(config, environment, "environment"));
  TRY(apply(config, flags, "flag"));
  fill_paths(config);
  TRY(check(config));
  return invocation;
}

std::string help_text() {
  std::string help =
      "kiboko-agent --standalone [settings]\n\nShares the accelerators of this host. Settings, as flags, as variables, "
      "or in the file of --config:\n\n";
  for (const Setting& setting : kSettings)
    help += fmt::format("  --{:<20} {}\n  {:<22} ({})\n", setting.name, setting.help, "", variable_of(setting));
  help += "\n  --print-config         show the settings in force and end\n  --version, --help\n";
  return help;
}

std::string config_text(const Config& config) {
  std::string text;
  for (const Setting& setting : kSettings) {
    if (setting.text == &Config::config) continue;
    text += fmt::format("# {}\n{}: ", setting.help, setting.name);
    if (setting.text != nullptr) text += fmt::format("\"{}\"\n\n", json_escape(config.*setting.text));
    if (setting.truth != nullptr) text += fmt::format("{}\n\n", config.*setting.truth);
    if (setting.number != nullptr) text += fmt::format("{}\n\n", config.*setting.number);
  }
  return text;
}

Result<std::string> installation_prefix() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail(Errc::Internal, "cannot tell where the agent is installed: {}", error.message());
  return self.parent_path().parent_path().string();
}

}  // namespace kiboko::agent
