#include "cli/flags.h"

#include <gmock/gmock.h>

namespace kiboko::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr Flag kFlags[] = {{"memory", 'm', "SIZE"},
                           {"device", 'd', "UUID", {}, {}, true},
                           {"policy", 0, "POLICY", {}, "default|force"},
                           {"exclusive", 'x'}};

Result<Given> given(std::vector<std::string> arguments, Words words = Words::Optional) {
  return parse(arguments, kFlags, words);
}

TEST(Flags, AreReadInEachSpelling) {
  for (const auto& spelling :
       std::vector<std::vector<std::string>>{{"--memory", "4GiB"}, {"--memory=4GiB"}, {"-m", "4GiB"}, {"-m=4GiB"}})
    EXPECT_EQ(given(spelling)->value("memory"), "4GiB") << spelling.front();
}

TEST(Flags, KeepTheOrderOfWhatIsRepeatedAndTheLastOfWhatIsNot) {
  const auto both = given({"-d", "0", "-m", "1GiB", "--device=1", "-m", "2GiB"}).value();
  EXPECT_THAT(both.values("device"), ElementsAre("0", "1"));
  EXPECT_EQ(both.value("memory"), "2GiB");
}

TEST(Flags, EndAtTheFirstWordOfAProgram) {
  const auto program = given({"-m", "1GiB", "python", "-m", "train", "--", "x"}, Words::Program).value();
  EXPECT_EQ(program.value("memory"), "1GiB");
  EXPECT_THAT(program.words, ElementsAre("python", "-m", "train", "--", "x"));
}

TEST(Flags, EndAtTwoDashes) {
  EXPECT_THAT(given({"-x", "--", "-m"}, Words::Program)->words, ElementsAre("-m"));
  EXPECT_THAT(given({"a", "--", "--memory"})->words, ElementsAre("a", "--memory"));
}

TEST(Flags, MayStandBehindWords) {
  const auto mixed = given({"g-1", "--exclusive", "g-2"}).value();
  EXPECT_TRUE(mixed.has("exclusive"));
  EXPECT_THAT(mixed.words, ElementsAre("g-1", "g-2"));
}

struct Wrong {
  std::vector<std::string> arguments;
  std::string says;
};
class WrongFlags : public testing::TestWithParam<Wrong> {};
TEST_P(WrongFlags, AreRefusedByName) {
  const auto result = given(GetParam().arguments, Words::None);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::Invalid);
  EXPECT_THAT(result.error().message, HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(Table, WrongFlags,
                         testing::Values(Wrong{{"--memmory", "4GiB"}, "'--memmory': did you mean '--memory'?"},
                                         Wrong{{"--mem=4GiB"}, "'--mem': did you mean '--memory'?"},
                                         Wrong{{"--zzz"}, "unknown option '--zzz'"},
                                         Wrong{{"-q"}, "unknown option '-q'"},
                                         Wrong{{"--memory"}, "--memory needs a value: --memory SIZE"},
                                         Wrong{{"--exclusive=yes"}, "--exclusive takes no value"},
                                         Wrong{{"--policy", "hard"}, "--policy: 'hard' is none of default, force"},
                                         Wrong{{"word"}, "unexpected argument 'word'"}));

TEST(Nearest, OffersNothingWhenNothingIsNear) {
  constexpr std::string_view kKnown[] = {"run", "ps", "devices"};
  EXPECT_EQ(nearest("rnu", kKnown), "run");
  EXPECT_EQ(nearest("device", kKnown), "devices");
  EXPECT_EQ(nearest("kubectl", kKnown), std::nullopt);
  EXPECT_EQ(nearest("x", kKnown), std::nullopt);
}

}  // namespace
}  // namespace kiboko::cli
