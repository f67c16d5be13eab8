// May this device serve this ask? One row for each test that a family's profile can name, said once for all families.
//
// Pure functions over values that the caller keeps alive. What depends on several devices at once (NUMA, groups, pairs)
// is choosing among those that passed (node_fit.h).
#pragma once

#include <span>
#include <string>

#include "model/refusal.h"
#include "sched/pod_request.h"

namespace kiboko {

// The ask in numbers of one device, and what a placement would take of it.
struct DeviceNeed {
  std::int64_t memory = 0;  // MiB, as written to the pod
  std::int64_t cores = 0;   // units, as written to the pod; of masks: how many cores
  bool whole_mask = false;  // all cores of the device, and nobody else on it
  DeviceUse charge;         // a mask is chosen later
  const vendors::Slice* slice = nullptr;
  bool has_size = true;  // false: of the device's fixed sizes none holds the ask
};
DeviceNeed need_on(const FamilyAsk& one, const BookedDevice& device);

// What stands on a device while a pod is tried on its node: what others have, and what the pod took already.
struct DeviceLook {
  const BookedNode& node;
  const BookedDevice& device;
  const std::string& type;  // model name
  const std::string& mode;
  const DeviceUse& use;
  std::span<const MigPlacement> mig_live;
  const FamilyAsk& one;
  const PodPolicy& policy;
  const DeviceNeed& need;
  bool group_idle = true;         // nobody uses a device of the same group
  bool other_pod_device = false;  // the pod has another device of the family already, for an earlier container
};

struct TestResult {
  RefusalCode code = RefusalCode::Memory;
  unsigned passed = 0;  // tests before it; a device that passed more is nearer to fitting
};
// The first test of the family that speaks against the device, or nothing.
std::optional<TestResult> first_refusal(const DeviceLook& look);

// The same for people: what was asked, what is free, and a clause like "asked 4.0 GiB, 1.0 GiB free".
DeviceRefusal explained(const DeviceLook& look, RefusalCode code);

}  // namespace kiboko
