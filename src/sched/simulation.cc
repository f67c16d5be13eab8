#include "sched/simulation.h"

#include <algorithm>

#include "sched/ask_window.h"
#include "sched/draw.h"

namespace kiboko {
namespace {

constexpr unsigned kMarks[] = {90, 100, 110, 130};
constexpr double kTypicalPart = 0.95;
constexpr std::size_t kProgressEvery = 256;
constexpr std::uint64_t kNodeOrderStream = 0x9e3779b97f4a7c15;  // keeps the two draws of one seed apart

// Typical asks' view of what is free, in thousandths.
double fragmented(const Cluster& cluster, const std::vector<AskClass>& typical) {
  const Usable usable{cluster, typical, Usable::Reading::Compute};
  double could_use = 0;
  for (std::size_t index = 0; index < typical.size(); ++index)
    could_use += typical[index].weight * static_cast<double>(usable.supply()[index]);
  return static_cast<double>(cluster.compute_capacity() - cluster.compute_granted()) - could_use;
}

// The reason of the node that got furthest.
NodeRefusal reason(const Cluster& cluster, const PodAsk& ask) {
  NodeRefusal furthest = NodeRefusal::TooFewDevices;
  for (NodeIndex node = 0; node < cluster.nodes(); ++node) furthest = std::max(furthest, cluster.refusal(node, ask));
  return furthest;
}

void copy_node(const Cluster& from, NodeIndex node, Cluster& to) {
  ClusterNode copy{.name = from.node_name(node),
                   .cpu_milli = from.cpu_capacity(node),
                   .host_memory = Bytes{from.host_memory_capacity(node)},
                   .devices = {}};
  for (std::size_t device = 0; device < from.device_count(node); ++device)
    copy.devices.push_back({.memory = Bytes{from.memory_capacity(node)[device]},
                            .slots = from.slots(node)[device],
                            .model = from.device_models(node)[device]});
  const NodeIndex index = to.add_node(copy).value();
  to.set_host_free(index, from.cpu_free(node), Bytes{from.host_memory_free(node)});
  for (std::size_t device = 0; device < from.device_count(node); ++device)
    to.set_free(index, device,
                {.share = from.free_shares(node)[device],
                 .memory = Bytes{from.free_memory(node)[device]},
                 .grants = from.grants(node)[device],
                 .healthy = from.healthy(node)[device] != 0});
}

// The same nodes, as they are, in an order that the seed gives.
Cluster shuffled(const Cluster& cluster, std::uint64_t seed) {
  std::vector<NodeIndex> order;
  cluster.present().for_each([&](NodeIndex node) { order.push_back(node); });
  std::mt19937_64 generator{seed ^ kNodeOrderStream};
  shuffle(order, generator);
  Cluster copy;
  for (const std::string& model : cluster.models()) (void)copy.model_named(model);
  for (const NodeIndex node : order) copy_node(cluster, node, copy);
  return copy;
}

class Run {
 public:
  Run(const Cluster& cluster, std::span<const PodAsk> pods, const SimulationSettings& settings)
      : cluster_(shuffled(cluster, settings.seed)), settings_(settings), placer_(cluster_, settings.policy) {
    AskMix all;
    for (const PodAsk& ask : pods) all.add(ask);
    typical_ = all.typical_classes(kTypicalPart);
    if (settings.mix == MixSource::Trace) placer_.expect(all);
  }

  void arrive(const PodAsk& ask, const Clock& clock) {
    ++result_.arrived;
    asked_ += ask.compute();
    const Instant before = clock.now();
    if (settings_.mix == MixSource::Arrivals) {
      seen_.add(ask, WallTime{});  // all within one day
      if (seen_.changed_enough()) {
        placer_.expect(seen_.mix());
        seen_.expected();
      }
    }
    const auto spot = placer_.choose(ask);
    if (spot) placer_.take(ask, *spot);
    const Nanoseconds took = clock.now() - before;
    spent_ += took;
    result_.worst_decision = std::max(result_.worst_decision, took);
    if (spot) {
      ++result_.placed;
    } else {
      ++result_.refusals[static_cast<std::size_t>(reason(cluster_, ask))];
    }
    mark();
  }

  SimulationResult finish() {
    if (result_.arrived > 0) result_.mean_decision = spent_ / static_cast<std::int64_t>(result_.arrived);
    return std::move(result_);
  }

 private:
  void mark() {
    const auto capacity = static_cast<double>(cluster_.compute_capacity());
    const double demand_of = settings_.demand_of > 0 ? static_cast<double>(settings_.demand_of) : capacity;
    const double allocated = 100 * static_cast<double>(cluster_.compute_granted()) / capacity;
    while (static_cast<double>(asked_) * 100 >= static_cast<double>(result_.curve.size()) * demand_of)
      result_.curve.push_back(allocated);
    while (next_mark_ < std::size(kMarks) && kMarks[next_mark_] <= settings_.demand_percent &&
           static_cast<double>(asked_) * 100 >= kMarks[next_mark_] * demand_of) {
      result_.marks.push_back({kMarks[next_mark_], allocated, 100 * fragmented(cluster_, typical_) / capacity});
      ++next_mark_;
    }
  }

  Cluster cluster_;
  const SimulationSettings& settings_;
  Placer placer_;
  std::vector<AskClass> typical_;
  AskWindow seen_;
  std::int64_t asked_ = 0;
  Nanoseconds spent_{};
  std::size_t next_mark_ = 0;
  SimulationResult result_;
};

}  // namespace

std::optional<double> SimulationResult::allocated_at(unsigned demand_percent) const {
  const auto found = std::ranges::find(marks, demand_percent, &SimulationMark::demand_percent);
  if (found == marks.end()) return {};
  return found->allocated_percent;
}

Result<std::vector<std::size_t>> draw_arrivals(const Cluster& cluster, std::span<const PodAsk> pods, std::uint64_t seed,
                                               unsigned demand_percent, std::int64_t demand_of) {
  if (std::ranges::none_of(pods, [](const PodAsk& ask) { return ask.compute() > 0; }))
    return fail(Errc::Invalid, "none of the {} pods asks for a device; there is no demand to reach", pods.size());
  if (cluster.compute_capacity() == 0) return fail(Errc::Invalid, "none of the {} nodes has a device", cluster.nodes());
  std::mt19937_64 generator{seed};
  std::vector<std::size_t> arrivals;
  const std::int64_t wanted = (demand_of > 0 ? demand_of : cluster.compute_capacity()) * demand_percent;
  for (std::int64_t asked = 0; asked * 100 < wanted;) {
    const std::size_t drawn = below(generator, pods.size());
    asked += pods[drawn].compute();
    arrivals.push_back(drawn);
  }
  shuffle(arrivals, generator);
  return arrivals;
}

Result<SimulationResult> simulate(const Cluster& cluster, std::span<const PodAsk> pods,
                                  const SimulationSettings& settings, const Clock& clock, const Progress& progress) {
  const std::vector<std::size_t> arrivals =
      TRY(draw_arrivals(cluster, pods, settings.seed, settings.demand_percent, settings.demand_of));
  Run run{cluster, pods, settings};
  for (std::size_t index = 0; index < arrivals.size(); ++index) {
    run.arrive(pods[arrivals[index]], clock);
    if (progress && index % kProgressEvery == 0)
      progress(static_cast<double>(index) / static_cast<double>(arrivals.size()));
  }
  if (progress) progress(1);
  return run.finish();
}

}  // namespace kiboko
