// One-line values for the tests of clusters and policies.
#pragma once

#include <fmt/core.h>

#include "sched/cluster.h"

namespace kiboko::testing_values {

inline NodeIndex add_node(Cluster& cluster, unsigned devices, std::int64_t cores, std::string_view model = "A",
                          ClusterDevice device = {}) {
  device.model = cluster.model_named(model).value();
  ClusterNode node{.name = fmt::format("n{}", cluster.nodes()),
                   .cpu_milli = cores * 1000,
                   .host_memory = 1024_GiB,
                   .devices = std::vector<ClusterDevice>(devices, device)};
  return cluster.add_node(node).value();
}

inline PodAsk pod(unsigned count, Share share, std::int64_t cores = 1) {
  return {.count = count, .share = share, .cpu_milli = cores * 1000, .host_memory = 1_GiB};
}

// For matchers, which want a container of their own.
template <class T>
std::vector<T> list(std::span<const T> all) {
  return {all.begin(), all.end()};
}

inline PodAsk only_on(PodAsk ask, const Cluster& cluster, std::string_view model) {
  ask.models = Models{1} << cluster.find_model(model).value();
  return ask;
}

}  // namespace kiboko::testing_values
