#include "base/text.h"

#include <gtest/gtest.h>

#include <limits>

namespace kiboko {
namespace {

using namespace std::chrono_literals;
using Parts = std::vector<std::string_view>;

TEST(Text, SizesUseBinaryUnits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(4ULL << 30U), "4.0 GiB");
  EXPECT_EQ(format_bytes((1ULL << 30U) - 1), "1.0 GiB");
  EXPECT_EQ(format_bytes(std::numeric_limits<std::uint64_t>::max()), "16.0 EiB");
}

TEST(Text, DurationsShowTheTwoUnitsThatMatter) {
  EXPECT_EQ(format_duration(0ns), "0 ns");
  EXPECT_EQ(format_duration(850ms), "850 ms");
  EXPECT_EQ(format_duration(12s), "12 s");
  EXPECT_EQ(format_duration(185s), "3 min 5 s");
  EXPECT_EQ(format_duration(2h + 4min + 59s), "2 h 4 min");
  EXPECT_EQ(format_duration(76h), "3 d 4 h");
  EXPECT_EQ(format_duration(-5s), "-5 s");
}

TEST(Text, TimesAreUtc) {
  const WallTime time{std::chrono::milliseconds{1'700'000'000'067}};
  EXPECT_EQ(format_time(time), "2023-11-14T22:13:20Z");
  EXPECT_EQ(format_time_millis(time), "2023-11-14T22:13:20.067Z");
}

TEST(Text, TrimTakesBothSides) {
  EXPECT_EQ(trim(" \ta b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
}

TEST(Text, SplitKeepsEmptyParts) {
  EXPECT_EQ(split("a,,b", ','), (Parts{"a", "", "b"}));
  EXPECT_EQ(split("", ','), (Parts{""}));
  EXPECT_EQ(split("a,", ','), (Parts{"a", ""}));
}

TEST(Text, JoinPutsTheSeparatorBetween) {
  EXPECT_EQ(join(Parts{"a", "b", "c"}, ", "), "a, b, c");
  EXPECT_EQ(join(Parts{}, ", "), "");
}

TEST(Text, NumbersMustMatchWhole) {
  EXPECT_EQ(parse_integer<int>("-12").value(), -12);
  EXPECT_EQ(parse_integer<unsigned>("12").value(), 12U);
  for (const char* bad : {"", " 1", "1 ", "12x", "+1", "0x10", "-1", "99999999999"})
    EXPECT_FALSE(parse_integer<std::uint32_t>(bad)) << bad;
}

TEST(Text, JsonEscapeKeepsUtf8AndReplacesTheRest) {
  EXPECT_EQ(json_escape("a\"b\\c\n"), "a\\\"b\\\\c\\u000a");
  EXPECT_EQ(json_escape("30 € 🦛"), "30 € 🦛");
  EXPECT_EQ(json_escape("\xff\xc0\x80\xe2\x82"), "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd");
  EXPECT_EQ(json_escape("\xed\xa0\x80"), "\\ufffd\\ufffd\\ufffd");  // a surrogate
}

TEST(Text, IsUtf8UpToWhereItIsNot) {
  EXPECT_EQ(valid_utf8("30 € 🦛"), std::string_view("30 € 🦛").size());
  EXPECT_EQ(valid_utf8(""), 0U);
  EXPECT_EQ(valid_utf8("a\xff b"), 1U);
  EXPECT_EQ(valid_utf8("a\xe2\x82"), 1U);
}

TEST(Text, OneLineLeavesNoControlCharacter) { EXPECT_EQ(one_line("a\nb\tc\x1b[2J\x7f"), "a\\nb\\tc\\x1b[2J\\x7f"); }

}  // namespace
}  // namespace kiboko
