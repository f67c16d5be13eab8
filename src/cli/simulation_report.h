// What `kiboko simulate` found in a trace, as a table, JSON or CSV. Plain values and pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/output.h"
#include "cli/simulation_chart.h"
#include "cli/simulation_measures.h"
#include "sched/simulation.h"

namespace kiboko::cli {

using PolicyRuns = RunsOf<SimulationResult>;

struct Simulated {
  std::vector<std::uint64_t> seeds;
  std::vector<PolicyRuns> policies;  // the first is what the others are compared with
  // The same policies with the same seeds and pods, on the changed cluster.
  std::vector<PolicyRuns> what_if;
  std::string changes;
};

std::string simulation_table(const Simulated& simulated, const Output& output);
std::string simulation_json(const Simulated& simulated);
std::string simulation_csv(const Simulated& simulated);
// Allocation against demand.
std::string simulation_chart(const Simulated& simulated);

}  // namespace kiboko::cli
