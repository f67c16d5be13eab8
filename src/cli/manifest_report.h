// What `kiboko simulate` found in manifests or in a cluster, as a table, JSON, CSV or a chart. Plain values and pure
// functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/manifest_simulation.h"
#include "cli/output.h"
#include "cli/simulation_measures.h"

namespace kiboko::cli {

using ManifestRuns = RunsOf<ManifestResult>;

struct ManifestReport {
  std::vector<std::optional<std::uint64_t>> seeds;  // none: the order of the file
  std::size_t nodes = 0, bound = 0;                 // of the unchanged cluster
  std::vector<ManifestRuns> policies;
  // The same policies with the same seeds and pods, on the changed cluster.
  std::vector<ManifestRuns> what_if;
  std::string changes;
};

std::string manifest_table(const ManifestReport& report, const Output& output);
std::string manifest_json(const ManifestReport& report);
std::string manifest_csv(const ManifestReport& report);
std::string manifest_chart(const ManifestReport& report);

}  // namespace kiboko::cli
