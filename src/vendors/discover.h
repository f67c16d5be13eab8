// What devices of a family a node has, by its profile: listed in an annotation, or made from the node's capacity.
//
// Pure functions. Errors name node and annotation; a node without the family has no devices and no error.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/cluster_device.h"
#include "model/objects.h"
#include "vendors/family.h"

namespace kiboko::vendors {

using Annotations = Texts;

Result<std::vector<RegisteredDevice>> discover(const Family& family, const Node& node);

}  // namespace kiboko::vendors
