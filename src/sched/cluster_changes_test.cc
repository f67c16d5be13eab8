// Whatever is taken, given back, set, added and removed, in any order: the cluster is what a book of plain lists says,
// and what is kept up to date beside it (sums, index, supply) is what counting from nothing gives.
//
// KIBOKO_CLUSTER_STEPS makes the long run longer, from a seed that it names when it fails and KIBOKO_CLUSTER_SEED sets
// again: the nightly form takes a million steps.
#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cstdlib>
#include <random>

#include "sched/cluster_values.h"
#include "sched/usable.h"

namespace kiboko {
namespace {

using namespace testing_values;

struct Booked {
  ClusterNode node;
  std::vector<FreeOfDevice> free;
  std::int64_t cpu_milli = 0;
  Bytes host_memory = {};
  std::vector<std::pair<PodAsk, Spot>> live;
};

class Changes {
 public:
  explicit Changes(std::uint64_t seed) : random_(seed) {
    for (const char* model : {"A", "B", "C"}) EXPECT_TRUE(cluster_.model_named(model));
    for (int i = 0; i < 3; ++i) add();
    classes_ = {{some_ask(), 0.5}, {some_ask(), 0.3}, {pod(1, 1000), 0.2}};
    // What an ask for memory counts as depends on the mean device, and that changes.
    for (AskClass& one : classes_) one.ask.memory = {};
    usable_.emplace(cluster_, classes_, Usable::Reading::Places);
  }

  void step() {
    constexpr std::size_t kMostNodes = 9;
    const std::size_t kind = below(100);
    if (kind < 40) return take();
    if (kind < 60) return give_back();
    if (kind < 75) return set_free();
    if (kind < 82) return set_host_free();
    if (kind < 87) return set_healthy();
    if (kind < 92) return set_node();
    if (kind < 96) return remove();
    if (present().size() < kMostNodes) add();
  }

  // Empty, or the first thing that is wrong.
  std::string wrong() {
    std::int64_t granted = 0;
    std::size_t devices = 0;
    Bytes memory;
    for (NodeIndex node = 0; node < book_.size(); ++node) {
      if (const std::string text = wrong_on(node); !text.empty()) return fmt::format("node {}: {}", node, text);
      if (!book_[node]) continue;
      for (const FreeOfDevice& free : book_[node]->free) granted += kWholeDevice - free.share;
      for (const ClusterDevice& device : book_[node]->node.devices) memory += device.memory;
      devices += book_[node]->free.size();
    }
    if (cluster_.compute_granted() != granted) return fmt::format("{} granted", cluster_.compute_granted());
    if (cluster_.devices() != devices) return fmt::format("{} devices", cluster_.devices());
    if (cluster_.memory_capacity() != memory) return "memory of all";
    return wrong_with_index(some_ask());
  }

  // The same against a cluster, and a supply, made of the book at once.
  std::string unlike_new() {
    Cluster fresh;
    for (const std::string& model : cluster_.models()) EXPECT_TRUE(fresh.model_named(model));
    for (const auto& booked : book_) EXPECT_TRUE(fresh.add_node(booked ? booked->node : ClusterNode{}));
    for (NodeIndex node = 0; node < book_.size(); ++node) {
      if (!book_[node]) {
        fresh.remove_node(node);
        continue;
      }
      fresh.set_host_free(node, book_[node]->cpu_milli, book_[node]->host_memory);
      for (std::size_t device = 0; device < book_[node]->free.size(); ++device)
        fresh.set_free(node, device, book_[node]->free[device]);
    }
    for (const NodeIndex node : present()) {
      if (fresh.state_key(node) != cluster_.state_key(node)) return fmt::format("node {}: state key", node);
      if (fresh.use(node) != cluster_.use(node)) return fmt::format("node {}: use", node);
    }
    const PodAsk ask = some_ask();
    if (named(fresh, ask) != named(cluster_, ask)) return "what the index names";
    if (list(Usable{fresh, classes_, Usable::Reading::Places}.supply()) != list(usable_->supply())) return "supply";
    return {};
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  std::int64_t near(std::size_t edge) { return static_cast<std::int64_t>(edge + below(3)) - 1; }
  template <class T>
  const T& one_of(const std::vector<T>& all) {
    return all[below(all.size())];
  }
  std::vector<NodeIndex> present() const {
    std::vector<NodeIndex> nodes;
    for (NodeIndex node = 0; node < book_.size(); ++node)
      if (book_[node]) nodes.push_back(node);
    return nodes;
  }
  PodAsk some_ask() {
    PodAsk ask{.count = static_cast<unsigned>(one_of(std::vector<int>{0, 1, 1, 1, 1, 2, 3, 8, 9}))};
    ask.share = one_of(std::vector<Share>{0, 50, 100, 101, 250, 500, 999, 1000, 1000});
    ask.memory = Bytes{one_of(std::vector<std::uint64_t>{0, 0, 1, 3, 8, 40}) << 30U};
    ask.exclusive = below(5) == 0;
    ask.models = one_of(std::vector<Models>{kAnyModel, kAnyModel, 1, 2, 5, 8});
    ask.cpu_milli = static_cast<std::int64_t>(below(4) * 2500);
    ask.host_memory = Bytes{below(4) << 30U};
    return ask;
  }
  ClusterNode some_node_to_add() {
    ClusterNode node{.name = fmt::format("n{}", below(1000)),
                     .cpu_milli = static_cast<std::int64_t>(below(5) * 20'000),
                     .host_memory = Bytes{below(64) << 30U},
                     .devices = {}};
    node.devices.resize(one_of(std::vector<std::size_t>{0, 1, 2, 4, 8, 8, 16, 64}));
    const Bytes memory{one_of(std::vector<std::uint64_t>{0, 16, 80}) << 30U};
    for (ClusterDevice& device : node.devices)
      device = {.memory = memory,
                .slots = one_of(std::vector<unsigned>{1, 4, 10}),
                .model = static_cast<unsigned>(below(3)),
                .healthy = below(8) != 0};
    return node;
  }
  static Booked booked(const ClusterNode& node) {
    Booked one{.node = node, .free = {}, .cpu_milli = node.cpu_milli, .host_memory = node.host_memory, .live = {}};
    for (const ClusterDevice& device : node.devices)
      one.free.push_back({.memory = device.memory, .healthy = device.healthy});
    return one;
  }

  void add() {
    const ClusterNode node = some_node_to_add();
    const NodeIndex index = cluster_.add_node(node).value();
    if (index >= book_.size()) book_.resize(index + 1);
    EXPECT_FALSE(book_[index]) << "two nodes at one index";
    book_[index] = booked(node);
    follow(index);
  }
  void set_node() {
    const auto nodes = present();
    if (nodes.empty()) return;
    const NodeIndex index = one_of(nodes);
    ClusterNode node = some_node_to_add();
    if (below(4) == 0) {
      node.devices.resize(kMaxNodeDevices + 1);
      EXPECT_FALSE(cluster_.set_node(index, node));
      return;
    }
    EXPECT_TRUE(cluster_.set_node(index, node));
    book_[index] = booked(node);
    follow(index);
  }
  void remove() {
    const auto nodes = present();
    if (nodes.empty()) return;
    const NodeIndex index = one_of(nodes);
    cluster_.remove_node(index);
    EXPECT_FALSE(cluster_.set_node(index, ClusterNode{}));
    book_[index].reset();
    follow(index);
  }
  void set_free() {
    const auto nodes = present();
    if (nodes.empty()) return;
    const NodeIndex index = one_of(nodes);
    Booked& one = *book_[index];
    if (one.free.empty()) return;
    const std::size_t device = below(one.free.size());
    const FreeOfDevice free{.share = static_cast<Share>(near(below(14) * 100)) - 100,
                            .memory = Bytes{below(100) << 30U},
                            .grants = static_cast<unsigned>(below(6)),
                            .healthy = below(6) != 0};
    cluster_.set_free(index, device, free);
    one.free[device] = {.share = std::clamp(free.share, 0, kWholeDevice),
                        .memory = std::min(free.memory, one.node.devices[device].memory),
                        .grants = std::min(free.grants, one.node.devices[device].slots),
                        .healthy = free.healthy};
    one.live.clear();
    follow(index);
  }
  void set_host_free() {
    const auto nodes = present();
    if (nodes.empty()) return;
    const NodeIndex index = one_of(nodes);
    Booked& one = *book_[index];
    const std::int64_t cpu = near(below(40) * 2500) - 10'000;
    const Bytes memory{below(80) << 30U};
    cluster_.set_host_free(index, cpu, memory);
    one.cpu_milli = std::clamp<std::int64_t>(cpu, 0, one.node.cpu_milli);
    one.host_memory = std::min(memory, one.node.host_memory);
    one.live.clear();
    follow(index);
  }
  void set_healthy() {
    const auto nodes = present();
    if (nodes.empty()) return;
    const NodeIndex index = one_of(nodes);
    Booked& one = *book_[index];
    if (one.free.empty()) return;
    const std::size_t device = below(one.free.size());
    one.free[device].healthy = !one.free[device].healthy;
    cluster_.set_healthy(index, device, one.free[device].healthy);
    follow(index);
  }
  void take() {
    const PodAsk ask = some_ask();
    std::vector<NodeIndex> fitting;
    for (const NodeIndex node : present())
      if (cluster_.fits(node, ask)) fitting.push_back(node);
    if (fitting.empty()) return;
    Spot spot{.node = one_of(fitting), .devices = 0};
    for (unsigned left = ask.count; left > 0; --left) {
      std::vector<std::size_t> open;
      for_each_device(cluster_.fitting_devices(spot.node, ask) & ~spot.devices,
                      [&](std::size_t device) { open.push_back(device); });
      spot.devices |= Devices{1} << one_of(open);
    }
    EXPECT_TRUE(cluster_.valid(ask, spot));
    cluster_.take(ask, spot);
    book_[spot.node]->live.emplace_back(ask, spot);
    enter(ask, spot, 1);
  }
  void give_back() {
    for (const NodeIndex node : present()) {
      auto& live = book_[node]->live;
      if (live.empty() || below(2) == 0) continue;
      const auto chosen = live.begin() + static_cast<std::ptrdiff_t>(below(live.size()));
      const auto [ask, spot] = *chosen;
      live.erase(chosen);
      cluster_.give_back(ask, spot);
      return enter(ask, spot, -1);
    }
  }
  void enter(const PodAsk& ask, const Spot& spot, int sign) {
    Booked& one = *book_[spot.node];
    one.cpu_milli -= sign * ask.cpu_milli;
    one.host_memory =
        Bytes{sign > 0 ? one.host_memory.count - ask.host_memory.count : one.host_memory.count + ask.host_memory.count};
    for_each_device(spot.devices, [&](std::size_t device) {
      FreeOfDevice& free = one.free[device];
      const ClusterDevice& whole = one.node.devices[device];
      const std::uint64_t memory = ask.exclusive ? whole.memory.count : ask.memory.count;
      free.share -= sign * (ask.exclusive ? kWholeDevice : ask.share);
      free.memory = Bytes{sign > 0 ? free.memory.count - memory : free.memory.count + memory};
      const int grants = sign * (ask.exclusive ? static_cast<int>(whole.slots) : 1);
      free.grants = static_cast<unsigned>(static_cast<int>(free.grants) + grants);
    });
    follow(spot.node);
  }
  void follow(NodeIndex node) {
    if (usable_) usable_->refresh(node);
  }

  std::string wrong_on(NodeIndex node) const {
    if (cluster_.present().contains(node) != book_[node].has_value()) return "there or not there";
    if (!book_[node]) {
      return cluster_.device_count(node) == 0 && !cluster_.fits(node, PodAsk{}) ? "" : "removed, and of use";
    }
    const Booked& one = *book_[node];
    if (cluster_.node_name(node) != one.node.name) return "name";
    if (cluster_.cpu_free(node) != one.cpu_milli || one.cpu_milli < 0) return "CPU";
    if (cluster_.host_memory_free(node) != one.host_memory.count || one.host_memory > one.node.host_memory)
      return "host memory";
    if (cluster_.device_count(node) != one.free.size()) return "count of devices";
    std::int64_t compute = 0;
    for (std::size_t device = 0; device < one.free.size(); ++device) {
      const FreeOfDevice& free = one.free[device];
      compute += free.share;
      if (free.share < 0 || free.share > kWholeDevice || cluster_.free_shares(node)[device] != free.share)
        return fmt::format("share of device {}", device);
      if (free.memory > one.node.devices[device].memory || cluster_.free_memory(node)[device] != free.memory.count)
        return fmt::format("memory of device {}", device);
      if (free.grants > one.node.devices[device].slots || cluster_.grants(node)[device] != free.grants)
        return fmt::format("grants on device {}", device);
      if ((cluster_.healthy(node)[device] != 0) != free.healthy) return fmt::format("health of device {}", device);
      if (cluster_.device_models(node)[device] != one.node.devices[device].model) return "model";
    }
    return cluster_.compute_free(node) == compute ? "" : "sum of shares";
  }

  static std::vector<NodeIndex> named(const Cluster& cluster, const PodAsk& ask) {
    std::vector<NodeIndex> nodes;
    cluster.for_each_that_may_fit(ask, nullptr, nullptr, [&](NodeIndex node) { nodes.push_back(node); });
    return nodes;
  }
  std::string wrong_with_index(const PodAsk& ask) {
    NodeSet among;
    NodeSet except;
    for (const NodeIndex node : present()) {
      if (below(2) == 0) among.add(node);
      if (below(4) == 0) except.add(node);
    }
    NodeSet seen;
    cluster_.for_each_that_may_fit(ask, &among, &except, [&](NodeIndex node) { seen.add(node); });
    for (NodeIndex node = 0; node < book_.size(); ++node) {
      if (seen.contains(node) && (!book_[node] || !among.contains(node) || except.contains(node)))
        return fmt::format("index names node {}, which was not asked for", node);
      if (among.contains(node) && !except.contains(node) && cluster_.fits(node, ask) && !seen.contains(node))
        return fmt::format("index hides node {}", node);
    }
    return {};
  }

  std::mt19937_64 random_;
  Cluster cluster_;
  std::vector<std::optional<Booked>> book_;
  std::vector<AskClass> classes_;
  std::optional<Usable> usable_;
};

// How far the steps went well, and what was wrong then.
std::string wrong_after(std::uint64_t seed, std::size_t steps) {
  constexpr std::size_t kCompareEvery = 16;
  Changes changes{seed};
  for (std::size_t step = 0; step < steps; ++step) {
    changes.step();
    std::string wrong = changes.wrong();
    if (wrong.empty() && step % kCompareEvery == 0) wrong = changes.unlike_new();
    if (!wrong.empty()) return fmt::format("seed {}, step {}: {}", seed, step, wrong);
  }
  return changes.unlike_new();
}

RC_GTEST_PROP(ClusterChanges, LeaveTheClusterAsTheBookSaysWithNothingBeyondItsCapacity, ()) {
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  const auto steps = *rc::gen::inRange<std::size_t>(0, 100);
  const std::string wrong = wrong_after(seed, steps);
  RC_ASSERT(wrong == "");
}

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(ClusterChanges, LeaveTheClusterAsTheBookSaysInALongRun) {
  const bool longer = std::getenv("KIBOKO_CLUSTER_STEPS") != nullptr;
  const std::size_t steps = number("KIBOKO_CLUSTER_STEPS", 10'000);
  ASSERT_GT(steps, 0U);
  EXPECT_EQ(wrong_after(number("KIBOKO_CLUSTER_SEED", longer ? std::random_device{}() : 1), steps), "");
}

TEST(Cluster, TheIndexOfARemovedNodeGoesToTheNext) {
  Cluster cluster;
  add_node(cluster, 2, 16);
  const NodeIndex removed = add_node(cluster, 4, 16);
  add_node(cluster, 2, 16);
  cluster.remove_node(removed);
  cluster.remove_node(removed);
  EXPECT_EQ(cluster.devices(), 4U);
  EXPECT_EQ(add_node(cluster, 8, 16), removed);
  EXPECT_EQ(cluster.nodes(), 3U);
  EXPECT_EQ(cluster.compute_capacity(), 12'000);
}

TEST(Cluster, AnExclusiveAskPassesOverADeviceThatIsEmptyButNotWholly) {
  Cluster cluster;
  const NodeIndex node = add_node(cluster, 2, 16, "A", {.memory = 16_GiB});
  cluster.set_free(node, 0, {.share = 900, .memory = 16_GiB});
  cluster.set_free(node, 1, {.share = 1000, .memory = 15_GiB});
  EXPECT_FALSE(cluster.fits(node, {.count = 1, .exclusive = true}));
  EXPECT_EQ(cluster.refusal(node, {.count = 1, .exclusive = true}), NodeRefusal::Occupied);
}

TEST(NodeSet, HasWhatWasAddedInOrder) {
  NodeSet nodes{130, 3, 64};
  nodes.add(63);
  nodes.remove(3);
  nodes.remove(100'000);
  std::vector<NodeIndex> seen;
  nodes.for_each([&](NodeIndex node) { seen.push_back(node); });
  EXPECT_THAT(seen, testing::ElementsAre(63, 64, 130));
  EXPECT_EQ(nodes.count(), 3U);
  EXPECT_FALSE(nodes.contains(100'000));
}

}  // namespace
}  // namespace kiboko
