#include "cli/device_shares.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace kiboko::cli {
namespace {

class CoresOf {
 public:
  explicit CoresOf(const vendors::Catalog& catalog) : catalog_(catalog) {}
  double operator()(FamilyIndex family, std::int64_t cores) const {
    const bool mask = counts_masks(catalog_.families()[family]);
    return mask ? std::popcount(static_cast<std::uint64_t>(cores)) : static_cast<double>(cores);
  }

 private:
  const vendors::Catalog& catalog_;
};

constexpr double kTypicalPart = 0.95;

// In devices: the smaller of the parts of its compute and its memory.
double free_on(const Cluster& cluster, NodeIndex node, std::size_t device) {
  if (cluster.healthy(node)[device] == 0) return 0;
  const double share = part(cluster.free_shares(node)[device], kWholeDevice);
  const auto memory = static_cast<double>(cluster.memory_capacity(node)[device]);
  return memory > 0 ? std::min(share, part(static_cast<double>(cluster.free_memory(node)[device]), memory)) : share;
}

}  // namespace

double part(double amount, double whole) { return whole > 0 ? std::clamp(amount / whole, 0.0, 1.0) : 0; }

std::map<FamilyIndex, DeviceSums> device_sums(const Engine& engine) {
  const CoresOf cores_of(engine.catalog());
  std::map<FamilyIndex, DeviceSums> sums;
  for (const BookedNode& node : engine.nodes())
    for (const BookedDevice& device : node.devices) {
      if (!node.known || !device.present) continue;
      DeviceSums& of = sums[device.family];
      ++of.devices;
      if (device.use.slots > 0 || !device.mig_live.empty()) ++of.in_use;
      of.cores += cores_of(device.family, device.cores);
      of.cores_used += cores_of(device.family, device.use.cores);
      of.memory += static_cast<double>(device.memory);
      of.memory_used += static_cast<double>(device.use.memory);
    }
  return sums;
}

double devices_granted(const Engine& engine, NodeIndex index) {
  const CoresOf cores_of(engine.catalog());
  double granted = 0;
  for (const BookedDevice& device : engine.nodes()[index].devices)
    if (device.present)
      granted += std::max(part(cores_of(device.family, device.use.cores), cores_of(device.family, device.cores)),
                          part(static_cast<double>(device.use.memory), static_cast<double>(device.memory)));
  return granted;
}

double devices_asked(const PodRequest& request, const std::map<FamilyIndex, DeviceSums>& sums) {
  double asked = 0;
  for (const ContainerRequest& container : request.containers)
    for (const FamilyAsk& one : container.asks) {
      const auto found = sums.find(one.index);
      if (found == sums.end()) continue;
      const auto count = static_cast<double>(found->second.devices);
      const double cores = found->second.cores / count, memory = found->second.memory / count;
      const auto of_cores = cores_on(one.ask, CoreUnits{std::llround(cores)}).count;
      const auto of_memory = memory_on(one.ask, MiB{std::llround(memory)}).count;
      asked += one.ask.count *
               std::max(part(static_cast<double>(of_cores), cores), part(static_cast<double>(of_memory), memory));
    }
  return asked;
}

double fragmented_percent(const Engine& engine) {
  const Cluster& cluster = engine.cluster();
  std::vector<AskClass> typical = engine.mix().typical_classes(kTypicalPart);
  std::erase_if(typical, [](const AskClass& one) { return one.ask.count == 0; });
  double unusable = 0, weights = 0;
  for (const AskClass& one : typical) weights += one.weight;
  for (NodeIndex node = 0; node < cluster.nodes(); ++node)
    for (const AskClass& one : typical) {
      const Devices fitting = cluster.fits(node, one.ask) ? cluster.fitting_devices(node, one.ask) : 0;
      for (std::size_t device = 0; device < cluster.device_count(node); ++device)
        if ((fitting >> device & 1U) == 0) unusable += one.weight * free_on(cluster, node, device);
    }
  return unusable > 0 ? 100 * unusable / weights / static_cast<double>(cluster.devices()) : 0;
}

}  // namespace kiboko::cli
