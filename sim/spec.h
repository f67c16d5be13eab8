// What devices to simulate, as text: "2xH100-80GB,1xA10-24GB", or the path of a YAML file.
//
// Pure functions. Of YAML only what such a file needs is read: a list of flat maps, comments, plain or quoted values.
//
//   devices:
//     - product: H100-80GB
//       count: 2              # default 1
//     - product: A10-24GB
//       memory_mib: 12288     # default: the product's; not for one with unified memory
//       sm_count: 36
//       compute_capability: "8.6"
//       numa: 1
//       uuid: GPU-00000000-0000-0000-0000-000000000001    # only with count 1
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "products.h"

namespace sim {

inline constexpr const char* kDefaultDevices = "1xH100-80GB";

struct DeviceSpec {
  Product product;   // with what the file overrides
  int numa = -1;     // -1: chosen by position
  std::string uuid;  // empty: made from the set's name and the position
};

// Both return false and fill `error` with one sentence naming the offending text.
bool parse_devices(std::string_view text, std::vector<DeviceSpec>& out, std::string& error);
bool parse_devices_yaml(std::string_view text, std::vector<DeviceSpec>& out, std::string& error);
// Text or file, by its look: a '/' or the ending .yaml or .yml means a file.
bool read_devices(const std::string& text_or_path, std::vector<DeviceSpec>& out, std::string& error);

// "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" to 16 bytes.
bool parse_uuid(std::string_view text, unsigned char (&bytes)[16]);

}  // namespace sim
