// What a bound pod holds, read from its annotations: the scheduler's memory after a restart.
//
// Pure function over a node that the caller owns. A pod's author could have written anything there, and so could a
// release that we do not know: what cannot be read is an error, and then the caller trusts nothing on the node.
#pragma once

#include <functional>
#include <vector>

#include "sched/pod_tally.h"
#include "vendors/catalog.h"

namespace kiboko {

// The place of a device on the node; makes one that is not there if only pods know of it. Nothing: there are too many.
using FindDevice = std::function<std::optional<unsigned>(FamilyIndex family, const std::string& uuid)>;

struct ReadPod {
  std::vector<Taken> taken;  // by container
  // Instances that are reserved but belong to no device of the allocation. They count as in use.
  std::vector<HeldMig> stray_mig;
  bool empty() const { return taken.empty() && stray_mig.empty(); }
};

// Errors (Invalid) name pod, annotation and place.
Result<ReadPod> read_pod(const Pod& pod, const BookedNode& node, const vendors::Catalog& catalog,
                         const FindDevice& find_device);

}  // namespace kiboko
