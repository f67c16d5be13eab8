// How good a node is for a pod by its family's own measure. Higher is better; what a policy makes of it is the
// scheduler's business.
//
// Pure function.
#pragma once

#include <span>
#include <vector>

#include "vendors/discover.h"
#include "vendors/hooks.h"

namespace kiboko::vendors {

struct NodeScoreInput {
  const Annotations& node;                                 // of the node
  std::vector<std::vector<const CustomInfo*>> containers;  // the devices chosen, for each container that has some
  bool spread = false;                                     // the policy of the pod
  ScoreInput hook;                                         // for families whose profile names one
};

// 0 for families without such a measure, and where a device or an annotation lacks what it needs. An annotation that
// cannot be read is Invalid.
Result<double> node_score(const Family& family, const NodeScoreInput& input);

// Invalid names the annotation of the node that the family's score could not read.
Result<void> check_score_tables(const Family& family, const Annotations& node);

}  // namespace kiboko::vendors
