// Nodes that `kiboko simulate` adds and removes to ask "what if": `--add-nodes 2:gpu-1 --remove-nodes gpu-7,gpu-8`.
//
// Plain values and pure functions. Added nodes are like the one named, but empty; they are called gpu-1+1, gpu-1+2, …
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/flags.h"
#include "model/objects_json.h"
#include "sched/cluster.h"

namespace kiboko::cli {

struct NodeChanges {
  struct More {
    std::size_t count = 0;
    std::string like;
  };
  std::vector<More> add;
  std::vector<std::string> remove;

  bool any() const { return !add.empty() || !remove.empty(); }
  std::string text() const;  // "2 more nodes like gpu-1, without gpu-7"
};

Result<NodeChanges> parse_node_changes(const std::vector<std::string>& add, const std::vector<std::string>& remove);

// First what is added, then what is removed, so that nodes can be swapped. NotFound names the node that is not there.
Result<void> apply(const NodeChanges& changes, Cluster& cluster);
// Pods of a node that is removed wait again, before all others; those without devices go with their node.
Result<void> apply(const NodeChanges& changes, Objects& objects);

}  // namespace kiboko::cli
