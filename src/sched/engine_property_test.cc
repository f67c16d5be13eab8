// What must hold of the engine after any sequence of nodes that come, change and go, and pods that are placed, bound,
// finish their init containers, end, expire or are told twice. KIBOKO_ENGINE_STEPS: how many steps; 20,000 if not
// given, a million in the nightly run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "sched/engine_values.h"
#include "vendors/mig.h"

namespace kiboko {
namespace {

using namespace testing_values;

class Storm {
 public:
  explicit Storm(std::uint64_t seed) : random_(seed), engine_(families(), {.node_policy = std::nullopt}) {}

  void step() {
    now_ += std::chrono::seconds{1};
    switch (below(10)) {
      case 0:
        set_node();
        break;
      case 1:
        if (below(8) == 0) remove_node();
        break;
      case 2:
        end_pod();
        break;
      case 3:
        finish_init();
        break;
      case 4:
        bind();
        break;
      case 5:
        if (below(20) == 0) expire();
        break;
      default:
        place();
    }
  }

  // Told again from nothing, the engine knows the same.
  void compare_with_one_told_anew() {
    Engine fresh(families(), {});
    for (const auto& [name, node] : nodes_) ASSERT_TRUE(fresh.set_node(node));
    for (const auto& [uid, pod] : bound_) ASSERT_TRUE(fresh.set_pod(pod));
    for (const auto& [uid, pod] : reserved_) engine_.remove_pod(uid);
    reserved_.clear();
    for (const auto& [name, node] : nodes_) {
      const auto& mine = engine_.nodes()[*engine_.find_node(name)];
      const auto& its = fresh.nodes()[*fresh.find_node(name)];
      for (const BookedDevice& device : mine.devices) {
        if (!device.present) continue;  // what pods hold of it counts again when it is back
        const auto same = std::ranges::find_if(
            its.devices, [&](const BookedDevice& d) { return d.family == device.family && d.uuid == device.uuid; });
        ASSERT_NE(same, its.devices.end()) << device.uuid;
        EXPECT_EQ(same->use, device.use) << device.uuid;
        EXPECT_EQ(same->blocked, device.blocked) << device.uuid;
      }
    }
    EXPECT_EQ(fresh.pods(), engine_.pods());
  }

  std::size_t placed() const { return placed_; }
  std::size_t refused() const { return refused_; }

 private:
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }
  template <class Map>
  auto any_of(Map& map) {
    auto at = map.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(map.size())));
    return at;
  }

  Node random_node(const std::string& name) {
    const std::size_t kind = below(6);
    const auto devices = static_cast<unsigned>(below(9));
    if (kind == 0) {
      Node node;
      node.name = name;
      const auto count = static_cast<std::int64_t>(below(5));
      node.capacity = {{"aws.amazon.com/neuron", count}, {"aws.amazon.com/neuroncore", 2 * count}};
      return node;
    }
    if (kind == 1)
      return gpu_node(
          name, devices,
          [&](RegisteredDevice& device) {
            device.type = "Ascend910B3";
            device.mode.clear();
            device.cores = CoreUnits{20};
            device.memory = MiB{65536};
            device.slots = 4;
          },
          "hami.io/node-register-Ascend910B3");
    return gpu_node(name, devices, [&](RegisteredDevice& device) {
      device.healthy = below(10) > 0;
      device.memory = MiB{static_cast<std::int64_t>(20000 + 20000 * below(4))};
      device.numa = static_cast<int>(device.index % 2);
      if (kind != 2) return;
      device.mode = "mig";
      device.slots = 7;
      device.mig_profiles = {
          {"1g.5gb", MiB{4864}, CoreUnits{15}, 1, {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}}},
          {"3g.20gb", MiB{19968}, CoreUnits{46}, 4, {{0, 4}, {4, 4}}}};
    });
  }

  void set_node() {
    const std::string name = fmt::format("n{}", below(6));
    Node node = random_node(name);
    ASSERT_TRUE(engine_.set_node(node));
    nodes_.insert_or_assign(name, std::move(node));
  }
  void remove_node() {
    if (nodes_.empty()) return;
    const auto node = any_of(nodes_);
    engine_.remove_node(node->first);
    nodes_.erase(node);
  }

  Container random_container(unsigned number, ContainerKind kind) {
    Container container;
    container.name = fmt::format("c{}", number);
    container.kind = kind;
    switch (below(5)) {
      case 0:
        break;
      case 1:
        container.limits = {{"aws.amazon.com/neuroncore", std::to_string(1 + below(3))}};
        break;
      case 2:
        container.limits = {{"huawei.com/Ascend910B3", "1"},
                            {"huawei.com/Ascend910B3-memory", std::to_string(1000 + below(60000))}};
        break;
      default:
        container.limits = {{"nvidia.com/gpu", std::to_string(1 + below(2))},
                            {"nvidia.com/gpumem", std::to_string(500 + below(30000))},
                            {"nvidia.com/gpucores", std::to_string(below(60))}};
        if (below(10) == 0) container.limits = {{"nvidia.com/gpu", "1"}};
    }
    return container;
  }

  void place() {
    Pod pod;
    pod.uid = fmt::format("u{}", next_++);
    pod.pod_namespace = "ns";
    pod.name = pod.uid;
    const std::size_t init = below(3);
    for (unsigned i = 0; i < init + 1 + below(2); ++i)
      pod.containers.push_back(random_container(i, i >= init       ? ContainerKind::App
                                                   : below(3) == 0 ? ContainerKind::Sidecar
                                                                   : ContainerKind::Init));
    constexpr const char* kPolicies[] = {"binpack", "spread", "mutex", "topology-aware", "numa,binpack"};
    if (below(3) == 0) pod.annotations["hami.io/gpu-scheduler-policy"] = kPolicies[below(std::size(kPolicies))];
    engine_.expect(pod, now_);
    const auto placement = engine_.place(pod, nullptr, now_);
    if (!placement) {
      ++refused_;
      return;
    }
    if (placement->node == kNoNode) return;
    ++placed_;
    check(*placement);
    const auto written = engine_.annotations_for(pod, *placement, now_);
    ASSERT_TRUE(written) << written.error().message;
    pod.annotations.insert(written->begin(), written->end());
    target_[pod.uid] = engine_.nodes()[placement->node].name;
    reserved_.emplace(pod.uid, std::move(pod));
  }

  // What was just granted is within what the device has.
  void check(const PodPlacement& placement) const {
    const BookedNode& node = engine_.nodes()[placement.node];
    for (const Taken& taken : placement.taken) {
      const BookedDevice& device = node.devices[taken.device];
      ASSERT_TRUE(device.present && device.healthy && !device.blocked) << device.uuid;
      EXPECT_LE(device.use.slots, device.slots) << device.uuid;
      EXPECT_EQ(device.mig, taken.mig.has_value()) << device.uuid;
      if (device.mig) {
        check_instances(placement, taken, device);
        continue;
      }
      EXPECT_LE(device.use.memory, device.memory) << device.uuid;
      const bool mask = engine_.catalog().families()[device.family].key == "AWSNeuron";
      if (mask)
        EXPECT_EQ(device.use.cores & ~device.cores, 0) << device.uuid;
      else
        EXPECT_LE(device.use.cores, device.cores) << device.uuid;
    }
  }

  // No instance lies on one of another pod; an init container's may lie where a later one's will.
  static void check_instances(const PodPlacement& placement, const Taken& taken, const BookedDevice& device) {
    std::vector<MigPlacement> others = device.mig_live;
    for (const Taken& own : placement.taken)
      if (own.device == taken.device) others.erase(std::ranges::find(others, *own.mig));
    for (const MigPlacement& other : others) EXPECT_FALSE(vendors::overlap(*taken.mig, other)) << device.uuid;
  }

  void bind() {
    if (reserved_.empty()) return;
    const auto at = any_of(reserved_);
    Pod pod = std::move(at->second);
    reserved_.erase(at);
    pod.node = target_.at(pod.uid);
    ASSERT_TRUE(engine_.set_pod(pod));
    bound_.emplace(pod.uid, std::move(pod));
  }
  void finish_init() {
    if (bound_.empty()) return;
    const auto at = any_of(bound_);
    at->second.init_done = true;
    ASSERT_TRUE(engine_.set_pod(at->second));
  }
  void end_pod() {
    if (!bound_.empty() && below(3) > 0) {
      const auto at = any_of(bound_);
      at->second.phase = PodPhase::Succeeded;
      ASSERT_TRUE(engine_.set_pod(at->second));
      bound_.erase(at);
    } else if (!reserved_.empty()) {
      const auto at = any_of(reserved_);
      engine_.remove_pod(at->first);
      reserved_.erase(at);
    }
  }
  void expire() {
    for (const std::string& uid : engine_.expire(now_ - std::chrono::minutes{10})) reserved_.erase(uid);
  }

  std::mt19937_64 random_;
  WallTime now_ = kNoon;
  Engine engine_;
  std::map<std::string, Node> nodes_;
  std::map<std::string, Pod> reserved_, bound_;
  std::map<std::string, std::string> target_;
  std::size_t next_ = 0, placed_ = 0, refused_ = 0;
};

TEST(EngineProperty, NothingIsGrantedBeyondWhatThereIsWhateverHappens) {
  const char* const given = std::getenv("KIBOKO_ENGINE_STEPS");
  const std::size_t steps = given == nullptr ? 20'000 : std::strtoul(given, nullptr, 10);
  constexpr std::size_t kStorm = 2'000;
  std::size_t placed = 0, refused = 0;
  for (std::uint64_t seed = 1; seed * kStorm <= steps; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Storm storm{seed};
    for (std::size_t i = 0; i < kStorm && !testing::Test::HasFailure(); ++i) storm.step();
    storm.compare_with_one_told_anew();
    if (testing::Test::HasFailure()) return;
    placed += storm.placed();
    refused += storm.refused();
  }
  EXPECT_GT(placed, steps / 20);
  EXPECT_GT(refused, steps / 20);
}

}  // namespace
}  // namespace kiboko
