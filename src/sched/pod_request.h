// What a pod asks for, resolved against the families that are known: made once, understood by every node.
//
// Plain value. It points into the catalog it was made from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/device_ask.h"
#include "model/objects.h"
#include "sched/booked_node.h"
#include "sched/pod_policy.h"
#include "vendors/catalog.h"

namespace kiboko {

struct FamilyAsk {
  DeviceAsk ask;
  FamilyIndex index = 0;
  const vendors::Family* family = nullptr;  // as it is for this pod
  bool in_mode = false;                     // the pod's annotations chose a mode of it
  std::string node_flag;                    // of that mode: the node annotation that must be "true"
  std::string forbidden_flag;               // of the mode that it did not choose: must not be "true"
  std::uint8_t qos = 0;                     // 1 + place among the policies to share under; 0: none
  // Its application class is "online" or "offline".
  bool online = false, offline = false;
};

struct ContainerRequest {
  std::string name;
  ContainerKind kind = ContainerKind::App;
  std::vector<FamilyAsk> asks;  // one for each family that it wants devices of
};

struct PodRequest {
  std::vector<ContainerRequest> containers;  // all of the pod
  PodPolicy policy;
  bool any() const;  // does it want any device?
};

// Invalid: the pod asks for what can be had nowhere; the message says what, and of which container.
Result<PodRequest> request_of(const Pod& pod, const vendors::Catalog& catalog, const PodPolicy& preset);

// What the words of its traits mean to the tests.
void resolve_traits(FamilyAsk& one);

// 1 + the place of the word among those that the family's pods may share a device under; 0: it is none of them.
std::uint8_t qos_number(const vendors::Family& family, std::string_view word);

// The family of that place as it is for a pod with these annotations.
FamilyAsk family_for(const vendors::Catalog& catalog, FamilyIndex index, const Texts& pod_annotations);

}  // namespace kiboko
