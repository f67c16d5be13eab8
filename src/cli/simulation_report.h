// What `kiboko simulate` found, as a table, JSON, CSV or a chart. Plain values and pure functions.
#pragma once

#include <string>
#include <vector>

#include "cli/output.h"
#include "sched/simulation.h"

namespace kiboko::cli {

// One policy over the seeds.
struct PolicyRuns {
  Policy policy;
  std::vector<SimulationResult> results;  // in the order of the seeds
};

struct Simulated {
  std::vector<std::uint64_t> seeds;
  std::vector<PolicyRuns> policies;  // the first is what the others are compared with
};

// A mean over seeds and half the width of its 95 % interval (Student's t); the width is 0 for a single seed.
struct Estimate {
  double mean = 0;
  double half_width = 0;
};
Estimate estimate(const std::vector<double>& values);

std::string simulation_table(const Simulated& simulated, const Output& output);
std::string simulation_json(const Simulated& simulated);
std::string simulation_csv(const Simulated& simulated);
// Allocation against demand, a line a policy, as an SVG document.
std::string simulation_chart(const Simulated& simulated);

}  // namespace kiboko::cli
