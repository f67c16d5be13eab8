// A host whose device has no memory of its own: shares are parts of the host's memory.
#include "node/host_memory.h"
#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

class UnifiedMemory : public OneHost {
 protected:
  UnifiedMemory() { spec = "1xGB10"; }
};

TEST_F(UnifiedMemory, IsSharedLikeADevicesOwn) {
  start_agent();
  const std::uint64_t total = read_host_memory().value().total.count;
  EXPECT_EQ(device()["total_bytes"], total);
  EXPECT_EQ(device()["unified_memory"], true);
  EXPECT_EQ(device()["health"], "healthy");
  EXPECT_GT(device()["used_bytes"], 0U);
  EXPECT_THAT(kiboko({"devices"}).out, HasSubstr("NVIDIA GB10 (host's memory)"));

  Child share = tenant({"--memory", "2GiB"});
  EXPECT_EQ(memory_of(share).total, 2 * kGiB);
  EXPECT_EQ(memory_of(share).device_total, 2 * kGiB);
  EXPECT_EQ(allocate(share, kGiB), 0);
  EXPECT_EQ(allocate(share, kGiB), kOutOfMemory);
  const std::uint64_t used = 2 * kGiB - memory_of(share).free;
  const std::string id = grant_of(share);
  EXPECT_TRUE(eventually([&] { return grant(id)["devices"][0]["used_bytes"] == used; })) << grant(id);
  EXPECT_EQ(granted_bytes(), 2 * kGiB);
  EXPECT_THAT(kiboko({"ps"}).out, AllOf(HasSubstr(id), HasSubstr("/ 2.0 GiB")));
}

TEST_F(UnifiedMemory, MoreThanTheHostHasIsRefused) {
  start_agent();
  const std::string more = std::to_string(read_host_memory().value().total.count / kMiB + 1) + "MiB";
  const Ended refused = kiboko({"run", "--no-wait", "--memory", more, "--", "/bin/true"});
  EXPECT_EQ(refused.exit_code(), 125);
  EXPECT_THAT(refused.err, HasSubstr("memory"));
}

TEST_F(UnifiedMemory, ADeviceThatFailsToTellItsMemoryDoesNotTakeTheOtherAway) {
  spec = "1xGB10,1xA10-24GB";
  environment["KIBOKO_SIM_NVML_FAULT"] = "nvmlDeviceGetMemoryInfo=999@1";  // the first device's, once
  start_agent();
  EXPECT_THAT(call("GET", "/api/v1/devices").second["devices"], SizeIs(2));
  EXPECT_EQ(device(1)["health"], "healthy");
  EXPECT_TRUE(eventually([&] { return device(0)["health"] == "healthy"; })) << device(0);
  EXPECT_EQ(device(0)["unified_memory"], true);
}

}  // namespace
}  // namespace kiboko::host_test
