#include "model/quantities.h"

#include <gtest/gtest.h>

namespace kiboko {
namespace {

TEST(Quantities, AnAmountNeverWraps) {
  EXPECT_EQ(1_GiB - 2_GiB, Bytes{0});
  EXPECT_EQ(Bytes{~std::uint64_t{0}} + 1_MiB, Bytes{~std::uint64_t{0}});
  EXPECT_EQ(CorePercent{10} - CorePercent{20}, CorePercent{0});
}

TEST(Quantities, APartOfALargeAmountIsExact) {
  EXPECT_EQ(part_of(80_GiB, 25), 20_GiB);
  EXPECT_EQ(part_of(Bytes{199}, 50), Bytes{99});
  EXPECT_EQ(part_of(Bytes{~std::uint64_t{0}}, 100), Bytes{~std::uint64_t{0}});
}

TEST(Quantities, TextIsReadWithItsUnit) {
  EXPECT_EQ(parse_bytes("4GiB").value(), 4_GiB);
  const auto wrong = parse_bytes("10 bananas");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("10 bananas"), std::string::npos);
}

}  // namespace
}  // namespace kiboko
