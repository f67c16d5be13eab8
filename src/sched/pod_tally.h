// What a pod holds of the devices of its node, counted container by container as Kubernetes runs them: init containers
// one after the other, sidecars from their turn on beside all that follows, the others together. A device must have
// what runs at the same time, and no more is taken of it.
//
// Owned by one thread; keeps its space from pod to pod.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sched/booked_node.h"

namespace kiboko {

// What one container gets of one device.
struct Taken {
  unsigned container = 0;  // of the pod, init containers first
  unsigned device = 0;     // of the node
  FamilyIndex family = 0;
  std::int64_t memory = 0, cores = 0;  // as written to the pod
  std::int64_t quota_cores = 0;        // in the unit in which compute is asked for
  DeviceUse charge;
  std::string size_name, size_id;  // of the fixed size, where the family has such
  std::optional<MigPlacement> mig;
};

// What counts against the namespace's quota: MiB, and compute in the unit in which it is asked for.
struct QuotaNeed {
  FamilyIndex family = 0;
  std::int64_t memory = 0, cores = 0;
  bool operator==(const QuotaNeed&) const = default;
};

// What a pod has of one device.
struct HeldDevice {
  std::uint8_t device = 0;  // of the node
  DeviceUse most;           // while init containers may run
  DeviceUse after;          // when they are done
  bool operator==(const HeldDevice&) const = default;
};
struct HeldMig {
  std::uint8_t device = 0;
  bool init_only = false;
  MigPlacement placement;
  bool operator==(const HeldMig&) const = default;
};
struct PodHolding {
  std::vector<HeldDevice> devices;
  std::vector<HeldMig> mig;
  std::vector<QuotaNeed> quota;
  bool operator==(const PodHolding&) const = default;
};

class PodTally {
 public:
  // Of a pod on the node with these devices, which stay as they are until the pod is counted.
  void begin(std::span<const BookedDevice> devices);
  // Of the container that is being counted.
  void add(const Taken& taken);
  void end_container(ContainerKind kind);

  // What the pod has on the device beside what the container at hand may take now.
  DeviceUse on(unsigned device, const DeviceUse& booked) const;
  void append_mig(unsigned device, std::vector<MigPlacement>& live) const;
  bool any_mig() const { return !held_mig_.empty() || !current_mig_.empty(); }
  // Devices that earlier containers have.
  Devices earlier() const { return earlier_; }

  void finish(PodHolding& into) const;

 private:
  struct QuotaSums {
    FamilyIndex family = 0;
    QuotaNeed held, current, peak;
  };
  struct MigOf {
    unsigned device;
    MigPlacement placement;
  };

  std::span<const BookedDevice> devices_;
  std::array<DeviceUse, kMaxNodeDevices> held_, current_, peak_;
  Devices touched_ = 0, now_ = 0, earlier_ = 0;
  std::vector<MigOf> held_mig_, current_mig_, ended_mig_;
  std::vector<QuotaSums> quota_;
};

}  // namespace kiboko
