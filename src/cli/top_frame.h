// One frame of `kiboko top` as lines of text: devices with their bars, grants with theirs, who waits.
//
// Pure: what is shown depends on the snapshot and the size alone.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/output.h"
#include "cli/wire.h"

namespace kiboko::cli {

struct Snapshot {
  MetaView meta;
  std::vector<DeviceView> devices;
  std::vector<GrantView> grants;
  std::string trouble;  // the agent did not answer: shown above what was known last
};

// At most `columns` wide and `rows` high.
std::vector<std::string> top_frame(const Snapshot& snapshot, WallTime now, const Output& output, std::size_t columns,
                                   std::size_t rows);

// `part` of 0 to 1 in `cells` columns, in eighths of a column.
std::string bar(double part, std::size_t cells);

}  // namespace kiboko::cli
