// What must hold of every explanation, whatever cluster and pod.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <regex>

#include "sched/engine_values.h"
#include "sched/explain.h"

namespace kiboko {
namespace {

using namespace testing_values;

const vendors::Catalog& catalog() {
  static const vendors::Catalog kCatalog = families();
  return kCatalog;
}

// Of full size from the first cluster on: small ones are full of pods that fit.
int number(int least, int most) { return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(least, most + 1)); }
bool once_in(int times) { return number(1, times) == 1; }

// ---- clusters ----

struct Registered {
  const char *family, *key, *type;
  int memory, cores;
};
constexpr Registered kRegistered[] = {
    {"NVIDIA", "hami.io/node-nvidia-register", "NVIDIA A100", 40960, 100},
    {"AMD", "hami.io/node-amd-register", "AMD MI300X", 65536, 304},
    {"Ascend910B3", "hami.io/node-register-Ascend910B3", "Ascend910B3", 65536, 20},
    {"Ascend910C", "hami.io/node-register-Ascend910C", "Ascend910C", 65536, 20},
    {"DCU", "hami.io/node-dcu-register", "DCU-K100", 32768, 100},
    {"MR-V100", "hami.io/node-MR-V100-register", "MR-V100", 32768, 100},
    {"XPU", "hami.io/node-register-xpu", "XPU-R200", 98304, 100},
};

Node registered_node(const std::string& name, const Registered& what) {
  const bool mig = once_in(4) && std::string_view(what.family) == "NVIDIA";
  Node node = gpu_node(
      name, static_cast<unsigned>(number(1, 4)),
      [&](RegisteredDevice& device) {
        device.type = what.type;
        device.memory = MiB{what.memory};
        device.cores = CoreUnits{what.cores};
        device.slots = number(1, 4);
        device.numa = number(0, 1);
        device.healthy = !once_in(8);
        device.mode = mig ? "mig" : "";
        if (mig)
          device.mig_profiles = {{"1g.5gb", MiB{4864}, CoreUnits{14}, 1, {{0, 1}, {1, 1}, {2, 1}, {3, 1}}},
                                 {"3g.20gb", MiB{19968}, CoreUnits{42}, 4, {{0, 4}, {4, 4}}}};
      },
      what.key);
  if (once_in(6)) node.annotations["hami.io/device-cordon"] = fmt::format("GPU-{}-0", name);
  if (once_in(4)) node.annotations["hami-vnpu-core"] = "true";
  return node;
}

// Families whose devices are read from a node's capacity, or in a form of their own.
const std::vector<std::string> kOthers = {"Mthreads", "MLU", "kunlun", "AWSNeuron", "Enflame", "Metax-SGPU"};

Node other_node(const std::string& name) {
  Node node;
  node.name = name;
  node.capacity = {{"mthreads.com/sgpu-core", 32},   {"mthreads.com/sgpu-memory", 192},
                   {"mthreads.com/vgpu", 200},       {"cambricon.com/mlu.smlu.vcore", 200},
                   {"cambricon.com/vmlu", 200},      {"cambricon.com/mlu.smlu.vmemory", 400},
                   {"kunlunxin.com/xpu", 8},         {"aws.amazon.com/neuron", 8},
                   {"aws.amazon.com/neuroncore", 16}};
  node.annotations["enflame.com/gcu-drs-capacity"] =
      R"({"devices":[{"index":"0","minor":"0","capacity":6}],"profiles":{"1g.8gb":"0","3g.24gb":"1","6g.48gb":"2"}})";
  node.annotations["metax-tech.com/node-gpu-devices"] =
      R"([{"uuid":"GPU-m","model":"MXC500","totalDevCount":4,"totalCompute":100,"totalVRam":65536,"healthy":true}])";
  return node;
}

void arrange(Engine& engine) {
  const int nodes = number(1, 3);
  for (int i = 0; i < nodes; ++i) {
    const std::string name = fmt::format("n{}", i);
    static_cast<void>(engine.set_node(
        once_in(2) ? other_node(name)
                   : registered_node(name, kRegistered[number(0, static_cast<int>(std::size(kRegistered)) - 1)])));
  }
  if (once_in(3))
    engine.set_quota({"default",
                      "q",
                      {{"limits.nvidia.com/gpumem", number(0, 60000)}, {"limits.nvidia.com/gpucores", number(0, 200)}},
                      {},
                      {}});
}

// ---- pods ----

const vendors::Family& any_family() {
  const int place = number(0, static_cast<int>(std::size(kRegistered) + kOthers.size()) - 1);
  const auto at = static_cast<std::size_t>(place);
  return *catalog().find(at < std::size(kRegistered) ? kRegistered[at].family : kOthers[at - std::size(kRegistered)]);
}

Texts any_limits(const vendors::Family& family) {
  const vendors::Resources& r = family.resources;
  Texts limits;
  const auto add = [&](const std::string& resource, int most) {
    if (!resource.empty()) limits[resource] = std::to_string(number(0, most));
  };
  add(r.count.name, 4);
  const int most_memory = r.memory.bare_is_gib ? 70 : static_cast<int>(100'000 / r.memory.unit_mib);
  if (!once_in(3)) add(r.memory.name, family.key == "Enflame" ? 60 : most_memory);
  if (once_in(3)) add(r.memory_percent, 100);
  if (once_in(2)) add(r.cores.name, r.cores.asked == vendors::CoreUnit::Percent ? 100 : 16);
  if (once_in(2)) add(r.slices, 6);
  return limits;
}

Texts any_annotations(const vendors::Family& family) {
  Texts annotations;
  const auto add = [&](const std::string& key, const std::string& value) {
    if (!key.empty() && once_in(6)) annotations[key] = value;
  };
  add(family.selectors.use_type, "A100");
  add(family.selectors.numa_bind, "true");
  add("hami.io/gpu-scheduler-policy", "mutex");
  add("huawei.com/vnpu-mode", "hami-core");
  for (const std::string& key : family.selectors.use_uuid) add(key, "GPU-n0-0,GPU-n0-1");
  for (const vendors::Trait& trait : family.traits)
    if (!trait.one_of.empty()) add(trait.annotation, *rc::gen::elementOf(trait.one_of));
  return annotations;
}

Pod any_pod(const std::string& name) {
  const vendors::Family& family = any_family();
  Pod pod = device_pod(name, any_limits(family), any_annotations(family));
  for (int more = number(0, 2); more > 0; --more) {
    const auto kind = *rc::gen::element(ContainerKind::Init, ContainerKind::Sidecar, ContainerKind::App);
    Container container{fmt::format("c{}", pod.containers.size()), any_limits(family), {}, kind};
    pod.containers.insert(kind == ContainerKind::App ? pod.containers.end() : pod.containers.begin(), container);
  }
  return pod;
}

// The pod as a line, for the log of a failure.
std::string shown(const Pod& pod) {
  std::string text = pod.name;
  for (const Container& container : pod.containers) {
    text += fmt::format(" [{} kind {}:", container.name, static_cast<int>(container.kind));
    for (const auto& [resource, amount] : container.limits) text += fmt::format(" {}={}", resource, amount);
    text += "]";
  }
  for (const auto& [key, value] : pod.annotations) text += fmt::format(" {}={}", key, value);
  return text + "\n";
}

// ---- what the nearest change says, done ----

// The pod with the amount that the sentence names; nothing if it is about something else.
std::optional<Pod> changed_as_told(const Pod& pod, const std::string& nearest) {
  static const std::regex kAmount(
      R"(^(\S+) (\d+(?:Mi)?)(?: \([^)]*\))?(?: and (\S+) (\d+))? instead of .*? would fit on \S+$)");
  static const std::regex kContainer(R"( for container (\S+) would fit)");
  std::smatch words, whose;
  if (!std::regex_match(nearest, words, kAmount)) return std::nullopt;
  const auto request = request_of(pod, catalog(), {});
  Pod changed = pod;
  for (std::size_t c = 0; c < changed.containers.size(); ++c) {
    const bool meant = std::regex_search(nearest, whose, kContainer) ? changed.containers[c].name == whose[1].str()
                                                                     : request && !request->containers[c].asks.empty();
    if (!meant) continue;
    changed.containers[c].limits[words[1].str()] = words[2].str();
    if (words[3].matched) changed.containers[c].limits[words[3].str()] = words[4].str();
  }
  return changed;
}

// The same with one MiB more; nothing if the change was not about MiB.
std::optional<Pod> with_one_more(const Pod& pod, const Pod& changed) {
  const std::string resource = "nvidia.com/gpumem";
  for (std::size_t c = 0; c < pod.containers.size(); ++c) {
    const auto found = changed.containers[c].limits.find(resource);
    if (changed.containers[c] == pod.containers[c] || found == changed.containers[c].limits.end()) continue;
    const auto before = pod.containers[c].limits.find(resource);
    if (before != pod.containers[c].limits.end() && before->second == found->second) continue;
    Pod more = changed;
    more.containers[c].limits[resource] = std::to_string(std::stoll(found->second) + 1);
    return more;
  }
  return std::nullopt;
}

RC_GTEST_PROP(ExplainProperty, ItSaysThatAPodFitsExactlyWhenItIsPlaced, ()) {
  Engine engine{catalog(), {.node_policy = Policy::Binpack}};
  arrange(engine);
  for (int i = 0; i < 12; ++i) {
    const Pod pod = any_pod(fmt::format("p{}", i));
    const Explanation why = explain(engine, pod);
    const auto placed = engine.place(pod, nullptr, kNoon);
    RC_LOG() << shown(pod) << why.sentence << '\n';
    RC_ASSERT(why.fits == placed.has_value());
    if (placed) continue;
    RC_ASSERT(why.code == placed.error().code);
    RC_ASSERT(why.sentence == placed.error().sentence);
    RC_ASSERT(why.nodes.size() == placed.error().nodes.size());
    RC_ASSERT(!why.sentence.empty());
    for (const NodeExplanation& node : why.nodes) RC_ASSERT(!node.sentence.empty());
  }
}

RC_GTEST_PROP(ExplainProperty, AnAmountThatItNamesIsPlacedAndIsTheLargestThatIs, ()) {
  Engine engine{catalog(), {.node_policy = Policy::Binpack}};
  arrange(engine);
  for (int i = 0; i < 12; ++i) {
    const Pod pod = any_pod(fmt::format("p{}", i));
    const Explanation why = explain(engine, pod);
    const auto changed = changed_as_told(pod, why.nearest);
    RC_LOG() << shown(pod) << why.nearest << '\n';
    RC_CLASSIFY(changed.has_value(), "told an amount");
    if (changed) {
      const auto more = with_one_more(pod, *changed);
      if (more) RC_ASSERT(!engine.place(*more, nullptr, kNoon).has_value());
      const auto placed = engine.place(*changed, nullptr, kNoon);
      RC_ASSERT(placed.has_value());
      if (once_in(2)) engine.remove_pod(pod.uid);
    } else if (why.fits) {
      RC_ASSERT(engine.place(pod, nullptr, kNoon).has_value());
    }
  }
}

}  // namespace
}  // namespace kiboko
