#include "sched/policy.h"

#include <algorithm>
#include <array>
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

template <class T>
double sum(std::span<const T> numbers) {
  double total = 0;
  for (const T number : numbers) total += static_cast<double>(number);
  return total;
}

// The parts of a node's compute, memory and slots in use, added up: from 0 to 3.
double use_of(const Cluster& cluster, NodeIndex node) {
  const auto devices = static_cast<double>(cluster.device_count(node));
  if (devices == 0) return 0;
  const double memory = sum(cluster.memory_capacity(node));
  const double memory_use = memory > 0 ? 1 - sum(cluster.free_memory(node)) / memory : 0;
  const double slots = sum(cluster.slots(node));
  return 1 - static_cast<double>(cluster.compute_free(node)) / (devices * kWholeDevice) + memory_use +
         (slots > 0 ? sum(cluster.grants(node)) / slots : 0);
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

// Of what is remembered, the best so many nodes are judged anew at each decision. Of all nodes so many, or one in so
// many if that is more, are looked at again.
constexpr std::size_t kShortlist = 16;
constexpr std::size_t kLookAgain = 64;
constexpr std::size_t kLookAgainPart = 64;

// The cheapest so far, in order; of equals the first that came.
struct Shortlist {
  std::array<double, kShortlist> costs{};
  std::array<std::size_t, kShortlist> positions{};  // among the candidates
  std::size_t size = 0;

  void add(double cost, std::size_t position) {
    if (size == kShortlist && cost >= costs[size - 1]) return;
    if (size < kShortlist) ++size;
    std::size_t at = size - 1;
    for (; at > 0 && cost < costs[at - 1]; --at) {
      costs[at] = costs[at - 1];
      positions[at] = positions[at - 1];
    }
    costs[at] = cost;
    positions[at] = position;
  }
};

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
  memories_.clear();
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

Placer::Choice Placer::judge(NodeIndex node, const PodAsk& ask) const {
  const Devices fitting = cluster_.fitting_devices(node, ask);
  return usable_ ? judge_by_usable(node, ask, fitting) : judge_by_use(node, ask, fitting);
}

// What the placement costs. For fgd: what is free shrinks by the ask itself, wherever it goes; what is lost beyond that
// is fragments.
double Placer::cost(NodeIndex node, const PodAsk& ask, Devices devices) const {
  const double lost = usable_->lost(node, ask, devices);
  return policy_ == Policy::Fgd ? squashed(lost - static_cast<double>(ask.compute())) : lost;
}

Placer::Choice Placer::judge_by_usable(NodeIndex node, const PodAsk& ask, Devices fitting) const {
  if (ask.count != 1 || ask.share == kWholeDevice || ask.exclusive) {
    const Devices devices = pick(cluster_, node, ask.count, fitting, Order::Fullest);
    return {cost(node, ask, devices), {node, devices}};
  }
  std::optional<Choice> best;
  for (Devices left = fitting; left != 0;) {
    const Devices device = left & -left;
    left &= ~like(cluster_, node, device, left);
    const double now = cost(node, ask, device);
    if (!best || now < best->cost) best = {now, {node, device}};
  }
  return *best;
}

Placer::Choice Placer::judge_by_use(NodeIndex node, const PodAsk& ask, Devices fitting) const {
  const auto picked = [&](Order order) { return Spot{node, pick(cluster_, node, ask.count, fitting, order)}; };
  switch (policy_) {
    case Policy::Spread:
      return {use_of(cluster_, node), picked(Order::Emptiest)};
    case Policy::HamiDefault:
      if (ask.count == 0) return {-host_left(cluster_, node), {node, 0}};
      return {-use_of(cluster_, node), picked(Order::Emptiest)};
    case Policy::BestFit:
      return {best_fit_cost(cluster_, node, ask), picked(Order::Fullest)};
    case Policy::Binpack:
    case Policy::Fgd:
    case Policy::Supply:
      break;
  }
  return {-use_of(cluster_, node), picked(Order::Fullest)};
}

std::optional<double> Placer::cost_of_twin(NodeIndex node) const {
  const std::uint64_t key = cluster_.state_key(node);
  const Twin& twin = twins_[key & (twins_.size() - 1)];
  if (twin.decision != decision_ || twin.key != key) return {};
  return twin.cost;
}

// The costly policies judge nodes in the same state once: an empty cluster has few states, a full one few that fit.
double Placer::judged(NodeIndex node, const PodAsk& ask) {
  if (const auto twin = cost_of_twin(node)) return *twin;
  const double cost = judge(node, ask).cost;
  const std::uint64_t key = cluster_.state_key(node);
  twins_[key & (twins_.size() - 1)] = {key, decision_, cost};
  return cost;
}

Placer::Memory* Placer::memory_of(const PodAsk& ask) {
  if (!usable_ || policy_ != Policy::Supply) return nullptr;
  const auto found = memories_.find(ask);
  if (found != memories_.end()) return &found->second;
  if (memories_.size() == kMaxAskClasses) return nullptr;
  Memory& memory = memories_[ask];
  memory.keys.resize(cluster_.nodes(), 0);
  memory.costs.resize(cluster_.nodes(), 0);
  return &memory;
}

void Placer::look_again(Memory& memory, const PodAsk& ask) {
  const std::size_t nodes = memory.keys.size();
  for (std::size_t left = std::min(nodes, std::max(kLookAgain, nodes / kLookAgainPart)); left > 0; --left) {
    const NodeIndex node = memory.next;
    memory.next = static_cast<NodeIndex>((node + 1) % nodes);
    if (!cluster_.fits(node, ask)) continue;
    memory.costs[node] = static_cast<float>(judged(node, ask));
    memory.keys[node] = cluster_.state_key(node);
  }
}

template <class NodeAt>
std::optional<Spot> Placer::best_of(const PodAsk& ask, std::size_t count, NodeAt node_at) {
  ++decision_;
  Memory* const memory = memory_of(ask);
  Shortlist shortlist;
  for (std::size_t index = 0; index < count; ++index) {
    const NodeIndex node = node_at(index);
    if (!cluster_.fits(node, ask)) continue;
    if (memory == nullptr || node >= memory->keys.size()) {
      shortlist.add(usable_ ? judged(node, ask) : judge(node, ask).cost, index);
      continue;
    }
    if (memory->keys[node] != cluster_.state_key(node)) {
      memory->costs[node] = static_cast<float>(judged(node, ask));
      memory->keys[node] = cluster_.state_key(node);
    }
    shortlist.add(static_cast<double>(memory->costs[node]), index);
  }
  if (shortlist.size == 0) return {};
  if (memory == nullptr) return judge(node_at(shortlist.positions[0]), ask).spot;
  const auto listed = std::span{shortlist.positions}.first(shortlist.size);
  std::ranges::sort(listed);  // of equals the first
  std::optional<Choice> best;
  for (const std::size_t position : listed) {
    const Choice choice = judge(node_at(position), ask);
    if (!best || choice.cost < best->cost) best = choice;
  }
  look_again(*memory, ask);
  return best->spot;
}

std::optional<Spot> Placer::choose(const PodAsk& ask, std::span<const NodeIndex> candidates) {
  return best_of(ask, candidates.size(), [&](std::size_t index) { return candidates[index]; });
}

std::optional<Spot> Placer::choose(const PodAsk& ask) {
  return best_of(ask, cluster_.nodes(), [](std::size_t index) { return static_cast<NodeIndex>(index); });
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
