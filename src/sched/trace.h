// Cluster traces as comma-separated text: the format of the open trace cluster-trace-gpu-v2023.
//
//   nodes  sn,cpu_milli,memory_mib,gpu,model
//   pods   name,cpu_milli,memory_mib,num_gpu,gpu_milli and optionally gpu_spec (allowed models, `|` between them)
//
// Columns are found by name, in any order, and others are passed over. Everything else is strict: an error names file,
// line, column and value. Pure functions; whoever calls has read the file.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "sched/cluster.h"

namespace kiboko {

// Adds the nodes to the cluster. `file` is for messages.
Result<void> read_trace_nodes(std::string_view text, std::string_view file, Cluster& cluster);

// Models that the cluster does not have are allowed and never found.
Result<std::vector<PodAsk>> read_trace_pods(std::string_view text, std::string_view file, const Cluster& cluster);

}  // namespace kiboko
