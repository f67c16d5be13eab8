#include "vendors/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vendors/text_template.h"

namespace kiboko::vendors {
namespace {

using testing::HasSubstr;

bool knows(std::string_view name) { return name == "count" || name == "cores" || name == "memory" || name == "kind"; }

std::optional<std::int64_t> values(std::string_view name) {
  if (name == "count") return 3;
  if (name == "cores") return 100;
  if (name == "kind=online") return 1;
  return std::nullopt;
}

Result<std::int64_t> value_of(std::string_view text) {
  const auto expression = Expression::parse(text, knows);
  if (!expression) return tl::unexpected(expression.error());
  return expression->evaluate(values);
}

TEST(Expression, OperatorsBindAsUsual) {
  const std::pair<const char*, std::int64_t> rows[] = {
      {"1 + 2 * 3", 7},
      {"(1 + 2) * 3", 9},
      {"10 - 4 - 3", 3},
      {"7 / 2 % 2", 1},
      {"-count + 5", 2},
      {"count >= 3 && cores < 101", 1},
      {"count == 4 || cores != 100", 0},
      {"!has(memory) && has(count)", 1},
      {"has(memory) && memory > 5", 0},
      {"!has(memory) || memory > 5", 1},
      {"in(count, 1, 2, 3)", 1},
      {"in(count, 1, 2, 4)", 0},
      {"min(count, 2) + max(1, 2)", 4},
      {"bits(4)", 15},
      {"is(kind, online)", 1},
      {"is(kind, offline)", 0},
      {"!!count", 1},
  };
  for (const auto& [text, value] : rows) EXPECT_EQ(value_of(text).value(), value) << text;
}

TEST(Expression, FaultsAreNamed) {
  const std::pair<const char*, const char*> rows[] = {
      {"", "ends too early"},
      {"1 +", "ends too early"},
      {"1 2", "column 3"},
      {"bananas > 1", "there is no 'bananas'"},
      {"has(bananas)", "there is no 'bananas'"},
      {"sum(1)", "there is no function 'sum'"},
      {"min(1)", "does not take 1"},
      {"9999999999999999999", "too large"},
      {"count / (count - 3)", "division by zero"},
      {"9223372036854775807 + 1", "overflow"},
      {"9223372036854775807 * 2", "overflow"},
      {"bits(63)", "63 bits"},
      {"memory + 1", "memory is not known"},
  };
  for (const auto& [text, said] : rows) {
    const auto value = value_of(text);
    ASSERT_FALSE(value) << text;
    EXPECT_THAT(value.error().message, HasSubstr(said)) << text;
  }
}

TEST(Expression, NoTextIsTooDeep) {
  EXPECT_THAT(value_of(std::string(200, '(')).error().message, HasSubstr("nested too deep"));
  EXPECT_THAT(value_of(std::string(200, '!')).error().message, HasSubstr("nested too deep"));
  EXPECT_THAT(value_of(std::string(10'000, '1')).error().message, HasSubstr("longer than"));
}

Result<std::string> filled_in(std::string_view text) {
  const auto made = TextTemplate::parse(text, [](std::string_view) { return true; });
  if (!made) return tl::unexpected(made.error());
  return made->fill([](std::string_view name) -> std::optional<std::string> {
    if (name == "id") return "GPU \"0\"";
    if (name == "memory") return "5120";
    if (name == "zero") return "0";
    return std::nullopt;
  });
}

TEST(TextTemplate, PlacesAreFilledIn) {
  EXPECT_EQ(filled_in("a ${id} b").value(), "a GPU \"0\" b");
  EXPECT_EQ(filled_in("${memory / 256}${none}").value(), "20");
  EXPECT_EQ(filled_in(R"({"UUID":${json(id)}${member(temp, none)}${member(id, id)}})").value(),
            R"({"UUID":"GPU \"0\"","id":"GPU \"0\""})");
  EXPECT_EQ(filled_in("${number(a, memory)}${number(b, zero)}").value(), R"(,"a":5120)");
  EXPECT_EQ(filled_in("").value(), "");
}

TEST(TextTemplate, FaultsAreNamed) {
  EXPECT_THAT(filled_in("${id").error().message, HasSubstr("not closed"));
  EXPECT_THAT(filled_in("${none / 2}").error().message, HasSubstr("none is not known"));
  EXPECT_THAT(filled_in("${member(id)}").error().message, HasSubstr("needs a key and a name"));
}

}  // namespace
}  // namespace kiboko::vendors
