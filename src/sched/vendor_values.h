// Nodes of every accelerator family and what a placement looks like in a line, for the tests of the engine.
#pragma once

#include "base/text.h"
#include "sched/engine_values.h"

namespace kiboko::testing_values {

// Read once: these tests make many engines.
inline const vendors::Catalog& known_families() {
  static const vendors::Catalog kFamilies = families();
  return kFamilies;
}

inline const EngineSettings kPacking{.node_policy = Policy::Binpack};

using Placed = tl::expected<PodPlacement, PodRefusal>;

inline Placed place(Engine& engine, const Pod& pod) { return engine.place(pod, nullptr, kNoon); }

// "node: first device, second device", or the name of the refusal.
inline std::string outcome(const Engine& engine, const Placed& placed) {
  if (!placed) return std::string(name(placed.error().code));
  if (placed->node == kNoNode) return "any";
  return fmt::format("{}: {}", engine.nodes()[placed->node].name, join(devices_of(engine, *placed), ", "));
}
inline std::string outcome(Engine& engine, const Pod& pod) { return outcome(engine, place(engine, pod)); }

// The numbers at the end of the names of the devices, in the order of the placement: "0 1 2 3".
inline std::string cards_of(Engine& engine, const Pod& pod) {
  const Placed placed = place(engine, pod);
  if (!placed) return std::string(name(placed.error().code));
  std::vector<std::string> cards;
  for (const std::string& device : devices_of(engine, *placed))
    cards.push_back(device.substr(device.find_last_of('-') + 1));
  return join(cards, " ");
}

inline Node capacity_node(const std::string& name, std::map<std::string, std::int64_t, std::less<>> amounts) {
  Node node;
  node.name = name;
  node.capacity = std::move(amounts);
  return node;
}

inline Node annotated_node(const std::string& name, const std::string& key, const std::string& value) {
  Node node;
  node.name = name;
  node.annotations[key] = value;
  return node;
}

// Devices "<node>-0", "<node>-1", … as a plugin registers them under `key`.
inline Node plugin_node(const std::string& name, const std::string& key, const std::string& type, unsigned devices,
                        const std::function<void(RegisteredDevice&)>& change = nullptr) {
  return gpu_node(
      name, devices,
      [&](RegisteredDevice& device) {
        device.uuid.text = fmt::format("{}-{}", name, device.index);
        device.type = type;
        device.mode.clear();
        device.memory = MiB{65536};
        if (change) change(device);
      },
      key);
}

inline Container container_of(const std::string& name, const Texts& limits, ContainerKind kind = ContainerKind::App) {
  return {name, limits, {}, kind};
}

inline Pod pod_of(const std::string& name, std::vector<Container> containers, const Texts& annotations = {}) {
  Pod pod = device_pod(name, {}, annotations);
  pod.containers = std::move(containers);
  return pod;
}

// A pod that somebody else has bound, with what it says that it holds.
inline Pod foreign_pod(const std::string& name, const std::string& node, const Texts& annotations) {
  Pod pod = device_pod(name, {}, annotations);
  pod.node = node;
  return pod;
}

// A node of each family, and a little of it to ask for.
struct FamilySample {
  std::string family;  // its key
  Node node;
  Texts limits;
};
std::vector<FamilySample> family_samples();

}  // namespace kiboko::testing_values
