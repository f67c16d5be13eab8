// A decision allocates nothing for an ask that was there before, and neither does a change of what is free.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "sched/cluster_values.h"
#include "sched/policy.h"

namespace {
std::size_t allocations = 0;
}

// Of this test program alone.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc{};
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace kiboko {
namespace {

using namespace testing_values;

class Allocations : public testing::TestWithParam<Policy> {};
TEST_P(Allocations, AreNoneForAnAskSeenBefore) {
  Cluster cluster;
  for (int i = 0; i < 200; ++i) add_node(cluster, 8, 96, "A", {.memory = 80_GiB});
  AskMix mix;
  mix.add(pod(1, 250), 50);
  mix.add(pod(8, 1000), 50);
  Placer placer{cluster, GetParam()};
  placer.expect(mix);
  const auto round = [&] {
    for (const PodAsk& ask : {pod(1, 250), pod(8, 1000)}) {
      const NodeIndex node = placer.rank(ask).front().node;
      const Share left = cluster.free_shares(node)[0] == kWholeDevice ? 500 : kWholeDevice;
      cluster.set_free(node, 0, {.share = left, .memory = 40_GiB, .grants = 1});
      cluster.set_host_free(node, left * 90, 512_GiB);
      placer.changed(node);
      placer.take(ask, placer.choose(ask).value());
    }
  };
  round();
  round();
  const std::size_t before = allocations;
  for (int i = 0; i < 5; ++i) round();
  EXPECT_EQ(allocations, before);
}
INSTANTIATE_TEST_SUITE_P(Policies, Allocations,
                         testing::Values(Policy::Binpack, Policy::Spread, Policy::HamiDefault, Policy::BestFit,
                                         Policy::Fgd, Policy::Supply),
                         [](const auto& policy) {
                           std::string text{name(policy.param)};
                           std::erase(text, '-');
                           return text;
                         });

}  // namespace
}  // namespace kiboko
