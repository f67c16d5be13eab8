// What is well with the host and what is not, one line each, with the next step where something is missing.
#pragma once

#include <string>
#include <vector>

#include "host/host.h"

namespace kiboko {

enum class Health { Well, Notice, Trouble };

struct Check {
  std::string name;
  Health health = Health::Well;
  std::string sentence;
  std::string next_step;  // empty when nothing needs doing
};

std::vector<Check> examine(const Host& host);

}  // namespace kiboko
