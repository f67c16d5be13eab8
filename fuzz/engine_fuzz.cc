// What nodes and pods say of devices is written by plugins, tenants and attackers: whatever it is, the engine says what
// it cannot read, grants no more than there is, and explains what it refuses.
//
// A line each: "n KEY VALUE" and "p KEY VALUE" are annotations of the node and of a pod on it, "c RESOURCE AMOUNT" the
// node's capacity, "l RESOURCE AMOUNT" a limit and "a KEY VALUE" an annotation of a pod that is to be placed.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/text.h"
#include "sched/explain.h"

namespace {

using namespace kiboko;

void require(bool held) {
  if (!held) std::abort();
}

const vendors::Catalog& catalog() {
  static const vendors::Catalog kCatalog = vendors::Catalog::shipped().value();
  return kCatalog;
}

struct Told {
  Node node;
  Pod running, waiting;
};

Told read(std::string_view text) {
  Told told;
  told.node.name = told.running.node = "n";
  told.running.uid = "running";
  told.waiting.uid = "waiting";
  told.running.containers.resize(2);
  told.waiting.containers.resize(1);
  for (const std::string_view line : split(text, '\n')) {
    if (line.size() < 3 || line[1] != ' ') continue;
    const std::size_t space = line.find(' ', 2);
    if (space == std::string_view::npos) continue;
    const std::string key(line.substr(2, space - 2)), value(line.substr(space + 1));
    if (line[0] == 'n') told.node.annotations[key] = value;
    if (line[0] == 'c') told.node.capacity[key] = parse_integer<std::int64_t>(value).value_or(0);
    if (line[0] == 'p') told.running.annotations[key] = value;
    if (line[0] == 'l') told.waiting.containers[0].limits[key] = value;
    if (line[0] == 'a') told.waiting.annotations[key] = value;
  }
  return told;
}

void check_use(const Engine& engine, const PodPlacement& placement) {
  for (const Taken& taken : placement.taken) {
    const BookedDevice& device = engine.nodes()[placement.node].devices[taken.device];
    const auto& tests = engine.catalog().families()[device.family].tests;
    const bool counted = std::find(tests.begin(), tests.end(), vendors::Test::Memory) != tests.end();
    require(device.present && device.healthy && (device.mig || !counted || device.use.memory <= device.memory));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Told told = read({reinterpret_cast<const char*>(data), size});
  Engine engine(catalog(), {});
  for (const bool pod_first : {true, false}) {
    const auto pod = pod_first ? engine.set_pod(told.running) : Result<void>{};
    const auto node = engine.set_node(told.node);
    require((pod || !pod.error().message.empty()) && (node || node.error().message.starts_with("node n")));
    const auto placed = engine.place(told.waiting, nullptr, {});
    if (!placed) {
      require(!placed.error().sentence.empty() && !explain(engine, told.waiting).fits);
    } else if (placed->node != kNoNode) {
      check_use(engine, *placed);
      if (const auto written = engine.annotations_for(told.waiting, *placed, {})) {
        Pod bound = told.waiting;
        bound.node = "n";
        for (const auto& [key, value] : *written) bound.annotations[key] = value;
        static_cast<void>(engine.set_pod(bound));
      }
    }
    engine.remove_pod("waiting");
    engine.remove_pod("running");
    engine.remove_node("n");
    require(engine.pods() == 0 && !engine.find_node("n"));
  }
  return 0;
}
