#include "cli/manifest_case.h"

#include <algorithm>
#include <map>
#include <set>

#include "cli/device_shares.h"
#include "model/pod_marks.h"
#include "sched/pod_request.h"

namespace kiboko::cli {
namespace {

// Does the pod say which devices it has, of one family at least?
bool says_devices(const Pod& pod, const PodRequest& request) {
  return std::ranges::any_of(request.containers, [&](const ContainerRequest& container) {
    return std::ranges::any_of(
        container.asks, [&](const FamilyAsk& one) { return pod.annotations.contains(one.family->emission.allocated); });
  });
}

// The first of many, and how many there are.
class Warnings {
 public:
  void add(std::string_view what, const std::string& example) {
    const auto [at, made] = all_.try_emplace(std::string(what), 0, example);
    ++at->second.first;
  }
  std::vector<std::string> sentences() const {
    std::vector<std::string> sentences;
    for (const auto& [what, found] : all_)
      sentences.push_back(
          fmt::format("{} {}{}: {}", found.first, what, found.first > 1 ? ", the first" : "", found.second));
    return sentences;
  }

 private:
  std::map<std::string, std::pair<std::size_t, std::string>> all_;
};

// Nodes whose plugin says how many devices there are, but not which.
void look_for_silent_nodes(const Engine& engine, const std::vector<Node>& nodes, Warnings& warnings) {
  const auto& families = engine.catalog().families();
  for (const Node& node : nodes)
    for (std::size_t family = 0; family < families.size(); ++family) {
      const auto count = node.capacity.find(families[family].resources.count.name);
      if (count == node.capacity.end() || count->second == 0) continue;
      if (families[family].discovery.source != vendors::Discovery::Source::Annotation) continue;
      const auto& devices = engine.nodes()[*engine.find_node(node.name)].devices;
      if (std::ranges::none_of(devices, [&](const BookedDevice& device) { return device.family == family; }))
        warnings.add(fmt::format("nodes without devices here: they have {}, but no annotation {}", count->first,
                                 families[family].discovery.key),
                     node.name);
    }
}

}  // namespace

EngineSettings engine_settings(const ManifestCase& all, Policy policy) {
  EngineSettings settings;
  settings.node_policy = policy;
  if (policy == Policy::Spread || policy == Policy::HamiDefault) settings.preset.order = {DeviceKey::Emptiest};
  // Where no node says what CPU it has, nobody meant it to count.
  settings.count_host = std::ranges::any_of(all.nodes, [](const Node& node) { return node.cpu_milli > 0; });
  return settings;
}

void settle_assigned(Objects& objects) {
  std::erase_if(objects.pods, [](const Pod& pod) { return ended(pod); });
  for (Pod& pod : objects.pods)
    if (const auto node = pod.annotations.find(kAssignedNodeKey); pod.node.empty() && node != pod.annotations.end())
      pod.node = node->second;
}

Result<ManifestCase> manifest_case(const Objects& objects, const vendors::Catalog& catalog) {
  if (objects.nodes.empty()) return fail(Errc::Invalid, "there is no node to place on");
  ManifestCase all{
      .nodes = objects.nodes, .quotas = objects.quotas, .held = {}, .seated = {}, .waiting = {}, .warnings = {}};
  Warnings warnings;
  Engine trial(catalog, engine_settings(all, Policy::Binpack));
  for (const Node& node : all.nodes)
    if (const auto set = trial.set_node(node); !set) warnings.add("nodes cannot be read wholly", set.error().message);
  look_for_silent_nodes(trial, all.nodes, warnings);
  std::set<std::string> seen;
  std::size_t number = 0;
  for (const Pod& pod : objects.pods) {
    if (!pod.uid.empty() && !seen.insert(pod.uid).second) continue;
    const auto request = request_of(pod, catalog, trial.settings().preset);
    auto& list = pod.node.empty()                                            ? all.waiting
                 : request && request->any() && !says_devices(pod, *request) ? all.seated
                                                                             : all.held;
    list.push_back(pod);
    if (pod.uid.empty() || pod.node.empty()) list.back().uid = fmt::format("#{}", ++number);
    if (&list != &all.held) continue;
    if (const auto set = trial.set_pod(list.back()); !set)
      warnings.add("pods hold what cannot be read; nothing more is put on their nodes", set.error().message);
  }
  for (const auto& [family, sums] : device_sums(trial)) all.devices += static_cast<double>(sums.devices);
  if (all.devices == 0) warnings.add("file has no device of a family that is known", "see `kiboko vendors list`");
  all.warnings = warnings.sentences();
  return all;
}

}  // namespace kiboko::cli
