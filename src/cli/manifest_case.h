// Manifests or a live cluster's dump, made ready for a simulation. Plain value; made once for all policies and seeds.
#pragma once

#include <string>
#include <vector>

#include "model/objects_json.h"
#include "sched/engine.h"

namespace kiboko::cli {

// Nodes, quotas and pods, told apart.
struct ManifestCase {
  std::vector<Node> nodes;
  std::vector<ResourceQuota> quotas;
  std::vector<Pod> held;     // bound, and they say what they have
  std::vector<Pod> seated;   // bound, and they do not
  std::vector<Pod> waiting;  // each with an identity of its own
  double devices = 0;        // how many there are
  std::vector<std::string> warnings;
};

// Pods that a scheduler has assigned count as bound. To be called before nodes are changed.
void settle_assigned(Objects& objects);
Result<ManifestCase> manifest_case(const Objects& objects, const vendors::Catalog& catalog);

// An engine that places by the policy, and by what the nodes have of CPU and memory where they say it.
EngineSettings engine_settings(const ManifestCase& all, Policy policy);

}  // namespace kiboko::cli
