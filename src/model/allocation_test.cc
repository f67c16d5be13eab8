#include "model/allocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/mig_allocation.h"
#include "model/quantity.h"

namespace kiboko {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Allocation, AnEmptyContainerKeepsItsPlace) {
  const auto slots = decode_allocation(";U1,DCU,2000,60:;").value();
  ASSERT_EQ(slots.size(), 3U);
  EXPECT_TRUE(slots[0].empty());
  EXPECT_EQ(slots[1][0], (ContainerDevice{{"U1"}, "DCU", {2000}, {60}}));
  EXPECT_TRUE(slots[2].empty());
  EXPECT_EQ(encode_allocation({slots.data(), 2}).value(), ";U1,DCU,2000,60:;");
}

TEST(Allocation, ThreeContainersTheMiddleOneEmpty) {
  constexpr const char* kText = "U1,NVIDIA,1024,30:;;U2,NVIDIA,2048,0:;";
  const auto slots = decode_allocation(kText).value();
  ASSERT_EQ(slots.size(), 4U);
  EXPECT_EQ(slots[2][0].memory, MiB{2048});
  EXPECT_EQ(encode_allocation({slots.data(), 3}).value(), kText);
}

TEST(Allocation, WhatAPluginHasServedIsEmpty) {
  EXPECT_EQ(decode_allocation(";;GPU-aa,NVIDIA,1024,10:;;").value().size(), 5U);
  EXPECT_TRUE(decode_allocation("").value().empty());
}

TEST(Allocation, MoreFieldsAndPiecesWithoutACommaArePassedOver) {
  const auto slots = decode_allocation("U1,NVIDIA,1024,10,new,newer:rest:;").value();
  EXPECT_EQ(slots[0], (ContainerDevices{{{"U1"}, "NVIDIA", {1024}, {10}}}));
}

TEST(Allocation, APciAddressIsPutTogetherAgain) {
  const std::vector<ContainerDevices> pod = {{{{"0000:3b:00.0"}, "XPU", {24576}, {25}}, {{"U2"}, "XPU", {1}, {1}}}};
  const std::string text = encode_allocation(pod).value();
  EXPECT_EQ(text, "0000:3b:00.0,XPU,24576,25:U2,XPU,1,1:;");
  EXPECT_EQ(decode_allocation(text).value()[0], pod[0]);
}

TEST(Allocation, AModelNameLosesItsSeparators) {
  const std::vector<ContainerDevices> pod = {{{{"U1"}, "AMD MI300X, 192 GB: OAM", {1}, {76}}}};
  EXPECT_EQ(encode_allocation(pod).value(), "U1,AMD MI300X_ 192 GB_ OAM,1,76:;");
}

TEST(Allocation, FaultsAreNamedByContainerAndByte) {
  EXPECT_THAT(decode_allocation(";U1,DCU,-5,60:;").error().message, HasSubstr("container 1: byte 8: memory"));
  EXPECT_THAT(decode_allocation("U1,DCU,5,60000000000:;").error().message, HasSubstr("byte 9: cores"));
  EXPECT_THAT(decode_allocation("U1,DCU,NaN,1:;").error().message, HasSubstr("'NaN'"));
  EXPECT_THAT(decode_allocation("U1,DCU,5:;").error().message, HasSubstr("has 3"));
  EXPECT_THAT(decode_allocation(std::string(1U << 20U, ';')).error().message, HasSubstr("1048576 bytes"));
  const std::vector<ContainerDevices> pod = {{{{"a,b"}, "T", {1}, {1}}}};
  EXPECT_THAT(encode_allocation(pod).error().message, HasSubstr("'a,b'"));
}

TEST(Allocation, AnOldMigIdNamesGpuGeometryAndPosition) {
  const auto old = parse_old_mig_uuid("GPU-x[2-1]");
  ASSERT_TRUE(old);
  EXPECT_EQ(old->gpu.text, "GPU-x");
  EXPECT_EQ(old->geometry, 2U);
  EXPECT_EQ(old->position, 1U);
  for (const char* other : {"GPU-x", "[1-2]", "GPU-x[1]", "GPU-x[1-2]y", "GPU-x[a-b]"})
    EXPECT_FALSE(parse_old_mig_uuid(other)) << other;
}

TEST(Allocation, ListsOfNamesAreTrimmed) {
  EXPECT_THAT(parse_name_list(" GPU-a, GPU-b ,,"), ElementsAre("GPU-a", "GPU-b"));
  EXPECT_TRUE(parse_name_list("  ").empty());
}

constexpr const char* kMig =
    R"([{"containerIndex":0,"deviceIndex":0,"gpuUUID":"GPU-aa","profile":"1g.5gb","placement":{"start":6,"size":1},)"
    R"("migUUID":"MIG-77","gpuInstanceID":13,"computeInstanceID":0}])";

TEST(MigAllocations, AreReadAndWrittenToTheSameBytes) {
  const auto allocations = decode_mig_allocations(kMig).value();
  ASSERT_TRUE(allocations[0].instance);
  EXPECT_EQ(allocations[0].instance->gpu_instance, 13U);
  EXPECT_EQ(allocations[0].placement, (MigPlacement{6, 1}));
  EXPECT_EQ(encode_mig_allocations(allocations), kMig);
  EXPECT_TRUE(decode_mig_allocations("").value().empty());
}

TEST(MigAllocations, AnythingIncompleteIsRefused) {
  const std::pair<const char*, const char*> rows[] = {
      {R"([{"gpuUUID":"g","profile":"p","placement":{"start":0,"size":0}}])", "no size"},
      {R"([{"gpuUUID":"g","profile":"p"}])", "no size"},
      {R"([{"profile":"p","placement":{"size":1}}])", "'gpuUUID' is missing"},
      {R"([{"gpuUUID":"g","placement":{"size":1}}])", "'profile' is missing"},
      {R"([{"containerIndex":-1,"gpuUUID":"g","profile":"p","placement":{"size":1}}])", "'containerIndex'"},
      {R"([{"gpuUUID":"g","profile":"p","placement":{"size":1},"migUUID":"m"}])", "belong together"},
      {R"([{"gpuUUID":"g","profile":"p","placement":{"size":1}},{"gpuUUID":"h","profile":"p","placement":{"size":1}}])",
       "allocation 1 of the list: device 0 of container 0 has one already"},
  };
  for (const auto& [text, said] : rows) {
    const auto allocations = decode_mig_allocations(text);
    ASSERT_FALSE(allocations) << text;
    EXPECT_THAT(allocations.error().message, HasSubstr(said));
  }
}

TEST(Quantity, SuffixesAndExponentsAreRead) {
  const std::pair<const char*, std::int64_t> rows[] = {{"0", 0},
                                                       {"3000", 3000},
                                                       {"3k", 3000},
                                                       {"2Gi", 2LL << 30},
                                                       {"1.5Gi", 3LL << 29},
                                                       {"1e3", 1000},
                                                       {"1E3", 1000},
                                                       {"2000m", 2},
                                                       {"12e-1", 0},
                                                       {"1Ei", 1LL << 60},
                                                       {"5.0", 5},
                                                       {"+7", 7},
                                                       {"9223372036854775807", INT64_MAX},
                                                       {"10e-1", 1},
                                                       {"4E", 4'000'000'000'000'000'000}};
  for (const auto& [text, amount] : rows) {
    const auto parsed = parse_quantity(text);
    if (amount == 0 && std::string_view(text) != "0")
      EXPECT_FALSE(parsed) << text;
    else
      EXPECT_EQ(parsed.value_or(-1), amount) << text;
  }
}

TEST(Quantity, WhatIsNoWholeAmountIsRefusedByName) {
  for (const char* text :
       {"", "-1", "NaN", "1.5", "500m", "10GB", "1 ", ".", "e3", "1e", "1e100", "9223372036854775808",
        "99999999999999999999999999999999999999999999", "9Ei", "1e99", "1e-99"}) {
    const auto parsed = parse_quantity(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr(std::string("'") + std::string(text).substr(0, 20)));
  }
}

TEST(Quantity, CpuIsCountedInThousandthsAndMemoryInBytesRoundedUp) {
  const std::tuple<const char*, std::int64_t, std::int64_t> rows[] = {{"0", 0, 0},
                                                                      {"2", 2000, 2},
                                                                      {"500m", 500, 1},
                                                                      {"0.1", 100, 1},
                                                                      {"1.0001", 1001, 2},
                                                                      {"1n", 1, 1},
                                                                      {"100u", 1, 1},
                                                                      {"1e3", 1'000'000, 1000},
                                                                      {"1500e-3", 1500, 2},
                                                                      {"1Ki", 1'024'000, 1024},
                                                                      {"128974848000m", 128'974'848'000, 128'974'848}};
  for (const auto& [text, milli, rounded] : rows) {
    EXPECT_EQ(parse_milli_quantity(text).value_or(-1), milli) << text;
    EXPECT_EQ(parse_rounded_quantity(text).value_or(-1), rounded) << text;
  }
  EXPECT_FALSE(parse_milli_quantity("9223372036854775807"));
  EXPECT_FALSE(parse_milli_quantity("-1"));
}

}  // namespace
}  // namespace kiboko
