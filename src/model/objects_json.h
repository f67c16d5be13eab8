// Kubernetes' objects from the JSON of its API: Pod, Node, ResourceQuota (v1), lists of them, and what makes pods from
// a template.
//
// Pure functions. The API says more with every release, so unknown fields are passed over; a field of the wrong type is
// an error (Invalid) that names object and field: "Pod ml/train-0: spec.nodeName: must be a text, not the number 5".
// Amounts of extended resources in a container stay texts, right or wrong: admission has to say what is wrong with
// them. Defaults that the API server sets are set here too, so that a manifest means the same before and after.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/objects.h"

namespace kiboko {

Result<Pod> pod_from_json(const nlohmann::json& json);
Result<Node> node_from_json(const nlohmann::json& json);
// Keeps the limits on extended resources ("limits.nvidia.com/gpumem", "requests.…"); the rest is Kubernetes' to
// enforce. Scopes of a quota that has none of these are not looked at; others that cannot be told here are an error.
Result<ResourceQuota> quota_from_json(const nlohmann::json& json);

// All that matters of some documents. Deployment, ReplicaSet, StatefulSet and Job count as the pods that they make,
// NAME-0 and so on; not those of a live cluster, whose pods are objects of their own.
struct Objects {
  std::vector<Node> nodes;
  std::vector<Pod> pods;
  std::vector<ResourceQuota> quotas;
  std::map<std::string, std::size_t, std::less<>> others;  // kinds that were passed over, and how many
  std::size_t live_workloads = 0;                          // whose pods are not made here

  // One object of any kind, as object_stream.h hands it over.
  Result<void> add(const nlohmann::json& object);
};

inline constexpr std::int64_t kMostReplicas = 10'000;  // of one such object
inline constexpr std::size_t kMostPods = 300'000;      // twice what Kubernetes promises to bear

// A text of one JSON object, which may be a list.
Result<Objects> parse_objects(std::string_view text);

// Does a device plugin or somebody else advertise it, rather than Kubernetes itself?
bool is_extended_resource(std::string_view name);

}  // namespace kiboko
