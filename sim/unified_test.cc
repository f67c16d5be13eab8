// A device without memory of its own.
#include <gmock/gmock.h>

#include "spec.h"
#include "test_driver.h"

namespace sim::test {
namespace {

using testing::HasSubstr;

TEST(Unified, ItsMemoryIsTheHosts) {
  const DeviceSet set("1xGB10");
  Child child([&] {
    CUcontext context = nullptr;
    int integrated = 0;
    std::size_t device_total = 0, free = 0, total = 0;
    ASSERT_EQ(cuInit(0), kOk);
    ASSERT_EQ(cuDeviceGetAttribute(&integrated, 18, 0), kOk);
    EXPECT_EQ(integrated, 1);
    ASSERT_EQ(cuDeviceTotalMem_v2(&device_total, 0), kOk);
    ASSERT_EQ(cuCtxCreate_v2(&context, 0, 0), kOk);
    ASSERT_EQ(cuMemGetInfo_v2(&free, &total), kOk);
    EXPECT_EQ(total, host_memory().total);
    EXPECT_EQ(device_total, total);
    EXPECT_LT(free, total) << "the host uses some of it";
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, total), CUDA_ERROR_OUT_OF_MEMORY);
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(Unified, OtherDevicesAreNot) {
  const DeviceSet set("1xH100-80GB");
  Child child([&] {
    int integrated = 1;
    ASSERT_EQ(cuInit(0), kOk);
    ASSERT_EQ(cuDeviceGetAttribute(&integrated, 18, 0), kOk);
    EXPECT_EQ(integrated, 0);
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(Unified, ItsMemoryCannotBeChosen) {
  std::vector<DeviceSpec> specs;
  std::string error;
  EXPECT_FALSE(parse_devices_yaml("- product: GB10\n  memory_mib: 4096\n", specs, error));
  EXPECT_THAT(error, HasSubstr("host's memory"));
  EXPECT_TRUE(parse_devices("GB10", specs, error)) << error;
}

}  // namespace
}  // namespace sim::test
