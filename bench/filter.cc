// One filter decision in process: how long, how many allocations, and how much memory nodes and pods take.
//
// Clusters of 8 devices a node, empty or with pods that the engine itself placed. Each decision is for one more pod of
// the same mix, and undone: the cluster stays as it is. Allocations are counted, so that figure is the same on every
// machine.
#include <fmt/core.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <new>
#include <random>

#include "model/registration.h"
#include "sched/engine.h"

namespace {

std::size_t g_allocations = 0;
std::size_t g_bytes = 0;  // in use, as malloc rounds them

void* counted(std::size_t size) {
  void* const block = std::malloc(size == 0 ? 1 : size);
  if (block == nullptr) std::abort();
  ++g_allocations;
  g_bytes += malloc_usable_size(block) + 8;
  return block;
}

void uncounted(void* block) {
  if (block == nullptr) return;
  g_bytes -= malloc_usable_size(block) + 8;
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* block) noexcept { uncounted(block); }
void operator delete[](void* block) noexcept { uncounted(block); }
void operator delete(void* block, std::size_t) noexcept { uncounted(block); }
void operator delete[](void* block, std::size_t) noexcept { uncounted(block); }

namespace kiboko {
namespace {

constexpr unsigned kDevices = 8;
constexpr WallTime kNow{std::chrono::hours{12}};

Node node_of(unsigned number) {
  std::vector<RegisteredDevice> devices;
  for (unsigned i = 0; i < kDevices; ++i) {
    RegisteredDevice device;
    device.uuid.text = fmt::format("GPU-{:08x}-0000-4000-8000-{:012x}", number, i);
    device.index = i;
    device.slots = 10;
    device.memory = MiB{81559};
    device.cores = CoreUnits{100};
    device.type = number % 4 == 0 ? "NVIDIA A100-SXM4-80GB" : "NVIDIA H100 80GB HBM3";
    device.numa = i < kDevices / 2 ? 0 : 1;
    device.mode = "hami-core";
    device.healthy = true;
    devices.push_back(std::move(device));
  }
  Node node;
  node.name = fmt::format("gpu-node-{:05}.cluster.example", number);
  node.annotations["hami.io/node-nvidia-register"] = encode_registration_json(devices);
  return node;
}

// What is asked for, and how often of 100.
struct Shape {
  unsigned often;
  unsigned count;
  int memory;  // MiB
  int cores;
  const char* type;
};
constexpr Shape kShapes[] = {
    {20, 1, 4096, 5, ""},   {20, 1, 8192, 10, ""},  {15, 1, 8192, 20, ""},  {10, 1, 16384, 20, ""},
    {10, 1, 16384, 25, ""}, {8, 1, 24576, 30, ""},  {6, 1, 40000, 50, ""},  {5, 1, 8192, 10, "A100"},
    {3, 2, 16384, 25, ""},  {2, 1, 81559, 100, ""}, {1, 2, 81559, 100, ""},
};

Pod pod_of(std::mt19937_64& random, std::size_t number) {
  auto at = static_cast<unsigned>(random() % 100);
  const Shape* shape = kShapes;
  while (at >= shape->often) at -= shape++->often;
  Pod pod;
  pod.uid = fmt::format("{:08x}-0000-4000-8000-{:012x}", number >> 16U, number);
  pod.pod_namespace = fmt::format("team-{}", number % 50);
  pod.name = fmt::format("worker-{}", number);
  if (*shape->type != 0) pod.annotations["nvidia.com/use-gputype"] = shape->type;
  Container container;
  container.name = "main";
  container.limits = {{"cpu", "4"},
                      {"memory", "16Gi"},
                      {"nvidia.com/gpu", std::to_string(shape->count)},
                      {"nvidia.com/gpumem", std::to_string(shape->memory)},
                      {"nvidia.com/gpucores", std::to_string(shape->cores)}};
  pod.containers.push_back(std::move(container));
  return pod;
}

struct Row {
  double p50 = 0, p99 = 0;  // microseconds
  double refusal = 0;       // a pod that fits nowhere, every node's reason included; microseconds
  double allocations = 0;   // a decision
  std::size_t refused = 0;
  std::size_t state_bytes = 0;
  double bytes_per_node = 0, bytes_per_pod = 0;
};

Row measure(unsigned nodes, unsigned pods_per_node, std::optional<Policy> policy, std::size_t decisions) {
  Row row;
  const std::size_t before = g_bytes;
  Engine engine(vendors::Catalog::shipped().value(), {.node_policy = policy});
  const std::size_t empty = g_bytes;
  for (unsigned i = 0; i < nodes; ++i)
    if (!engine.set_node(node_of(i))) std::abort();
  row.bytes_per_node = static_cast<double>(g_bytes - empty) / nodes;
  std::mt19937_64 random(42);
  std::size_t number = 0;
  const std::size_t with_nodes = g_bytes;
  const std::size_t wanted = std::size_t{nodes} * pods_per_node;
  std::size_t placed = 0;
  for (; placed < wanted && number < 3 * wanted; ++number) {
    Pod pod = pod_of(random, number);
    engine.expect(pod, kNow);
    const auto placement = engine.place(pod, nullptr, kNow);
    if (!placement) continue;
    pod.node = engine.nodes()[placement->node].name;
    const Texts written = engine.annotations_for(pod, *placement, kNow).value();
    for (const auto& [key, value] : written) pod.annotations[key] = value;
    if (!engine.set_pod(pod)) std::abort();
    ++placed;
  }
  if (placed > 0) row.bytes_per_pod = static_cast<double>(g_bytes - with_nodes) / static_cast<double>(placed);
  NodeSet candidates;
  for (unsigned i = 0; i < nodes; ++i) candidates.add(i);
  std::vector<double> times;
  times.reserve(decisions);
  for (std::size_t i = 0; i < decisions + 200; ++i) {
    const Pod pod = pod_of(random, number++);
    engine.expect(pod, kNow);
    const std::size_t allocations = g_allocations;
    const auto start = std::chrono::steady_clock::now();
    const auto placement = engine.place(pod, &candidates, kNow);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    const bool counts = i >= 200;  // the first ones find what is asked for
    if (counts && placement) times.push_back(took.count());
    if (counts) row.allocations += static_cast<double>(g_allocations - allocations) / static_cast<double>(decisions);
    if (counts && !placement) ++row.refused;
    engine.remove_pod(pod.uid);
  }
  Pod nowhere = pod_of(random, number);
  nowhere.containers.front().limits["nvidia.com/gpumem"] = "90000";
  const auto start = std::chrono::steady_clock::now();
  constexpr int kRefusals = 20;
  for (int i = 0; i < kRefusals; ++i)
    if (engine.place(nowhere, &candidates, kNow)) std::abort();
  row.refusal = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / kRefusals;
  row.state_bytes = g_bytes - before;
  std::ranges::sort(times);
  if (times.empty()) return row;
  row.p50 = times[times.size() / 2];
  row.p99 = times[times.size() * 99 / 100];
  return row;
}

void run(std::string_view title, std::optional<Policy> policy, std::size_t decisions) {
  fmt::print("{}\n{:>6} {:>9} {:>9} {:>9} {:>12} {:>8} {:>11} {:>10} {:>11} {:>10}\n", title, "nodes", "pods/node",
             "p50 µs", "p99 µs", "allocations", "refused", "refusal µs", "state MB", "bytes/node", "bytes/pod");
  double p50_of_100 = 0;
  for (const unsigned nodes : {10U, 100U, 1000U, 5000U})
    for (const unsigned pods : {0U, 1U, 8U}) {
      const Row row = measure(nodes, pods, policy, decisions);
      fmt::print("{:>6} {:>9} {:>9.1f} {:>9.1f} {:>12.1f} {:>8} {:>11.1f} {:>10.1f} {:>11.0f} {:>10.0f}\n", nodes, pods,
                 row.p50, row.p99, row.allocations, row.refused, row.refusal,
                 static_cast<double>(row.state_bytes) / 1e6, row.bytes_per_node, row.bytes_per_pod);
      if (nodes == 100 && pods == 8) p50_of_100 = row.p50;
      if (nodes == 5000 && pods == 8)
        fmt::print(
            "budgets at 5000 nodes: p99 {:.0f} of 500 µs, state {:.1f} of 40 MB, {:.1f} of 20 times the cost at "
            "100 nodes\n",
            row.p99, static_cast<double>(row.state_bytes) / 1e6, p50_of_100 > 0 ? row.p50 / p50_of_100 : 0);
    }
}

}  // namespace
}  // namespace kiboko

int main(int argc, char** argv) {
  const std::size_t decisions = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 5000;
  if (decisions == 0) {
    fmt::print(stderr, "usage: bench_filter [DECISIONS]   how many for each row; 5000 if not given\n");
    return 2;
  }
  kiboko::run("By the supply of what is asked for (the default once that is known)", std::nullopt, decisions);
  kiboko::run("By packing", kiboko::Policy::Binpack, decisions);
  return 0;
}
