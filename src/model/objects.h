// Kubernetes' objects as far as sharing devices needs them. Plain values; objects_json.h reads them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/quantities.h"

namespace kiboko {

// Annotations, labels, amounts of resources as Kubernetes writes them.
using Texts = std::map<std::string, std::string, std::less<>>;

// In the order in which they start. A sidecar is an init container that is restarted always: it runs beside all that
// comes after it.
enum class ContainerKind { Init, Sidecar, App };

struct Container {
  std::string name;
  Texts limits, requests;
  ContainerKind kind = ContainerKind::App;
  bool operator==(const Container&) const = default;
};

enum class PodPhase { Pending, Running, Succeeded, Failed };

struct Pod {
  std::string uid, pod_namespace, name;
  Texts annotations, labels;
  std::vector<Container> containers;  // init containers and sidecars first, in the order of the pod
  std::string node;                   // spec.nodeName; empty: not bound
  PodPhase phase = PodPhase::Pending;
  bool init_done = false;      // every init container but the sidecars has ended well
  std::int64_t cpu_milli = 0;  // what all of it requests at once
  Bytes host_memory = {};
  std::string priority_class;
  bool has_deadline = false;  // spec.activeDeadlineSeconds
  bool best_effort = false;   // requests and limits neither CPU nor memory
  Texts node_selector;
  bool operator==(const Pod&) const = default;

  // "namespace/name", for messages.
  std::string full_name() const { return pod_namespace + "/" + name; }
};
// Has it ended, so that it holds nothing any more?
inline bool ended(const Pod& pod) { return pod.phase == PodPhase::Succeeded || pod.phase == PodPhase::Failed; }

struct Node {
  std::string name;
  Texts annotations, labels;
  std::map<std::string, std::int64_t, std::less<>> capacity;  // of extended resources: allocatable
  std::int64_t cpu_milli = 0;                                 // allocatable
  Bytes host_memory = {};
  bool unschedulable = false;
  bool operator==(const Node&) const = default;
};

// One ResourceQuota: what a namespace may have in sum. Several hold at the same time.
struct ResourceQuota {
  std::string quota_namespace, name;
  std::map<std::string, std::int64_t, std::less<>> hard;  // "limits.nvidia.com/gpumem", …
  // Which pods it counts; all of these must be true of a pod. None: every pod.
  enum class Scope { Terminating, NotTerminating, BestEffort, NotBestEffort };
  std::vector<Scope> scopes;
  std::vector<std::string> priority_classes;  // scope PriorityClass: one of these; empty: any
  bool operator==(const ResourceQuota&) const = default;
};

}  // namespace kiboko
