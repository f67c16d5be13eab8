#include "sched/pod_tally.h"

#include <algorithm>

namespace kiboko {
namespace {

bool holds(Devices devices, unsigned device) { return (devices >> device & 1U) != 0; }

}  // namespace

void PodTally::begin(std::span<const BookedDevice> devices) {
  devices_ = devices;
  touched_ = now_ = earlier_ = 0;
  held_mig_.clear();
  current_mig_.clear();
  ended_mig_.clear();
  quota_.clear();
}

void PodTally::add(const Taken& taken) {
  const unsigned d = taken.device;
  if (!holds(touched_, d)) held_[d] = current_[d] = peak_[d] = {};
  touched_ |= Devices{1} << d;
  now_ |= Devices{1} << d;
  current_[d] = sum_of(current_[d], taken.charge, devices_[d].mask);
  if (taken.mig) current_mig_.push_back({d, *taken.mig});
  auto sums = std::ranges::find(quota_, taken.family, &QuotaSums::family);
  if (sums == quota_.end()) {
    const QuotaNeed none{taken.family, 0, 0};
    sums = quota_.insert(sums, {taken.family, none, none, none});
  }
  sums->current.memory += taken.memory;
  sums->current.cores += taken.quota_cores;
}

void PodTally::end_container(ContainerKind kind) {
  const bool stays = kind != ContainerKind::Init;
  for_each_device(now_, [&](std::size_t d) {
    const DeviceUse together = sum_of(held_[d], current_[d], devices_[d].mask);
    if (stays)
      held_[d] = together;
    else
      peak_[d] = most_of(peak_[d], together, devices_[d].mask);
    current_[d] = {};
  });
  for (QuotaSums& sums : quota_) {
    sums.current.memory += sums.held.memory;
    sums.current.cores += sums.held.cores;
    if (stays) {
      sums.held = sums.current;
    } else {
      sums.peak.memory = std::max(sums.peak.memory, sums.current.memory);
      sums.peak.cores = std::max(sums.peak.cores, sums.current.cores);
    }
    sums.current = {sums.family, 0, 0};
  }
  auto& into = stays ? held_mig_ : ended_mig_;
  into.insert(into.end(), current_mig_.begin(), current_mig_.end());
  current_mig_.clear();
  earlier_ |= now_;
  now_ = 0;
}

DeviceUse PodTally::on(unsigned device, const DeviceUse& booked) const {
  if (!holds(touched_, device)) return booked;
  return sum_of(sum_of(booked, held_[device], devices_[device].mask), current_[device], devices_[device].mask);
}

void PodTally::append_mig(unsigned device, std::vector<MigPlacement>& live) const {
  for (const auto* list : {&held_mig_, &current_mig_})
    for (const MigOf& one : *list)
      if (one.device == device) live.push_back(one.placement);
}

void PodTally::finish(PodHolding& into) const {
  into.devices.clear();
  into.mig.clear();
  into.quota.clear();
  for_each_device(touched_, [&](std::size_t d) {
    into.devices.push_back({static_cast<std::uint8_t>(d), most_of(peak_[d], held_[d], devices_[d].mask), held_[d]});
  });
  const auto note = [&](const std::vector<MigOf>& list, bool init_only) {
    for (const MigOf& one : list) into.mig.push_back({static_cast<std::uint8_t>(one.device), init_only, one.placement});
  };
  note(held_mig_, false);
  note(ended_mig_, true);
  for (const QuotaSums& sums : quota_)
    into.quota.push_back(
        {sums.family, std::max(sums.held.memory, sums.peak.memory), std::max(sums.held.cores, sums.peak.cores)});
}

}  // namespace kiboko
