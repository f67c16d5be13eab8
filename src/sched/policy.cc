#include "sched/policy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <tuple>

namespace kiboko {
namespace {

constexpr std::string_view kNames[] = {"binpack", "spread", "hami-default", "bestfit", "fgd", "supply"};

// The published experiments' choices: classes up to this part of all asks, and the sizes that BestFit divides by.
constexpr double kTypicalPart = 0.95;
constexpr double kBestFitCpu = 128'000;
constexpr double kBestFitCompute = 8 * kWholeDevice;

// A supply is never quite nothing: one device's worth more, so that its price stays finite.
constexpr double kLeastSupply = kWholeDevice;

enum class Order { Fullest, Emptiest };

Order order_of(Policy policy) {
  return policy == Policy::Spread || policy == Policy::HamiDefault ? Order::Emptiest : Order::Fullest;
}

// `count` of the devices, by what is free on them.
Devices pick(const Cluster& cluster, NodeIndex node, unsigned count, Devices among, Order order) {
  const auto shares = cluster.free_shares(node);
  const auto memory = cluster.free_memory(node);
  Devices picked = 0;
  for (; count > 0; --count) {
    std::optional<std::size_t> best;
    for_each_device(among & ~picked, [&](std::size_t device) {
      const auto key = [&](std::size_t d) { return std::pair(shares[d], memory[d]); };
      if (!best || (order == Order::Fullest ? key(device) < key(*best) : key(device) > key(*best))) best = device;
    });
    if (!best) break;
    picked |= Devices{1} << *best;
  }
  return picked;
}

// Those among the devices that are in the same state as `device`, itself included: one choice, not several.
Devices like(const Cluster& cluster, NodeIndex node, Devices device, Devices among) {
  const auto state = [&](std::size_t d) {
    return std::tuple(cluster.free_shares(node)[d], cluster.free_memory(node)[d], cluster.grants(node)[d] > 0,
                      cluster.device_models(node)[d]);
  };
  const auto wanted = state(static_cast<std::size_t>(std::countr_zero(device)));
  Devices alike = device;
  for_each_device(among, [&](std::size_t other) {
    if (state(other) == wanted) alike |= Devices{1} << other;
  });
  return alike;
}

// What kube-scheduler's default (least allocated) prefers: the parts of CPU and memory left.
double host_left(const Cluster& cluster, NodeIndex node) {
  const auto part = [](auto left, auto of) { return of > 0 ? static_cast<double>(left) / static_cast<double>(of) : 0; };
  return part(cluster.cpu_free(node), cluster.cpu_capacity(node)) +
         part(cluster.host_memory_free(node), cluster.host_memory_capacity(node));
}

double best_fit_cost(const Cluster& cluster, NodeIndex node, const PodAsk& ask) {
  const double left = 0.5 * static_cast<double>(cluster.cpu_free(node) - ask.cpu_milli) / kBestFitCpu +
                      0.5 * static_cast<double>(cluster.compute_free(node) - ask.compute()) / kBestFitCompute;
  return -std::trunc((1 - left) * 100);
}

// A decision that has found fewer nodes to judge than it could looks again at others, in turn, and at no fewer than
// this.
constexpr std::size_t kLookAgain = 16;

// The gradient as published: through a sigmoid, in hundredths. The cut matters: near-equal places become equal, the
// first node wins, and so load stays on few nodes.
double squashed(double growth) { return -std::trunc(100 / (1 + std::exp(growth / kWholeDevice))); }

}  // namespace

std::string_view name(Policy policy) { return kNames[static_cast<std::size_t>(policy)]; }

Result<Policy> parse_policy(std::string_view text) {
  const auto found = std::ranges::find(kNames, text);
  if (found != std::end(kNames)) return static_cast<Policy>(found - std::begin(kNames));
  return fail(Errc::Invalid, "policy '{}' is not known; there are binpack, spread, hami-default, bestfit, fgd, supply",
              text);
}

bool needs_mix(Policy policy) { return policy == Policy::Fgd || policy == Policy::Supply; }

void Placer::expect(const AskMix& mix) {
  usable_.reset();
  memory_.forget_costs();
  twins_.assign(std::bit_ceil(2 * cluster_.nodes() + 1), {});
  if (!needs_mix(policy_) || mix.asks() == 0) return;
  if (policy_ == Policy::Supply) {
    usable_.emplace(cluster_, mix.device_classes(kMaxAskClasses), Usable::Reading::Places);
  } else {
    usable_.emplace(cluster_, mix.typical_classes(kTypicalPart), Usable::Reading::Compute);
  }
  weigh();
}

// The price of each class's supply: constant for fgd, for supply the derivative of f log S.
void Placer::weigh() {
  const auto classes = usable_->classes();
  weights_.resize(classes.size());
  double all = 0;
  for (std::size_t index = 0; index < classes.size(); ++index) {
    weights_[index] = classes[index].weight;
    if (policy_ == Policy::Supply) weights_[index] /= static_cast<double>(usable_->supply()[index]) + kLeastSupply;
    all += weights_[index];
  }
  if (policy_ == Policy::Supply && all > 0)
    for (double& weight : weights_) weight /= all;
  usable_->set_weights(weights_);
}

// For fgd: what is free shrinks by the ask itself, wherever it goes; what is lost beyond that is fragments.
double Placer::cost(NodeIndex node, const PodAsk& ask, Devices devices) const {
  if (usable_) {
    const double lost = usable_->lost(node, ask, devices);
    return policy_ == Policy::Fgd ? squashed(lost - static_cast<double>(ask.compute())) : lost;
  }
  double left = 0;  // by compute, then by memory
  for_each_device(devices, [&](std::size_t device) {
    const auto memory = static_cast<double>(cluster_.memory_capacity(node)[device]);
    left += cluster_.free_shares(node)[device];
    left += static_cast<double>(cluster_.free_memory(node)[device]) / (memory + 1);
  });
  return order_of(policy_) == Order::Fullest ? left : -left;
}

// The node must fit.
Placer::Choice Placer::judge(NodeIndex node, const PodAsk& ask) const {
  const Devices fitting = cluster_.fitting_devices(node, ask);
  if (!usable_) return {cost_by_use(node, ask), pick(cluster_, node, ask.count, fitting, order_of(policy_))};
  if (ask.count != 1 || ask.share == kWholeDevice || ask.exclusive) {
    const Devices devices = pick(cluster_, node, ask.count, fitting, Order::Fullest);
    return {cost(node, ask, devices), devices};
  }
  std::optional<Choice> best;
  for (Devices left = fitting; left != 0;) {
    const Devices device = left & -left;
    left &= ~like(cluster_, node, device, left);
    const double now = cost(node, ask, device);
    if (!best || now < best->cost) best = {now, device};
  }
  return *best;
}

double Placer::cost_by_use(NodeIndex node, const PodAsk& ask) const {
  switch (policy_) {
    case Policy::Spread:
      return cluster_.use(node);
    case Policy::HamiDefault:
      if (ask.count == 0) return -host_left(cluster_, node);
      break;
    case Policy::BestFit:
      return best_fit_cost(cluster_, node, ask);
    case Policy::Binpack:
    case Policy::Fgd:
    case Policy::Supply:
      break;
  }
  return -cluster_.use(node);
}

// The costly policies judge nodes in the same state once: an empty cluster has few states, a full one few that fit.
double Placer::judged(NodeIndex node, const PodAsk& ask) {
  const std::uint64_t key = cluster_.state_key(node);
  Twin& twin = twins_[key & (twins_.size() - 1)];
  if (twin.decision != decision_ || twin.key != key) twin = {key, decision_, judge(node, ask).cost};
  return twin.cost;
}

float Placer::judge_and_note(NodeIndex node, const PodAsk& ask, CostMemory::Costs& known) {
  const float cost = cluster_.fits(node, ask) ? static_cast<float>(judged(node, ask)) : CostMemory::kDoesNotFit;
  known.note(node, cluster_.version(node), cost);
  return cost;
}

void Placer::look_again(const PodAsk& ask, std::size_t most, CostMemory::Costs& known) {
  const std::size_t nodes = cluster_.nodes();
  for (std::size_t left = std::min(nodes, most); left > 0; --left) {
    judge_and_note(known.look_again_at, ask, known);
    known.look_again_at = static_cast<NodeIndex>((known.look_again_at + 1) % nodes);
  }
}

// Cheap enough to ask first what a node costs, and only then whether it fits.
void Placer::rank_by_use(const PodAsk& ask, const NodeSet* candidates, const NodeSet* tried) {
  cluster_.for_each_that_may_fit(ask, candidates, tried, [&](NodeIndex node) {
    const Ranked one{node, cost_by_use(node, ask)};
    if (shortlist_.would_take(one) && cluster_.fits(node, ask)) shortlist_.add(one);
  });
}

void Placer::rank_by_usable(const PodAsk& ask, const NodeSet* candidates, const NodeSet* tried) {
  CostMemory::Costs& known = memory_.of(ask, cluster_.nodes());
  const auto list = [&](NodeIndex node, float cost) {
    if (cost != CostMemory::kDoesNotFit) shortlist_.add({node, static_cast<double>(cost)});
  };
  unjudged_.clear();
  cluster_.for_each_that_may_fit(ask, candidates, tried, [&](NodeIndex node) {
    const std::uint32_t version = cluster_.version(node);
    if (known.versions[node] == version) return list(node, known.costs[node]);
    const Ranked one{node, -cluster_.use(node)};
    if (!unjudged_.would_take(one)) return;
    if (cluster_.fits(node, ask)) {
      unjudged_.add(one);
    } else {
      known.note(node, version, CostMemory::kDoesNotFit);
    }
  });
  for (const Ranked& one : unjudged_.ranked()) list(one.node, judge_and_note(one.node, ask, known));
  if (policy_ != Policy::Supply) return;
  shortlist_.judge_anew([&](NodeIndex node) { return judged(node, ask); });
  look_again(ask, std::max(kLookAgain, kJudgedAtOnce - unjudged_.size()), known);
}

std::span<const Ranked> Placer::rank(const PodAsk& ask, const NodeSet* candidates, const NodeSet* tried) {
  ++decision_;
  shortlist_.clear();
  if (usable_) {
    rank_by_usable(ask, candidates, tried);
  } else {
    rank_by_use(ask, candidates, tried);
  }
  return shortlist_.ranked();
}

std::optional<Spot> Placer::spot_of(const PodAsk& ask, std::span<const Ranked> ranked) const {
  if (ranked.empty()) return {};
  return Spot{ranked[0].node, judge(ranked[0].node, ask).devices};
}

std::optional<Spot> Placer::choose(const PodAsk& ask) { return spot_of(ask, rank(ask)); }

std::optional<Spot> Placer::choose(const PodAsk& ask, const NodeSet& candidates) {
  return spot_of(ask, rank(ask, &candidates));
}

std::optional<Spot> Placer::choose(const PodAsk& ask, std::span<const NodeIndex> candidates) {
  named_.clear();
  for (const NodeIndex node : candidates) named_.add(node);
  return choose(ask, named_);
}

void Placer::take(const PodAsk& ask, const Spot& spot) {
  cluster_.take(ask, spot);
  changed(spot.node);
}

void Placer::give_back(const PodAsk& ask, const Spot& spot) {
  cluster_.give_back(ask, spot);
  changed(spot.node);
}

void Placer::changed(NodeIndex node) {
  if (!usable_) return;
  usable_->refresh(node);
  if (policy_ == Policy::Supply) weigh();
}

}  // namespace kiboko
