// The agent's settings.
#pragma once

#include <string>

#include "apps/settings.h"

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

using Invocation = apps::Invocation<Config>;
using apps::Wish;

// Reads flags, then the environment and the file they name; fills in what depends on the user.
Result<Invocation> read_invocation(int argc, char** argv);
std::string help_text();
std::string config_text(const Config& config);  // as the file

}  // namespace kiboko::agent
