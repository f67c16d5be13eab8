// From the resources of one container and the annotations of its pod to what it asks of one family, and what admission
// changes in the pod for it.
//
// Pure functions. Admission, quota and placement all call these, so that all see the same numbers; asking again of what
// admission has written gives the same ask. Errors (Invalid) are refusals: a sentence that names container, resource
// and value.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/device_ask.h"
#include "model/objects.h"
#include "vendors/discover.h"
#include "vendors/family.h"

namespace kiboko::vendors {

struct Admission {
  std::optional<DeviceAsk> ask;                 // nothing: the container asks for none of the family
  bool claimed = false;                         // it named a resource of the family
  std::map<std::string, std::int64_t> limits;   // to be set, as limits and requests
  std::map<std::string, std::string> env;       // to be added where the container does not set it
  std::map<std::string, std::string> annotate;  // to be added to the pod
  std::string runtime_class;
};
Result<Admission> admit(const Family& family, const Container& container, const Annotations& pod);

// Variables that hide the devices of a family from a container that asked for none of its group.
std::map<std::string, std::string> hidden_env(const std::vector<const Family*>& all,
                                              const std::vector<const Family*>& claimed);

// The fixed size that has exactly this memory, if the family hands out such.
const Step* step_of(const Family& family, MiB memory);

}  // namespace kiboko::vendors
