#include "host/environment.h"

namespace kiboko {

Environment environment_of(const Grant& grant, const std::string& page, const ProgramPaths& paths) {
  std::string uuids;
  for (const GrantDevice& device : grant.devices) uuids += (uuids.empty() ? "" : ",") + device.uuid.text;
  Environment environment{{"CUDA_VISIBLE_DEVICES", uuids}, {"NVIDIA_VISIBLE_DEVICES", uuids}};
  if (grant.kind == GrantKind::Share) {
    environment["KIBOKO_GRANT"] = page;
    environment["LD_PRELOAD"] = paths.shim;
  } else {
    environment["KIBOKO_GRANT"] = std::nullopt;  // a whole device inside a share of another would be misread
  }
  if (!paths.simulation_name.empty()) {
    environment["LD_LIBRARY_PATH"] = paths.simulation_dir;
    environment["KIBOKO_SIM"] = paths.simulation_name;
  }
  return environment;
}

}  // namespace kiboko
