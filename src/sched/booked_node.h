// What one node has and who holds it, device by device, in the units of each device's family.
//
// Owned by the scheduler's loop and touched by no other thread. The use of a device is always the sum over the pods on
// the node (Engine counts it anew with each change), so there is no second account that could differ.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/cluster_device.h"
#include "model/objects.h"
#include "model/pair_scores.h"
#include "sched/cluster.h"
#include "vendors/enflame.h"

namespace kiboko {

using FamilyIndex = std::uint16_t;  // place in the catalog

inline constexpr std::size_t kMaxQosPolicies = 4;

// A part of a device: what one container has, or all of them together.
struct DeviceUse {
  std::int64_t memory = 0;  // MiB
  std::int64_t cores = 0;   // units; a mask where the family counts cores so
  std::int32_t slots = 0;
  std::int32_t cpus = 0;                                // of the device's own processors, which some fixed sizes take
  std::uint16_t online = 0, offline = 0;                // containers of an application class
  std::array<std::uint16_t, kMaxQosPolicies> qos = {};  // containers, by the policy they share under
  bool operator==(const DeviceUse&) const = default;
};
// Masks are united, all else is added, stopping at the top of its type.
DeviceUse sum_of(const DeviceUse& a, const DeviceUse& b, bool mask);
// What is needed where the one runs before the other. Masks are united.
DeviceUse most_of(const DeviceUse& a, const DeviceUse& b, bool mask);

// What few devices have.
struct DeviceExtras {
  CustomInfo custom;
  std::vector<MigProfile> mig_profiles;
  std::vector<vendors::Slice> slices;
  bool operator==(const DeviceExtras&) const = default;
};

struct BookedDevice {
  std::string uuid;
  FamilyIndex family = 0;
  std::uint16_t type = 0;  // of Engine::types(): family, model name and mode
  unsigned index = 0;
  int numa = 0;
  std::int32_t slots = 0;
  std::int64_t memory = 0;  // MiB
  std::int64_t cores = 0;   // units or mask
  bool mask = false;        // its family counts cores in masks
  bool healthy = false;
  bool cordoned = false;
  bool mig = false;                            // only given out in MIG instances
  bool present = false;                        // false: only pods say that it is there
  bool blocked = false;                        // what pods say of it contradicts itself: nothing more is put on it
  std::shared_ptr<const DeviceExtras> extras;  // may be null
  DeviceUse use;
  std::vector<MigPlacement> mig_live;
};

struct BookedNode {
  std::string name;
  std::string trouble;  // what could not be read of it; empty: nothing
  bool known = false;   // false: only pods name it
  bool unschedulable = false;
  std::int64_t cpu_milli = 0;
  Bytes host_memory = {};
  std::vector<BookedDevice> devices;
  std::vector<FamilyIndex> unreadable;            // families whose devices could not be read
  Texts marks;                                    // the annotations that scores and modes look at
  std::shared_ptr<const PairScores> pair_scores;  // null: none
  unsigned unreadable_pods = 0;
  // Pods that were told before the devices that they hold, by uid: what they hold follows from the devices, too.
  std::map<std::string, Pod, std::less<>> early_pods;
};

}  // namespace kiboko
