#include "cli/ask_flags.h"

#include <gmock/gmock.h>

namespace kiboko::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Result<Ask> ask(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--", "prog"});
  return parse(arguments, kAskFlags, Words::Program).and_then(read_ask);
}

TEST(Ask, WithoutNumbersLeavesThemToTheAgent) {
  const Ask plain = ask({}).value();
  EXPECT_FALSE(plain.memory || plain.memory_percent || plain.cores);
  EXPECT_EQ(plain.count, 1U);
}

TEST(Ask, TellsDecimalUnitsFromBinaryOnes) {
  EXPECT_EQ(ask({"-m", "10GB"})->memory, Bytes{10'000'000'000U});
  EXPECT_EQ(ask({"-m", "10GiB"})->memory, Bytes{10'737'418'240U});
  EXPECT_EQ(ask({"-m", "10Gi"})->memory, Bytes{10'737'418'240U});
  EXPECT_EQ(ask({"-m", "1073741824"})->memory, Bytes{1'073'741'824U});
}

TEST(Ask, TakesMemoryInPercent) {
  const Ask quarter = ask({"--memory", "25%"}).value();
  EXPECT_EQ(quarter.memory_percent, 25U);
  EXPECT_EQ(quarter.memory, std::nullopt);
}

TEST(Ask, TakesDevicesOneByOneOrInAList) {
  EXPECT_THAT(ask({"-d", "0,1", "-d", "GPU-7"})->devices, ElementsAre("0", "1", "GPU-7"));
}

struct Wrong {
  std::vector<std::string> arguments;
  std::string says;
};
class WrongAsk : public testing::TestWithParam<Wrong> {};
TEST_P(WrongAsk, IsRefusedWithAnExample) {
  const auto result = ask(GetParam().arguments);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::Invalid);
  EXPECT_THAT(result.error().message, HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(
    Table, WrongAsk,
    testing::Values(Wrong{{"-m", "10XB"}, "write it like 4GiB"}, Wrong{{"-m", ""}, "--memory: ''"},
                    Wrong{{"-m", "much"}, "--memory: 'much'"}, Wrong{{"-m", "-4GiB"}, "--memory: '-4GiB'"},
                    Wrong{{"-m", "4"}, "'4' is 4 bytes, too little"}, Wrong{{"-m", "0%"}, "not between 1 and 100"},
                    Wrong{{"-m", "101%"}, "--memory: '101%'"}, Wrong{{"-c", "0"}, "not between 1 and 100"},
                    Wrong{{"-c", "lots"}, "write it like 30 or 30%"}, Wrong{{"-n", "0"}, "number of devices"},
                    Wrong{{"-n", "17"}, "from 1 to 16"}, Wrong{{"-d", "0,"}, "--device: empty"},
                    Wrong{{"-x", "-m", "4GiB"}, "leave out --memory"},
                    Wrong{{"--policy", "hard"}, "none of default, force, disable, elastic"}));

}  // namespace
}  // namespace kiboko::cli
