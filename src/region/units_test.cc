#include "region/units.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>

namespace kiboko::region {
namespace {

constexpr std::uint64_t kGi = 1ull << 30;

struct BytesCase {
  const char* name;
  const char* text;
  std::uint64_t bytes;
  UnitError error = UnitError::None;
};
void PrintTo(const BytesCase& c, std::ostream* out) { *out << '"' << (c.text == nullptr ? "(null)" : c.text) << '"'; }
std::string name_of(const testing::TestParamInfo<BytesCase>& info) { return info.param.name; }

class ParseBytes : public testing::TestWithParam<BytesCase> {};
TEST_P(ParseBytes, GivesTheBytesOrTheReason) {
  const ParsedBytes parsed = parse_bytes(GetParam().text);
  EXPECT_EQ(parsed.bytes, GetParam().bytes);
  EXPECT_EQ(parsed.error, GetParam().error);
}
INSTANTIATE_TEST_SUITE_P(
    Units, ParseBytes,
    testing::Values(
        BytesCase{"Plain", "1073741824", kGi}, BytesCase{"Byte", "1024B", 1024}, BytesCase{"Zero", "0", 0},
        BytesCase{"Gibibyte", "4GiB", 4 * kGi}, BytesCase{"ShortGibi", "4Gi", 4 * kGi},
        BytesCase{"LowerGibibyte", "4gib", 4 * kGi}, BytesCase{"MixedMebibyte", "512mIb", 512ull << 20},
        BytesCase{"Kibibyte", "3KiB", 3072}, BytesCase{"Tebibyte", "2TiB", 2048 * kGi},
        BytesCase{"Giga", "4G", 4'000'000'000}, BytesCase{"Gigabyte", "4GB", 4'000'000'000},
        BytesCase{"Kilo", "5k", 5000}, BytesCase{"Half", "1.5GiB", kGi + kGi / 2},
        BytesCase{"FractionRoundsDown", "0.1GiB", 107'374'182}, BytesCase{"LeadingZeros", "0004Ki", 4096},
        BytesCase{"NotOctal", "010", 10}, BytesCase{"Greatest", "18446744073709551615", UINT64_MAX},
        BytesCase{"OneTooMany", "18446744073709551616", 0, UnitError::TooLarge},
        BytesCase{"ProductTooLarge", "16EiB", 0, UnitError::TooLarge},
        BytesCase{"ManyDigits", "99999999999999999999999999999999999999999999999", 0, UnitError::TooLarge},
        BytesCase{"Null", nullptr, 0, UnitError::Empty}, BytesCase{"Empty", "", 0, UnitError::Empty},
        BytesCase{"Negative", "-4GiB", 0, UnitError::Negative}, BytesCase{"Plus", "+4GiB", 0, UnitError::NotANumber},
        BytesCase{"Word", "lots", 0, UnitError::NotANumber}, BytesCase{"OnlyUnit", "GiB", 0, UnitError::NotANumber},
        BytesCase{"OnlyMinus", "-", 0, UnitError::NotANumber}, BytesCase{"Hex", "0x10", 0, UnitError::UnknownUnit},
        BytesCase{"NoFraction", "4.GiB", 0, UnitError::NotANumber},
        BytesCase{"NoWhole", ".5GiB", 0, UnitError::NotANumber},
        BytesCase{"PartOfAByte", "1.5", 0, UnitError::NotANumber},
        BytesCase{"TwoPoints", "1.5.5GiB", 0, UnitError::UnknownUnit},
        BytesCase{"LongFraction", "1.1234567890123456789GiB", 0, UnitError::NotANumber},
        BytesCase{"Milli", "4m", 0, UnitError::UnknownUnit}, BytesCase{"CapitalKilo", "4K", 0, UnitError::UnknownUnit},
        BytesCase{"LowerShortGibi", "4gi", 0, UnitError::UnknownUnit},
        BytesCase{"Space", "4 GiB", 0, UnitError::UnknownUnit},
        BytesCase{"Trailing", "4GiB ", 0, UnitError::UnknownUnit},
        BytesCase{"Exponent", "1e9", 0, UnitError::UnknownUnit}),
    name_of);

class ParseHamiBytes : public testing::TestWithParam<BytesCase> {};
TEST_P(ParseHamiBytes, GivesTheBytesOrTheReason) {
  const ParsedBytes parsed = parse_hami_bytes(GetParam().text);
  EXPECT_EQ(parsed.bytes, GetParam().bytes);
  EXPECT_EQ(parsed.error, GetParam().error);
}
INSTANTIATE_TEST_SUITE_P(Units, ParseHamiBytes,
                         testing::Values(BytesCase{"Plain", "4096", 4096}, BytesCase{"Kilo", "4k", 4096},
                                         BytesCase{"Mega", "3000m", 3000ull << 20},
                                         BytesCase{"CapitalMega", "3000M", 3000ull << 20},
                                         BytesCase{"Giga", "4g", 4 * kGi}, BytesCase{"Zero", "0", 0},
                                         BytesCase{"Word", "none", 0, UnitError::NotANumber},
                                         BytesCase{"Two", "4gb", 0, UnitError::UnknownUnit},
                                         BytesCase{"Fraction", "1.5g", 0, UnitError::UnknownUnit},
                                         BytesCase{"Tera", "1t", 0, UnitError::UnknownUnit},
                                         BytesCase{"Overflow", "99999999999999999999g", 0, UnitError::TooLarge},
                                         BytesCase{"ProductOverflow", "18446744073709551615k", 0, UnitError::TooLarge},
                                         BytesCase{"Empty", "", 0, UnitError::Empty},
                                         BytesCase{"Negative", "-1m", 0, UnitError::Negative}),
                         name_of);

class ParsePercent : public testing::TestWithParam<BytesCase> {};
TEST_P(ParsePercent, GivesThePercentOrTheReason) {
  const ParsedPercent parsed = parse_percent(GetParam().text);
  EXPECT_EQ(parsed.percent, GetParam().bytes);
  EXPECT_EQ(parsed.error, GetParam().error);
}
INSTANTIATE_TEST_SUITE_P(Units, ParsePercent,
                         testing::Values(BytesCase{"Plain", "30", 30}, BytesCase{"Sign", "30%", 30},
                                         BytesCase{"Zero", "0", 0}, BytesCase{"All", "100%", 100},
                                         BytesCase{"More", "101", 0, UnitError::TooLarge},
                                         BytesCase{"Fraction", "30.5", 0, UnitError::NotANumber},
                                         BytesCase{"Space", "30 %", 0, UnitError::UnknownUnit},
                                         BytesCase{"Twice", "30%%", 0, UnitError::UnknownUnit},
                                         BytesCase{"Empty", "", 0, UnitError::Empty},
                                         BytesCase{"Negative", "-3", 0, UnitError::Negative}),
                         name_of);

TEST(Describe, HasAClauseForEveryError) {
  for (const UnitError error :
       {UnitError::Empty, UnitError::NotANumber, UnitError::UnknownUnit, UnitError::TooLarge, UnitError::Negative})
    EXPECT_STRNE(describe(error), "");
}

}  // namespace
}  // namespace kiboko::region
