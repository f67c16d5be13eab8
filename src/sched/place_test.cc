#include "sched/place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/testing.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::size_t> picked(const std::vector<DeviceState>& states, const Ask& ask) {
  std::vector<std::size_t> positions;
  const auto placement = place(states, ask);
  if (!placement) return positions;
  for (const PlacedDevice& placed : placement->devices) positions.push_back(placed.position);
  return positions;
}
Refusal refused(const std::vector<DeviceState>& states, const Ask& ask) {
  const auto placement = place(states, ask);
  return placement ? Refusal{} : placement.error();
}

TEST(Place, TheFullestDeviceThatStillFitsIsTaken) {
  EXPECT_THAT(picked({gpu(0), holding(gpu(1), 40_GiB), holding(gpu(2), 75_GiB)}, asking(10_GiB)), ElementsAre(1));
}

TEST(Place, EmptyDevicesAreTakenInTheirOrder) { EXPECT_THAT(picked({gpu(0), gpu(1)}, asking(1_GiB)), ElementsAre(0)); }

TEST(Place, FullnessIsAShareAndNotAnAmount) {
  EXPECT_THAT(picked({holding(gpu(0, 80_GiB), 10_GiB), holding(gpu(1, 16_GiB), 8_GiB)}, asking(1_GiB)), ElementsAre(1));
}

TEST(Place, SeveralDevicesGetTheStatedShareEach) {
  const auto placement = place(std::vector{gpu(0), gpu(1), gpu(2)}, asking(10_GiB, 20, 2)).value();
  ASSERT_EQ(placement.devices.size(), 2U);
  EXPECT_EQ(placement.devices[1].need.memory, 10_GiB);
  EXPECT_EQ(placement.devices[1].need.cores, CorePercent{20});
}

TEST(Place, ARefusalNamesTheDeviceThatCameNearest) {
  Ask ask = asking(10_GiB);
  ask.type = "H100";
  const Refusal refusal = refused({gpu(0, 80_GiB, "A100"), holding(gpu(1), 76_GiB)}, ask);
  EXPECT_EQ(refusal.code, RefusalCode::Memory);
  EXPECT_EQ(refusal.devices.size(), 2U);
  EXPECT_THAT(refusal.sentence, HasSubstr("device 1"));
  EXPECT_EQ(refusal.nearest, "6.0 GiB less memory would fit on device 1");
  EXPECT_TRUE(refusal.fits_when_free);
}

struct NearestRow {
  const char* name;
  std::vector<DeviceState> states;
  Ask ask;
  RefusalCode code;
  const char* nearest;
  bool fits_when_free;
};
void PrintTo(const NearestRow& row, std::ostream* out) { *out << row.name; }
Ask elsewhere() {
  Ask ask = asking(1_GiB);
  ask.type = "B200";
  return ask;
}

class Nearest : public testing::TestWithParam<NearestRow> {};
TEST_P(Nearest, ChangeIsNamed) {
  const Refusal refusal = refused(GetParam().states, GetParam().ask);
  EXPECT_EQ(refusal.code, GetParam().code);
  EXPECT_EQ(refusal.nearest, GetParam().nearest);
  EXPECT_EQ(refusal.fits_when_free, GetParam().fits_when_free);
}
INSTANTIATE_TEST_SUITE_P(
    Place, Nearest,
    testing::Values(
        NearestRow{"NoDevice", {}, asking(1_GiB), RefusalCode::NoDevices, "", false},
        NearestRow{"TooLarge",
                   {gpu(0)},
                   asking(100_GiB),
                   RefusalCode::Memory,
                   "20.0 GiB less memory would fit on device 0",
                   false},
        NearestRow{"Cores",
                   {holding(gpu(0), 1_GiB, 80)},
                   asking(1_GiB, 30),
                   RefusalCode::Cores,
                   "20 % of compute instead of 30 % would fit on device 0",
                   true},
        NearestRow{"NoCores",
                   {holding(gpu(0), 1_GiB, 100)},
                   asking(1_GiB, 30),
                   RefusalCode::Cores,
                   "no compute limit of its own would fit on device 0",
                   true},
        NearestRow{"Count",
                   {gpu(0), held_whole(gpu(1))},
                   asking(1_GiB, 30, 2),
                   RefusalCode::Count,
                   "1 device instead of 2 would fit",
                   true},
        NearestRow{
            "TooMany", {gpu(0)}, asking(1_GiB, 30, 2), RefusalCode::Count, "1 device instead of 2 would fit", false},
        NearestRow{
            "Type", {gpu(0)}, elsewhere(), RefusalCode::Type, "it would fit without naming a type or devices", false},
        NearestRow{"Whole",
                   {holding(gpu(0), 1_GiB)},
                   asking_whole(),
                   RefusalCode::Exclusive,
                   "a share of 25 % of the memory would fit",
                   true}),
    [](const auto& row) { return row.param.name; });

TEST(Place, AResizeMayUseWhatTheGrantHolds) {
  const DeviceState state = holding(gpu(0), 70_GiB, 90, 2);
  const Need held{10_GiB, CorePercent{30}, false};
  EXPECT_FALSE(resize_refusal(state, held, {20_GiB, CorePercent{40}, false}));
  EXPECT_EQ(resize_refusal(state, held, {21_GiB, CorePercent{30}, false})->code, RefusalCode::Memory);
  EXPECT_EQ(resize_refusal(state, held, {10_GiB, CorePercent{41}, false})->code, RefusalCode::Cores);
}

}  // namespace
}  // namespace kiboko
