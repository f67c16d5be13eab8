// `kiboko simulate` for Kubernetes' objects: pods of manifests or of a live cluster's dump, placed by the scheduler's
// own engine.
//
// A pod that is bound holds what its annotations say; one that says nothing of its devices is placed on its node first.
// The others arrive one after the other, each once, in the order of the file; a seed shuffles them, and a demand draws
// them with replacement until so much is asked for, as with traces. None leaves. Nodes that take no pods, or that a
// pod's node selector rules out, are no candidates. Where nodes say what CPU and memory they have, these count too, and
// pods without devices are placed like the others. One thread, no I/O.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/manifest_case.h"
#include "sched/simulation.h"

namespace kiboko::cli {

struct ManifestSettings {
  Policy policy = Policy::Supply;
  MixSource mix = MixSource::Trace;
  std::optional<std::uint64_t> seed;       // none: the order of the file
  std::optional<unsigned> demand_percent;  // none: each pod once
  double demand_of = 0;                    // devices that the demand is counted in; 0: those there are
};

struct FamilyUse {
  std::string family;
  std::size_t devices = 0, in_use = 0;
  double compute_percent = 0, memory_percent = 0;  // granted, of all
  bool operator==(const FamilyUse&) const = default;
};

struct Refused {
  std::size_t pods = 0;
  std::string sentence;  // what the reason means
};

struct PodFate {
  std::string pod;
  std::string node;                  // empty: refused
  std::vector<std::string> devices;  // by name
  std::string code, sentence;        // of a refusal
};

struct ManifestResult {
  std::size_t arrived = 0, placed = 0;
  std::map<std::string, Refused> refusals;  // by code
  std::vector<FamilyUse> families;
  double fragmented_percent = 0;  // of the devices: free, and no use to what pods typically ask for
  std::vector<double> curve;      // percent of the devices granted, at 0, 1, 2, … percent asked for
  Nanoseconds mean_decision{}, worst_decision{};
  std::size_t unseated = 0;    // bound, say nothing of their devices, and do not fit on their node
  std::vector<PodFate> fates;  // of the pods that arrived, in their order
};

// Fails when a demand can never be reached.
Result<ManifestResult> simulate(const ManifestCase& all, const vendors::Catalog& catalog,
                                const ManifestSettings& settings, const Clock& clock,
                                const Progress& progress = nullptr);

}  // namespace kiboko::cli
