// Nodes and pods in a line each, for the tests of the engine.
#pragma once

#include <fmt/core.h>

#include <functional>

#include "model/registration.h"
#include "sched/engine.h"

namespace kiboko::testing_values {

inline vendors::Catalog families() { return vendors::Catalog::shipped().value(); }

inline RegisteredDevice gpu(const std::string& node, unsigned index) {
  RegisteredDevice device;
  device.uuid.text = fmt::format("GPU-{}-{}", node, index);
  device.index = index;
  device.slots = 10;
  device.memory = MiB{81920};
  device.cores = CoreUnits{100};
  device.type = "NVIDIA H100 80GB HBM3";
  device.mode = "hami-core";
  device.healthy = true;
  return device;
}

// `change` may make each device another.
inline Node gpu_node(const std::string& name, unsigned gpus,
                     const std::function<void(RegisteredDevice&)>& change = nullptr,
                     const std::string& key = "hami.io/node-nvidia-register") {
  std::vector<RegisteredDevice> devices;
  for (unsigned i = 0; i < gpus; ++i) {
    devices.push_back(gpu(name, i));
    if (change) change(devices.back());
  }
  Node node;
  node.name = name;
  node.annotations[key] = encode_registration_json(devices);
  return node;
}

inline Pod device_pod(const std::string& name, const Texts& limits, const Texts& annotations = {}) {
  Pod pod;
  pod.uid = "uid-" + name;
  pod.pod_namespace = "default";
  pod.name = name;
  pod.annotations = annotations;
  pod.containers.push_back({"main", limits, {}});
  return pod;
}

inline Pod gpu_pod(const std::string& name, int memory, int cores, int count = 1, const Texts& annotations = {}) {
  return device_pod(name,
                    {{"nvidia.com/gpu", std::to_string(count)},
                     {"nvidia.com/gpumem", std::to_string(memory)},
                     {"nvidia.com/gpucores", std::to_string(cores)}},
                    annotations);
}

inline constexpr WallTime kNoon{std::chrono::hours{12}};

// The pod as the API has it after the scheduler has bound it.
inline Pod bound(const Engine& engine, Pod pod, const PodPlacement& placement) {
  pod.node = engine.nodes()[placement.node].name;
  const Texts written = engine.annotations_for(pod, placement, kNoon).value();
  for (const auto& [key, value] : written) pod.annotations[key] = value;
  return pod;
}

// The names of the devices that a placement took, in its order.
inline std::vector<std::string> devices_of(const Engine& engine, const PodPlacement& placement) {
  std::vector<std::string> names;
  for (const Taken& taken : placement.taken) names.push_back(engine.nodes()[placement.node].devices[taken.device].uuid);
  return names;
}

inline const BookedDevice& device_named(const Engine& engine, std::string_view uuid) {
  for (const BookedNode& node : engine.nodes())
    for (const BookedDevice& device : node.devices)
      if (device.uuid == uuid) return device;
  static const BookedDevice kNone;
  return kNone;
}

}  // namespace kiboko::testing_values
