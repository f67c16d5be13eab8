// The library as a guest of programs that do what programs seldom do. The work is done by guest_program.cc.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "region/layout.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

class Visit : public OnDriver {
 protected:
  void storm() { expect_well({"fork-storm", rounds(), std::to_string(kGiB)}); }

 private:
  static std::string rounds() { return sanitized() ? "10" : "40"; }
};
KIBOKO_ON_EVERY_DRIVER(Visit);

TEST_P(Visit, EndsWithAForkWhateverOtherThreadsWereAtThen) {
  tenant.grant({{0, kGiB}});
  storm();
}

TEST_P(Visit, EndsWithAForkWithoutAPageToo) {
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT"] = "1024m";
  tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.path("cache");
  storm();
}

// ---- at the end

// What the file of a region still shows as charged, by both of its parts.
std::uint64_t left_in(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  const std::string file = bytes.str();
  if (file.size() != region::kRegionBytes) return ~0ULL;
  const auto& hami = *reinterpret_cast<const region::HamiRegion*>(file.data());
  const auto& extension = *reinterpret_cast<const region::Extension*>(file.data() + region::kExtensionOffset);
  std::uint64_t left = 0;
  for (const region::ChargeGroup& group : extension.charges)
    for (const auto& word : group.charged[0]) left += word;
  for (const region::HamiSlot& slot : hami.slots) left += slot.used[0].total;
  return left;
}

// A slot that belongs to nobody holds nothing.
TEST_P(Visit, LeavesNoChargeBehindWhenItEndsWithThreadsAtWork) {
  tenant.grant({{0, kGiB}});
  for (int round = 0; round < 5; ++round) {
    const Ended ended = guest({"exit-busy"});
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
    ASSERT_EQ(left_in(tenant.region_path()), 0u) << "after round " << round;
  }
}

// ---- what it costs

// Memory of the process's own at each stage, in KiB.
std::map<std::string, long> private_memory(const Ended& ended) {
  std::map<std::string, long> stages;
  for (const std::string& line : lines_of(ended.out)) {
    std::istringstream in(line);
    std::string stage;
    in >> stage >> stages[stage];
  }
  return stages;
}

TEST_P(Visit, CostsLittleMemoryOfTheProcess) {
  if (sanitized()) GTEST_SKIP() << "a sanitizer takes memory of its own";
  tenant.grant({{0, kGiB, 50}});
  // The most of three runs each: a machine that takes pages back makes a run look smaller, never larger.
  const auto most = [&] {
    std::map<std::string, long> stages;
    for (int run = 0; run < 3; ++run)
      for (const auto& [stage, kib] : private_memory(guest({"private-memory"})))
        stages[stage] = std::max(stages[stage], kib);
    return stages;
  };
  const auto with = most();
  tenant.with_shim(false);
  tenant.environment.erase("KIBOKO_GRANT");
  const auto without = most();
  ASSERT_EQ(with.size(), 4u);
  ASSERT_EQ(without.size(), 4u);
  for (const auto& [stage, kib] : with) EXPECT_LE(kib - without.at(stage), 200) << stage << ": " << kib << " KiB";
}

}  // namespace
}  // namespace kiboko::shim_test
