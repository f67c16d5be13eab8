#include "cli/what_if.h"

#include <algorithm>
#include <functional>

#include "base/text.h"
#include "cli/output.h"

namespace kiboko::cli {
namespace {

constexpr std::size_t kMostAdded = 10'000;
constexpr std::string_view kHostLabel = "kubernetes.io/hostname";

tl::unexpected<Error> not_there(std::string_view flag, std::string_view name,
                                const std::vector<std::string_view>& known) {
  const auto near = nearest(name, known);
  return fail(Errc::NotFound, "--{}: there is no node '{}'{}", flag, harmless(name),
              near ? fmt::format("; did you mean '{}'?", harmless(*near)) : "");
}

std::string added_name(const std::string& like, std::size_t number) { return fmt::format("{}+{}", like, number + 1); }

std::optional<NodeIndex> find(const Cluster& cluster, std::string_view name) {
  std::optional<NodeIndex> found;
  cluster.present().for_each([&](NodeIndex index) {
    if (cluster.node_name(index) == name) found = index;
  });
  return found;
}

tl::unexpected<Error> not_there(std::string_view flag, std::string_view name, const Cluster& cluster) {
  std::vector<std::string_view> known;
  cluster.present().for_each([&](NodeIndex index) { known.push_back(cluster.node_name(index)); });
  return not_there(flag, name, known);
}

tl::unexpected<Error> not_there(std::string_view flag, std::string_view name, const Objects& objects) {
  std::vector<std::string_view> known;
  for (const Node& node : objects.nodes) known.push_back(node.name);
  return not_there(flag, name, known);
}

ClusterNode node_like(const Cluster& cluster, NodeIndex index) {
  ClusterNode node;
  node.cpu_milli = cluster.cpu_capacity(index);
  node.host_memory = Bytes{cluster.host_memory_capacity(index)};
  for (std::size_t device = 0; device < cluster.device_count(index); ++device)
    node.devices.push_back({.memory = Bytes{cluster.memory_capacity(index)[device]},
                            .slots = cluster.slots(index)[device],
                            .model = cluster.device_models(index)[device]});
  return node;
}

bool wants_devices(const Pod& pod) {
  return std::ranges::any_of(pod.containers, [](const Container& container) {
    return std::ranges::any_of(container.requests, [](const auto& one) { return is_extended_resource(one.first); });
  });
}

// Those with devices go first in the queue; of the rest nobody can tell who belongs to the node.
void move_away(const std::string& node, Objects& objects) {
  const auto stay = [&](const Pod& pod) { return pod.node != node; };
  std::vector<Pod> moved;
  for (Pod& pod : objects.pods)
    if (!stay(pod) && wants_devices(pod)) moved.push_back(pod);
  std::erase_if(objects.pods, std::not_fn(stay));
  for (Pod& pod : moved) pod.node.clear();
  objects.pods.insert(objects.pods.begin(), moved.begin(), moved.end());
}

}  // namespace

std::string NodeChanges::text() const {
  std::vector<std::string> parts;
  for (const More& more : add)
    parts.push_back(fmt::format("{} more {} like {}", more.count, more.count == 1 ? "node" : "nodes", more.like));
  if (!remove.empty()) parts.push_back(fmt::format("without {}", join(remove, ", ")));
  return join(parts, ", ");
}

Result<NodeChanges> parse_node_changes(const std::vector<std::string>& add, const std::vector<std::string>& remove) {
  NodeChanges changes;
  for (const std::string& text : add) {
    const std::size_t colon = text.find(':');
    const auto count = parse_integer<std::size_t>(std::string_view(text).substr(0, colon));
    if (colon == std::string::npos || colon + 1 == text.size() || !count || *count == 0 || *count > kMostAdded)
      return fail(Errc::Invalid, "--add-nodes: '{}' is not N:LIKE, from 1 to {} nodes like the node LIKE", text,
                  kMostAdded);
    changes.add.push_back({*count, text.substr(colon + 1)});
  }
  for (const std::string& text : remove)
    for (const std::string_view name : split(text, ',')) {
      if (name.empty()) return fail(Errc::Invalid, "--remove-nodes: '{}' names an empty node", text);
      changes.remove.emplace_back(name);
    }
  return changes;
}

Result<void> apply(const NodeChanges& changes, Cluster& cluster) {
  for (const NodeChanges::More& more : changes.add) {
    const auto like = find(cluster, more.like);
    if (!like) return not_there("add-nodes", more.like, cluster);
    ClusterNode node = node_like(cluster, *like);
    for (std::size_t number = 0; number < more.count; ++number) {
      node.name = added_name(more.like, number);
      TRY(cluster.add_node(node));
    }
  }
  for (const std::string& name : changes.remove) {
    const auto index = find(cluster, name);
    if (!index) return not_there("remove-nodes", name, cluster);
    cluster.remove_node(*index);
  }
  return {};
}

Result<void> apply(const NodeChanges& changes, Objects& objects) {
  for (const NodeChanges::More& more : changes.add) {
    const auto like = std::ranges::find(objects.nodes, more.like, &Node::name);
    if (like == objects.nodes.end()) return not_there("add-nodes", more.like, objects);
    Node node = *like;
    node.unschedulable = false;
    for (std::size_t number = 0; number < more.count; ++number) {
      node.name = added_name(more.like, number);
      if (const auto label = node.labels.find(kHostLabel); label != node.labels.end()) label->second = node.name;
      objects.nodes.push_back(node);
    }
  }
  for (const std::string& name : changes.remove) {
    if (std::erase_if(objects.nodes, [&](const Node& node) { return node.name == name; }) == 0)
      return not_there("remove-nodes", name, objects);
    move_away(name, objects);
  }
  return {};
}

}  // namespace kiboko::cli
