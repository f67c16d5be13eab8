// What a pod was given of one family, as text: "UUID,TYPE,MiB,CORES:" for each device, ";" behind each container.
//
// Pure functions. The empty entry of a container without such a device counts: position is all that tells containers
// apart.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "model/cluster_device.h"

namespace kiboko {

// What stands behind the last ";" is an entry of its own, mostly empty: a text of two containers gives three. Plugins
// leave more such entries when they take note of what they have served. Pieces without a comma are passed over, but for
// ids with a colon in them (PCI addresses), which are put together again. An empty text has no entries.
Result<PodDevices> decode_allocation(std::string_view text);

// Separators in a type become "_": model names are for people. An id with "," or ";" in it is Invalid.
Result<std::string> encode_allocation(std::span<const ContainerDevices> containers);

// Before 2.10 a MIG instance was "GPU-x[2-1]" in allocations: the second geometry of the GPU, its first instance.
struct OldMigUuid {
  DeviceUuid gpu;
  unsigned geometry = 0, position = 0;
};
std::optional<OldMigUuid> parse_old_mig_uuid(std::string_view text);

// Lists in annotations of users and operators, such as "hami.io/device-cordon": separated by commas, trimmed, empty
// items left out.
std::vector<std::string> parse_name_list(std::string_view text);

}  // namespace kiboko
