// The inner loops go over classes, four to a vector: a class is a lane, so that weighing a placement for a hundred
// classes costs a hundred nanoseconds or so and no branch.
#include "sched/usable.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace kiboko {
namespace {

constexpr std::size_t kShares = kWholeDevice + 1;
constexpr float kWithout = 1e30F;  // "how many does it last for" of a class that needs none of it
constexpr double kMiB = 1 << 20;
// A second ask beside the first counts so much less: it tells places apart that are the same to the first.
constexpr double kBeside = 0.1;
constexpr float kOneAsk = 0.99999F;  // sums of fractions may miss a whole one by their rounding

Share share_of(const PodAsk& ask) { return ask.exclusive ? kWholeDevice : ask.share; }

// What one ask of the class counts as, in thousandths of a device: by compute or, if that is more, by memory.
double size_of(const PodAsk& ask, const Cluster& cluster) {
  const auto per_device = static_cast<double>(cluster.memory_capacity().count) /
                          static_cast<double>(std::max<std::size_t>(cluster.devices(), 1));
  const double memory = per_device > 0 ? kWholeDevice * static_cast<double>(ask.memory.count) / per_device : 0;
  return ask.count * std::max({1.0, static_cast<double>(share_of(ask)), memory});
}

// Half a unit more than there is: what just suffices must not be lost to rounding.
float mebibytes_of(std::uint64_t bytes) { return static_cast<float>(bytes >> 20U) + 0.5F; }
double mebibytes_for(Bytes amount) { return std::ceil(static_cast<double>(amount.count) / kMiB); }

float inverse(double amount) { return amount > 0 ? static_cast<float>(1.0 / amount) : kWithout; }

}  // namespace

Usable::Usable(const Cluster& cluster, std::vector<AskClass> classes, Reading reading)
    : cluster_(cluster), classes_(std::move(classes)), reading_(reading) {
  if (classes_.size() > kMaxAskClasses) classes_.resize(kMaxAskClasses);
  lanes_ = (classes_.size() + kLane - 1) / kLane;
  make_tables();
  supply_.assign(classes_.size(), 0);
  node_usable_.reserve(cluster_.nodes() * classes_.size());
  node_sum_.reserve(cluster_.nodes() * lanes_);
  for (NodeIndex node = 0; node < cluster_.nodes(); ++node) refresh(node);
}

// What the next ask for part of a device takes, in the mean of those that fit, by what is free.
std::vector<double> Usable::next_part() const {
  std::vector<double> mean(kShares, 0);
  for (std::size_t free = 0; free < kShares; ++free) {
    double weight = 0;
    for (const AskClass& one : classes_) {
      if (one.ask.count != 1 || share_of(one.ask) > static_cast<Share>(free)) continue;
      mean[free] += one.weight * share_of(one.ask);
      weight += one.weight;
    }
    if (weight > 0) mean[free] /= weight;
  }
  return mean;
}

void Usable::make_tables() {
  const std::vector<double> beside = next_part();
  part_of_share_.assign(kShares * lanes_, Lanes{});
  allowed_.assign(kMaxModels * lanes_, Lanes{});
  for (std::size_t index = 0; index < classes_.size(); ++index) {
    const PodAsk& ask = classes_[index].ask;
    const std::size_t lane = index / kLane;
    const std::size_t at = index % kLane;
    const Share share = share_of(ask);
    for (std::size_t free = 0; free < kShares && ask.count > 0; ++free) {
      const auto have = static_cast<Share>(free);
      float part = have >= share ? 1 : 0;
      if (have >= share && ask.count == 1 && share > 0)
        part = static_cast<float>(reading_ == Reading::Compute
                                      ? static_cast<double>(have) / share
                                      : 1 + kBeside * beside[static_cast<std::size_t>(have - share)] / share);
      part_of_share_[free * lanes_ + lane][at] = part;
    }
    for (std::size_t model = 0; model < kMaxModels; ++model)
      allowed_[model * lanes_ + lane][at] = (ask.models >> model & 1U) != 0 ? 1.0F : 0.0F;
    inverse_count_[lane][at] = ask.count > 0 ? 1.0F / static_cast<float>(ask.count) : 0.0F;
    inverse_cpu_[lane][at] = inverse(static_cast<double>(ask.cpu_milli));
    inverse_memory_[lane][at] = inverse(mebibytes_for(ask.host_memory));
    device_memory_[lane][at] = static_cast<float>(mebibytes_for(ask.memory));
    beside_others_[lane][at] = ask.exclusive ? 0.0F : 1.0F;
    size_[lane][at] = static_cast<float>(size_of(ask, cluster_));
    most_device_memory_ = std::max(most_device_memory_, device_memory_[lane][at]);
    some_exclusive_ = some_exclusive_ || ask.exclusive;
  }
}

void Usable::set_weights(std::span<const double> weights) {
  assert(weights.size() == classes_.size());
  for (std::size_t index = 0; index < weights.size(); ++index)
    weight_[index / kLane][index % kLane] = static_cast<float>(weights[index]) * size_[index / kLane][index % kLane];
}

Usable::DeviceState Usable::device_state(NodeIndex node, std::size_t device) const {
  return {cluster_.free_shares(node)[device],   cluster_.free_memory(node)[device],
          cluster_.grants(node)[device],        cluster_.slots(node)[device],
          cluster_.device_models(node)[device], cluster_.healthy(node)[device] != 0};
}

Usable::HostState Usable::host_state(NodeIndex node, const PodAsk* taken) const {
  const std::int64_t cpu = cluster_.cpu_free(node) - (taken != nullptr ? taken->cpu_milli : 0);
  const std::uint64_t memory = cluster_.host_memory_free(node) - (taken != nullptr ? taken->host_memory.count : 0);
  return {static_cast<float>(cpu) + 0.5F, mebibytes_of(memory)};
}

void Usable::part_of_device(const DeviceState& state, Row& part) const {
  if (!state.healthy || state.grants >= state.slots) {
    for (std::size_t lane = 0; lane < lanes_; ++lane) part[lane] = Lanes{};
    return;
  }
  const Lanes* row = &part_of_share_[static_cast<std::size_t>(std::clamp(state.share, 0, kWholeDevice)) * lanes_];
  const Lanes* allowed = &allowed_[state.model * lanes_];
  for (std::size_t lane = 0; lane < lanes_; ++lane) part[lane] = row[lane] * allowed[lane];
  limit_by_more_than_share(state, part);
}

void Usable::limit_by_more_than_share(const DeviceState& state, Row& part) const {
  const float memory = mebibytes_of(state.memory);
  if (memory < most_device_memory_)
    for (std::size_t lane = 0; lane < lanes_; ++lane)
      part[lane] = memory >= device_memory_[lane] ? part[lane] : Lanes{};
  if (state.grants == 0 || !some_exclusive_) return;
  for (std::size_t lane = 0; lane < lanes_; ++lane) part[lane] *= beside_others_[lane];
}

void Usable::sum_devices(NodeIndex node, Row& sum) const {
  for (std::size_t lane = 0; lane < lanes_; ++lane) sum[lane] = Lanes{};
  Row part;
  for (std::size_t device = 0; device < cluster_.device_count(node); ++device) {
    part_of_device(device_state(node, device), part);
    for (std::size_t lane = 0; lane < lanes_; ++lane) sum[lane] += part[lane];
  }
}

// In asks of the class, at least one or none.
inline Usable::Lanes Usable::usable(Lanes sum, std::size_t lane, const HostState& host) const {
  constexpr Lanes kOne = {kOneAsk, kOneAsk, kOneAsk, kOneAsk};
  Lanes fit = sum * inverse_count_[lane];
  const Lanes for_cpu = host.cpu * inverse_cpu_[lane];
  const Lanes for_memory = host.memory_mib * inverse_memory_[lane];
  if (reading_ == Reading::Compute) {
    fit = for_cpu >= kOne ? fit : Lanes{};
  } else {
    fit = fit < for_cpu ? fit : for_cpu;
    fit = fit < for_memory ? fit : for_memory;
  }
  return fit >= kOne ? fit : Lanes{};
}

void Usable::count(NodeIndex node, const Row& sum, Counted& counted) const {
  const HostState host = host_state(node, nullptr);
  for (std::size_t lane = 0; lane < lanes_; ++lane) {
    const Lanes amount = usable(sum[lane], lane, host) * size_[lane];
    for (std::size_t at = 0; at < kLane; ++at)
      counted[lane * kLane + at] = static_cast<std::int32_t>(std::lround(amount[at]));
  }
}

std::vector<std::int64_t> Usable::count_node(NodeIndex node) const {
  Row sum;
  sum_devices(node, sum);
  Counted counted;
  count(node, sum, counted);
  return {counted.begin(), counted.begin() + static_cast<std::ptrdiff_t>(classes_.size())};
}

void Usable::refresh(NodeIndex node) {
  const std::size_t size = classes_.size();
  if (node_usable_.size() < (node + 1) * size) {
    node_usable_.resize((node + 1) * size, 0);
    node_sum_.resize((node + 1) * lanes_, Lanes{});
  }
  Row sum;
  sum_devices(node, sum);
  Counted counted;
  count(node, sum, counted);
  for (std::size_t index = 0; index < size; ++index) {
    supply_[index] += counted[index] - node_usable_[node * size + index];
    node_usable_[node * size + index] = counted[index];
  }
  std::copy_n(sum.begin(), lanes_, node_sum_.begin() + static_cast<std::ptrdiff_t>(node * lanes_));
}

double Usable::lost(NodeIndex node, const PodAsk& ask, Devices devices) const {
  Row change;
  for (std::size_t lane = 0; lane < lanes_; ++lane) change[lane] = Lanes{};
  Row part;
  for_each_device(devices, [&](std::size_t device) {
    DeviceState state = device_state(node, device);
    part_of_device(state, part);
    for (std::size_t lane = 0; lane < lanes_; ++lane) change[lane] -= part[lane];
    state.share -= share_of(ask);
    state.memory = ask.exclusive ? 0 : state.memory - ask.memory.count;
    state.grants = ask.exclusive ? state.slots : state.grants + 1;
    part_of_device(state, part);
    for (std::size_t lane = 0; lane < lanes_; ++lane) change[lane] += part[lane];
  });
  const HostState before = host_state(node, nullptr);
  const HostState after = host_state(node, &ask);
  const Lanes* sum = &node_sum_[node * lanes_];
  Lanes total{};
  for (std::size_t lane = 0; lane < lanes_; ++lane)
    total += weight_[lane] * (usable(sum[lane], lane, before) - usable(sum[lane] + change[lane], lane, after));
  return static_cast<double>(total[0] + total[1]) + static_cast<double>(total[2] + total[3]);
}

}  // namespace kiboko
