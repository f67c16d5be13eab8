#include "sched/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/testing.h"

namespace kiboko {
namespace {

using namespace testing_values;
using testing::HasSubstr;

DeviceState sick(DeviceState state) {
  state.device.healthy = false;
  state.device.trouble = "fell off the bus";
  return state;
}
DeviceState full_of_grants(DeviceState state) { return holding(state, 64_MiB, 0, state.slots); }
DeviceState reserving(DeviceState state, Bytes reserve) {
  state.reserve = reserve;
  return state;
}
Ask of_type(std::string type) {
  Ask ask = asking(1_GiB);
  ask.type = std::move(type);
  return ask;
}
Ask on(std::string device) {
  Ask ask = asking(1_GiB);
  ask.devices = {std::move(device)};
  return ask;
}
Ask percent_of_memory(std::uint32_t percent) {
  Ask ask;
  ask.memory_percent = percent;
  return ask;
}

struct Row {
  const char* name;
  DeviceState state;
  Ask ask;
  std::optional<RefusalCode> refused;
  const char* sentence = "";
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class FitRules : public testing::TestWithParam<Row> {};
TEST_P(FitRules, SayWhatFitsAndWhyNot) {
  const auto refusal = refusal_on(GetParam().state, GetParam().ask);
  ASSERT_EQ(refusal.has_value(), GetParam().refused.has_value());
  if (!refusal) return;
  EXPECT_EQ(refusal->code, *GetParam().refused);
  EXPECT_THAT(refusal->sentence, HasSubstr("device 0 (GPU-0): "));
  EXPECT_THAT(refusal->sentence, HasSubstr(GetParam().sentence));
}
INSTANTIATE_TEST_SUITE_P(
    Fit, FitRules,
    testing::Values(
        Row{"Empty", gpu(0), asking(80_GiB, 100), {}}, Row{"Default", gpu(0), Ask{}, {}},
        Row{"LastByte", holding(gpu(0), 70_GiB), asking(10_GiB), {}},
        Row{"OneByteShort", holding(gpu(0), 70_GiB + Bytes{1}), asking(10_GiB), RefusalCode::Memory,
            "asked 10737418240 B, 10737418239 B free"},
        Row{"Memory", holding(gpu(0), 76_GiB), asking(10_GiB), RefusalCode::Memory, "asked 10.0 GiB, 4.0 GiB free"},
        Row{"Reserve", reserving(gpu(0), 1_GiB), asking(80_GiB), RefusalCode::Memory, "79.0 GiB free"},
        Row{"QuarterLeft", holding(gpu(0), 60_GiB), Ask{}, {}},
        Row{"NoQuarterLeft", holding(gpu(0), 61_GiB), Ask{}, RefusalCode::Memory, "asked 20.0 GiB, 19.0 GiB free"},
        Row{"Percent", holding(gpu(0), 50_GiB), percent_of_memory(50), RefusalCode::Memory, "asked 40.0 GiB"},
        Row{"LastCore", holding(gpu(0), 1_GiB, 70), asking(1_GiB, 30), {}},
        Row{"Cores", holding(gpu(0), 1_GiB, 71), asking(1_GiB, 30), RefusalCode::Cores, "asked 30 %"},
        Row{"NoCoreLimit", holding(gpu(0), 1_GiB, 100), asking(1_GiB), {}}, Row{"Whole", gpu(0), asking_whole(), {}},
        Row{"WholeNotEmpty", holding(gpu(0), 1_GiB), asking_whole(), RefusalCode::Exclusive,
            "one grant already shares it"},
        Row{"HeldWhole", held_whole(gpu(0)), asking(1_GiB), RefusalCode::Exclusive, "granted whole"},
        Row{"Slots", full_of_grants(gpu(0)), asking(1_GiB), RefusalCode::Slots, "64 grants"},
        Row{"Sick", sick(gpu(0)), asking(1_GiB), RefusalCode::Unhealthy, "fell off the bus"},
        Row{"Type", gpu(0), of_type("h100"), {}},
        Row{"OtherType", gpu(0), of_type("A100"), RefusalCode::Type, "asked for type A100"},
        Row{"ByIndex", gpu(0), on("0"), {}}, Row{"ByUuid", gpu(0), on("GPU-0"), {}},
        Row{"OtherDevice", gpu(0), on("1"), RefusalCode::Device, "not one of the devices"}),
    [](const auto& row) { return row.param.name; });

TEST(Fit, TheDefaultShareIsAQuarterOfTheMemoryAndNoComputeLimit) {
  const Need need = need_on(gpu(0), Ask{});
  EXPECT_EQ(need.memory, 20_GiB);
  EXPECT_EQ(need.cores, CorePercent{0});
  EXPECT_TRUE(uses_default_share(Ask{}));
  EXPECT_FALSE(uses_default_share(asking(1_GiB)));
}

TEST(Fit, HundredAndHundredPercentIsTheWholeDevice) {
  Ask ask = percent_of_memory(100);
  EXPECT_FALSE(wants_whole_device(ask));
  ask.cores = kAllCores;
  EXPECT_TRUE(wants_whole_device(ask));
  EXPECT_TRUE(need_on(gpu(0), ask).whole);
}

TEST(Fit, ShortageIsZeroExactlyWhenTheAskFits) {
  EXPECT_TRUE(shortage_on(holding(gpu(0), 70_GiB, 70), asking(10_GiB, 30)).none());
  const Shortage shortage = shortage_on(holding(gpu(0), 75_GiB, 80), asking(10_GiB, 30));
  EXPECT_EQ(shortage.memory, 5_GiB);
  EXPECT_EQ(shortage.cores, CorePercent{10});
  EXPECT_EQ(shortage_on(holding(gpu(0), 1_GiB, 0, 3), asking_whole()).grants_in_the_way, 3U);
}

}  // namespace
}  // namespace kiboko
