// The environment that makes a program part of its grant. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "model/grant.h"

namespace kiboko {

struct ProgramPaths {
  std::string shim;             // <prefix>/lib/libkiboko.so
  std::string simulation_dir;   // <prefix>/lib/sim, used when the devices are simulated
  std::string simulation_name;  // empty: real devices
};

// A value of nothing means "remove it". LD_PRELOAD and LD_LIBRARY_PATH go in front of what the program has.
using Environment = std::map<std::string, std::optional<std::string>>;
Environment environment_of(const Grant& grant, const std::string& page, const ProgramPaths& paths);

}  // namespace kiboko
