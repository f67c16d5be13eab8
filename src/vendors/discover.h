// What devices of a family a node has, by its profile: listed in an annotation, or made from the node's capacity.
//
// Pure functions. Errors name node and annotation; a node without the family has no devices and no error.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/cluster_device.h"
#include "vendors/family.h"

namespace kiboko::vendors {

using Annotations = std::map<std::string, std::string, std::less<>>;

struct NodeFacts {
  std::string name;
  Annotations annotations, labels;
  std::map<std::string, std::int64_t, std::less<>> capacity;
};

Result<std::vector<RegisteredDevice>> discover(const Family& family, const NodeFacts& node);

}  // namespace kiboko::vendors
