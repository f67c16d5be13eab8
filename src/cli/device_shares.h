// How much of a cluster's devices is given out and asked for, in parts of them. Pure functions of an engine.
#pragma once

#include <map>

#include "sched/engine.h"
#include "sched/pod_request.h"

namespace kiboko::cli {

// Of one family: what its devices have, and how much of it is given out. Memory in MiB, compute in the family's units.
struct DeviceSums {
  std::size_t devices = 0, in_use = 0;
  double cores = 0, memory = 0, cores_used = 0, memory_used = 0;
};
std::map<FamilyIndex, DeviceSums> device_sums(const Engine& engine);

// What is given out on a node, in devices: of each the larger of the parts of its compute and its memory.
double devices_granted(const Engine& engine, NodeIndex node);
// The same of what a pod asks for, on the mean device of each family.
double devices_asked(const PodRequest& request, const std::map<FamilyIndex, DeviceSums>& sums);

// What is free on healthy devices and cannot be used by the asks that the engine knows, the typical ones by how often
// they come: because the device or its node has too little of something else. In percent of all devices; of a device
// that is free which has both compute and memory.
double fragmented_percent(const Engine& engine);

// 0 to 1; 0 of nothing.
double part(double amount, double whole);

}  // namespace kiboko::cli
