// Replays a trace on a cluster through the policies' own code: `kiboko simulate`.
//
// Pods are drawn with replacement until they ask for `demand_percent` of the cluster's compute, shuffled, and placed in
// that order; none leaves. The same seed gives the same run on every machine: std::mt19937_64 is defined to the bit,
// and drawing and shuffling are ours (simulation.cc), not the standard library's. The order of the nodes is shuffled
// too, so that no policy lives off the order of a file.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "sched/policy.h"

namespace kiboko {

// What a policy that needs a mix knows of it.
enum class MixSource {
  Trace,     // the whole list of pods beforehand, as in the published experiments
  Arrivals,  // only the pods that have arrived; packs until kMixKnownFrom of them
};

struct SimulationSettings {
  Policy policy = Policy::Supply;
  MixSource mix = MixSource::Trace;
  std::uint64_t seed = 42;
  unsigned demand_percent = 130;
  // The compute that demand is counted in, in thousandths of a device; 0: all that there is. Another cluster's capacity
  // makes the same pods arrive here as there.
  std::int64_t demand_of = 0;
};

struct SimulationMark {
  unsigned demand_percent = 0;
  double allocated_percent = 0;   // compute granted, of all
  double fragmented_percent = 0;  // compute free that the trace's typical asks cannot use, of all
};

struct SimulationResult {
  std::uint64_t arrived = 0;
  std::uint64_t placed = 0;
  std::vector<SimulationMark> marks;  // at 90, 100, 110 and 130 % of demand, as far as it went
  std::vector<double> curve;          // allocated_percent at 0, 1, 2, … % of demand
  std::array<std::uint64_t, static_cast<std::size_t>(NodeRefusal::None)> refusals{};  // by reason
  Nanoseconds mean_decision{};
  Nanoseconds worst_decision{};

  std::optional<double> allocated_at(unsigned demand_percent) const;
};

// Called now and then with the part done, 0 to 1.
using Progress = std::function<void(double)>;

// `cluster` is copied; what is placed in it already stays placed. Fails when the pods ask for no compute at all.
Result<SimulationResult> simulate(const Cluster& cluster, std::span<const PodAsk> pods,
                                  const SimulationSettings& settings, const Clock& clock,
                                  const Progress& progress = nullptr);

// The pods in the order of their arrival, as positions in the list; for those who check the method.
Result<std::vector<std::size_t>> draw_arrivals(const Cluster& cluster, std::span<const PodAsk> pods, std::uint64_t seed,
                                               unsigned demand_percent, std::int64_t demand_of = 0);

}  // namespace kiboko
