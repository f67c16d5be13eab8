#include "model/objects_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"
#include "model/annotation.h"
#include "model/json_fields.h"
#include "model/object_stream.h"
#include "model/quantity.h"

namespace kiboko {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostContainers = 1'000;  // of a pod; the API server's limit on bytes allows some thousand

std::string text_or(const Json& json, const char* key, std::string_view absent) {
  if (!json.is_object()) return std::string(absent);
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string(absent);
}

// "Pod ml/train-0", as far as the object says.
std::string label_of(const Json& json, std::string_view kind) {
  const auto metadata = json.is_object() ? json.find("metadata") : json.end();
  if (!json.is_object() || metadata == json.end()) return fmt::format("{} without a name", kind);
  const std::string name = text_or(*metadata, "name", text_or(*metadata, "generateName", ""));
  const std::string space = text_or(*metadata, "namespace", kind == "Node" ? "" : "default");
  if (name.empty()) return fmt::format("{} without a name", kind);
  return space.empty() ? fmt::format("{} {}", kind, shown(name))
                       : fmt::format("{} {}/{}", kind, shown(space), shown(name));
}

std::int64_t sum(std::int64_t a, std::int64_t b) { return a > INT64_MAX - b ? INT64_MAX : a + b; }

// CPU and memory of the machine; never wraps.
struct HostAmounts {
  std::int64_t cpu_milli = 0;
  Bytes host_memory;
};
HostAmounts operator+(HostAmounts a, HostAmounts b) {
  return {sum(a.cpu_milli, b.cpu_milli), a.host_memory + b.host_memory};
}
HostAmounts most_of(HostAmounts a, HostAmounts b) {
  return {std::max(a.cpu_milli, b.cpu_milli), std::max(a.host_memory, b.host_memory)};
}

std::int64_t quantity_at(const JsonFields& field, Result<std::int64_t> (*parse)(std::string_view)) {
  if (!field.present()) return 0;
  const auto parsed = parse(field.amount());
  if (!parsed) field.refuse(parsed.error().message);
  return parsed.value_or(0);
}
std::int64_t cpu_at(const JsonFields& amounts) { return quantity_at(amounts.at("cpu"), parse_milli_quantity); }
Bytes memory_at(const JsonFields& amounts) {
  return Bytes{static_cast<std::uint64_t>(quantity_at(amounts.at("memory"), parse_rounded_quantity))};
}

// What a `resources` asks for. A limit without a request is a request.
HostAmounts requested(const JsonFields& resources) {
  const JsonFields limits = resources.at("limits"), requests = resources.at("requests");
  return {cpu_at(requests.at("cpu").present() ? requests : limits),
          memory_at(requests.at("memory").present() ? requests : limits)};
}

bool names_cpu_or_memory(const JsonFields& resources) {
  for (const std::string_view list : {"limits", "requests"}) {
    const JsonFields amounts = resources.at(list);
    if (cpu_at(amounts) > 0 || memory_at(amounts).count > 0) return true;
  }
  return false;
}

Container container_of(const JsonFields& json, ContainerKind kind) {
  const JsonFields resources = json.at("resources");
  Container container{.name = json.at("name").text(),
                      .limits = resources.at("limits").amounts(),
                      .requests = resources.at("requests").amounts(),
                      .kind = kind};
  container.requests.insert(container.limits.begin(), container.limits.end());
  return container;
}

// The most that a pod asks for at once: its containers and sidecars together, or one init container at a time beside
// the sidecars before it.
class PodSum {
 public:
  void add(ContainerKind kind, HostAmounts amounts) {
    if (kind == ContainerKind::App) {
      together_ = together_ + amounts;
      return;
    }
    if (kind == ContainerKind::Sidecar) {
      together_ = together_ + amounts;
      sidecars_ = sidecars_ + amounts;
    }
    start_ = most_of(start_, kind == ContainerKind::Sidecar ? sidecars_ : sidecars_ + amounts);
  }
  HostAmounts most() const { return most_of(together_, start_); }

 private:
  HostAmounts together_, sidecars_, start_;
};

void read_containers(const JsonFields& spec, Pod& pod) {
  PodSum needs;
  pod.best_effort = true;
  const auto add = [&](const JsonFields& json, ContainerKind kind) {
    if (pod.containers.size() == kMostContainers)
      json.refuse(fmt::format("a pod may have at most {} containers", kMostContainers));
    if (json.failed()) return;
    const JsonFields resources = json.at("resources");
    pod.containers.push_back(container_of(json, kind));
    needs.add(kind, requested(resources));
    if (names_cpu_or_memory(resources)) pod.best_effort = false;
  };
  const JsonFields init = spec.at("initContainers"), apps = spec.at("containers");
  init.each_item([&](const JsonFields& json) {
    add(json, json.at("restartPolicy").text() == "Always" ? ContainerKind::Sidecar : ContainerKind::Init);
  });
  apps.each_item([&](const JsonFields& json) { add(json, ContainerKind::App); });

  // A pod may ask as a whole; then what its containers say of CPU and memory is theirs to share out.
  HostAmounts most = needs.most();
  const JsonFields whole = spec.at("resources"), overhead = spec.at("overhead");
  const JsonFields whole_requests = whole.at("requests");
  const HostAmounts asked = requested(whole);
  if (whole_requests.at("cpu").present() || most.cpu_milli == 0) most.cpu_milli = asked.cpu_milli;
  if (whole_requests.at("memory").present() || most.host_memory.count == 0) most.host_memory = asked.host_memory;
  if (names_cpu_or_memory(whole)) pod.best_effort = false;
  most = most + HostAmounts{cpu_at(overhead), memory_at(overhead)};
  pod.cpu_milli = most.cpu_milli;
  pod.host_memory = most.host_memory;
}

void read_spec(const JsonFields& spec, Pod& pod) {
  read_containers(spec, pod);
  pod.node = spec.at("nodeName").text();
  pod.priority_class = spec.at("priorityClassName").text();
  pod.has_deadline = spec.at("activeDeadlineSeconds").present();
  pod.node_selector = spec.at("nodeSelector").texts();
}

PodPhase phase_at(const JsonFields& phase) {
  constexpr std::pair<std::string_view, PodPhase> kPhases[] = {
      {"", PodPhase::Pending},        {"Pending", PodPhase::Pending},
      {"Running", PodPhase::Running}, {"Succeeded", PodPhase::Succeeded},
      {"Failed", PodPhase::Failed},   {"Unknown", PodPhase::Running}};  // its node is not heard from; it may run on
  const std::string word = phase.text();
  for (const auto& [known, meaning] : kPhases)
    if (known == word) return meaning;
  phase.refuse(fmt::format("must be Pending, Running, Succeeded, Failed or Unknown, not '{}'", shown(word)));
  return PodPhase::Pending;
}

bool init_done(const JsonFields& status, const Pod& pod) {
  std::map<std::string, bool, std::less<>> done;
  status.at("initContainerStatuses").each_item([&](const JsonFields& container) {
    const JsonFields state = container.at("state"), terminated = state.at("terminated");
    const auto code = terminated.at("exitCode").number(INT32_MIN, INT32_MAX, -1);
    done[container.at("name").text()] = terminated.present() && code == 0;
  });
  return std::ranges::all_of(pod.containers, [&](const Container& container) {
    return container.kind != ContainerKind::Init || done[container.name];
  });
}

std::string name_of(const JsonFields& metadata) {
  const std::string name = metadata.at("name").text(metadata.at("generateName").text());
  if (name.empty() && !metadata.failed()) metadata.at("name").refuse("is missing");
  return name;
}

void read_name(const JsonFields& metadata, Pod& pod) {
  pod.pod_namespace = metadata.at("namespace").text("default");
  pod.name = name_of(metadata);
}

void read_marks(const JsonFields& metadata, Pod& pod) {
  pod.annotations = metadata.at("annotations").texts();
  pod.labels = metadata.at("labels").texts();
}

// Runs `read` on the object and names it in the error.
template <class T, class Read>
Result<T> read_object(const Json& json, std::string_view kind, Read read) {
  std::optional<Error> error;
  const JsonFields root(json, error);
  T value = read(root);
  if (error) return tl::unexpected(about("{}", label_of(json, kind))(*std::move(error)));
  return value;
}

// "limits.nvidia.com/gpumem": on an extended resource?
bool limits_devices(std::string_view key) {
  for (const std::string_view prefix : {"limits.", "requests."})
    if (key.starts_with(prefix)) return is_extended_resource(key.substr(prefix.size()));
  return false;
}

constexpr std::pair<std::string_view, ResourceQuota::Scope> kScopes[] = {
    {"Terminating", ResourceQuota::Scope::Terminating},
    {"NotTerminating", ResourceQuota::Scope::NotTerminating},
    {"BestEffort", ResourceQuota::Scope::BestEffort},
    {"NotBestEffort", ResourceQuota::Scope::NotBestEffort}};

void read_scope(const JsonFields& field, ResourceQuota& quota) {
  const std::string word = field.text();
  for (const auto& [known, scope] : kScopes)
    if (known == word) return quota.scopes.push_back(scope);
  field.refuse(
      fmt::format("the scope '{}' is not known here; it may be Terminating, NotTerminating, BestEffort, "
                  "NotBestEffort, or PriorityClass with the operator In",
                  shown(word)));
}

void read_expression(const JsonFields& expression, ResourceQuota& quota, bool& none) {
  const JsonFields scope = expression.at("scopeName"), operation = expression.at("operator");
  if (scope.text() != "PriorityClass") {
    if (operation.text() != "Exists")
      operation.refuse(fmt::format("must be Exists for this scope, not '{}'", shown(operation.text())));
    return read_scope(scope, quota);
  }
  if (operation.text() != "In")
    return operation.refuse(fmt::format("'{}' is not known here; PriorityClass goes with In", shown(operation.text())));
  std::vector<std::string> classes;
  expression.at("values").each_item([&](const JsonFields& value) { classes.push_back(value.text()); });
  if (!quota.priority_classes.empty())  // both must hold
    std::erase_if(classes, [&](const std::string& name) {
      return std::ranges::find(quota.priority_classes, name) == quota.priority_classes.end();
    });
  none = none || classes.empty();
  quota.priority_classes = std::move(classes);
}

ResourceQuota read_quota(const JsonFields& root) {
  const JsonFields metadata = root.at("metadata"), spec = root.at("spec");
  ResourceQuota quota;
  quota.quota_namespace = metadata.at("namespace").text("default");
  quota.name = name_of(metadata);
  spec.at("hard").each_member([&](const std::string& key, const JsonFields& value) {
    if (limits_devices(key)) quota.hard.emplace(key, quantity_at(value, parse_quantity));
  });
  if (quota.hard.empty()) return quota;
  bool none = false;
  const JsonFields selector = spec.at("scopeSelector");
  spec.at("scopes").each_item([&](const JsonFields& scope) { read_scope(scope, quota); });
  selector.at("matchExpressions").each_item([&](const JsonFields& expression) {
    read_expression(expression, quota, none);
  });
  if (none) quota.hard.clear();  // there is no pod that it counts
  return quota;
}

Node read_node(const JsonFields& root) {
  const JsonFields metadata = root.at("metadata"), status = root.at("status"), spec = root.at("spec");
  Node node;
  node.name = name_of(metadata);
  node.annotations = metadata.at("annotations").texts();
  node.labels = metadata.at("labels").texts();
  node.unschedulable = spec.at("unschedulable").truth();
  const JsonFields amounts = status.at(status.at("allocatable").present() ? "allocatable" : "capacity");
  node.cpu_milli = cpu_at(amounts);
  node.host_memory = memory_at(amounts);
  amounts.each_member([&](const std::string& key, const JsonFields& value) {
    if (is_extended_resource(key)) node.capacity.emplace(key, quantity_at(value, parse_quantity));
  });
  return node;
}

Pod read_pod(const JsonFields& root) {
  const JsonFields metadata = root.at("metadata"), status = root.at("status");
  Pod pod;
  pod.uid = metadata.at("uid").text();
  read_name(metadata, pod);
  read_marks(metadata, pod);
  read_spec(root.at("spec"), pod);
  pod.phase = phase_at(status.at("phase"));
  pod.init_done = init_done(status, pod);
  return pod;
}

// ---- what makes pods ----

struct WorkloadKind {
  std::string_view kind, group;
};
constexpr WorkloadKind kWorkloads[] = {
    {"Deployment", "apps"}, {"ReplicaSet", "apps"}, {"StatefulSet", "apps"}, {"Job", "batch"}};

std::int64_t replicas_of(const JsonFields& spec, std::string_view kind) {
  const auto count = [&](const char* key, std::int64_t absent) {
    return spec.at(key).number(0, kMostReplicas, absent);
  };
  if (kind != "Job") return count("replicas", 1);
  if (spec.at("suspend").truth()) return 0;
  const auto parallel = count("parallelism", 1);
  return std::min(parallel, spec.at("completions").number(0, INT32_MAX, parallel));
}

std::vector<Pod> read_workload(const JsonFields& root, std::string_view kind) {
  const JsonFields metadata = root.at("metadata"), spec = root.at("spec"), pod_template = spec.at("template");
  Pod pod;
  read_name(metadata, pod);
  read_marks(pod_template.at("metadata"), pod);
  read_spec(pod_template.at("spec"), pod);
  pod.init_done = init_done(root.at("status"), pod);
  const std::int64_t count = replicas_of(spec, kind);
  std::vector<Pod> pods;
  if (root.failed()) return pods;
  pods.assign(static_cast<std::size_t>(count), pod);
  for (std::size_t index = 0; index < pods.size(); ++index) pods[index].name += fmt::format("-{}", index);
  return pods;
}

Result<std::vector<Pod>> pods_of(const Json& json, std::string_view kind) {
  return read_object<std::vector<Pod>>(json, kind, [&](const JsonFields& root) { return read_workload(root, kind); });
}

// ---- objects of any kind ----

// "apps/v1" is of group "apps", "v1" of none.
std::string_view group_of(std::string_view api_version) {
  const std::size_t slash = api_version.find('/');
  return slash == std::string_view::npos ? std::string_view() : api_version.substr(0, slash);
}

bool is_live(const Json& object) {
  const auto metadata = object.find("metadata");
  return metadata != object.end() && !text_or(*metadata, "uid", "").empty();
}

}  // namespace

bool is_extended_resource(std::string_view name) {
  return name.find('/') != std::string_view::npos && name.find("kubernetes.io/") == std::string_view::npos &&
         !name.starts_with("requests.");
}

Result<Pod> pod_from_json(const Json& json) { return read_object<Pod>(json, "Pod", read_pod); }
Result<Node> node_from_json(const Json& json) { return read_object<Node>(json, "Node", read_node); }
Result<ResourceQuota> quota_from_json(const Json& json) {
  return read_object<ResourceQuota>(json, "ResourceQuota", read_quota);
}

Result<void> Objects::add(const Json& object) {
  const std::string kind = text_or(object, "kind", "");
  if (kind.empty()) return fail(Errc::Invalid, "{}: kind: is missing", label_of(object, "an object"));
  const std::string version = text_or(object, "apiVersion", "v1");
  const std::string_view group = group_of(version);
  const auto workload = std::ranges::find(kWorkloads, std::string_view(kind), &WorkloadKind::kind);
  if (group.empty() && kind == "Pod") {
    pods.push_back(TRY(pod_from_json(object)));
  } else if (group.empty() && kind == "Node") {
    nodes.push_back(TRY(node_from_json(object)));
  } else if (group.empty() && kind == "ResourceQuota") {
    quotas.push_back(TRY(quota_from_json(object)));
  } else if (workload != std::end(kWorkloads) && workload->group == group) {
    if (is_live(object))
      ++live_workloads;
    else
      std::ranges::move(TRY(pods_of(object, kind)), std::back_inserter(pods));
  } else if (const auto items = object.find("items"); items != object.end() && kind.ends_with("List")) {
    for (const Json& item : *items) TRY(add(item));
  } else {
    ++others[group.empty() ? kind : fmt::format("{} ({})", kind, group)];
  }
  if (pods.size() > kMostPods) return fail(Errc::Invalid, "more than {} pods", kMostPods);
  return {};
}

Result<Objects> parse_objects(std::string_view text) {
  Objects objects;
  const auto rest = TRY(read_json_object(text, [&](const Json& object) { return objects.add(object); }));
  if (!trim(rest).empty()) return fail(Errc::Invalid, "something stands behind the object: '{}'", shown(trim(rest)));
  return objects;
}

}  // namespace kiboko
