// The agent's settings: one struct, one table. Flags, environment names, the YAML file, --print-config and --help all
// walk the table. A flag beats the environment, which beats the file, which beats the default; an unknown key is an
// error.
#pragma once

#include <span>
#include <string>

#include "base/result.h"

namespace kiboko::agent {

struct Config {
  std::string config;  // YAML file
  bool standalone = false;
  std::string socket;       // empty: by who runs the agent
  std::string runtime_dir;  // likewise
  std::string state_dir;    // likewise
  std::string listen = "127.0.0.1:7600";
  std::string simulate;  // "H100-80GB", "2xA100-40GB"; empty: real devices or none
  std::string nvml = "libnvidia-ml.so.1";
  std::string memory_reserve = "0";
  unsigned grants_per_device = 64;
  unsigned queue_per_user = 100;
  std::string group = "kiboko";
  std::string cgroup = "kiboko";
  std::string log_level = "info";
};

struct Setting {
  const char* name;  // --name, KIBOKO_AGENT_NAME, name: in the file; '-' is '_' in the environment
  std::string Config::*text = nullptr;
  unsigned Config::*number = nullptr;
  bool Config::*truth = nullptr;
  unsigned low = 0, high = 0;  // of a number
  const char* help = "";
};
std::span<const Setting> settings();

struct Invocation {
  Config config;
  enum class Wish { Run, Help, PrintConfig, Version } wish = Wish::Run;
};

// Reads flags, then the environment and the file they name; fills in what depends on the user.
Result<Invocation> read_invocation(int argc, char** argv);
std::string help_text();
std::string config_text(const Config& config);  // as the file

// The directory above bin/, where lib/ and share/ are.
Result<std::string> installation_prefix();

}  // namespace kiboko::agent
