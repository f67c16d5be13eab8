// The host's memory, which is also that of a device without memory of its own. Pure function, any thread.
#pragma once

#include <string_view>

#include "base/result.h"
#include "model/quantities.h"

namespace kiboko {

struct HostMemory {
  Bytes total;
  Bytes available;  // without swapping, caches that can be dropped included
};

// The text of /proc/meminfo. An error if it does not tell both.
Result<HostMemory> parse_host_memory(std::string_view meminfo);
Result<HostMemory> read_host_memory();

}  // namespace kiboko
