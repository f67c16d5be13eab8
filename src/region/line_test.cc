#include "region/line.h"

#include <gtest/gtest.h>

namespace kiboko::region {
namespace {

TEST(Line, IsLedByWhoeverHasWaitedLongest) {
  Shared<std::uint64_t> first{0};
  const std::uint64_t early = place_in_line(1'000'000, 900), late = place_in_line(2'000'000, 3);
  EXPECT_EQ(stand_in_line(first, late), late) << "nobody else is there";
  EXPECT_EQ(stand_in_line(first, early), early);
  EXPECT_EQ(stand_in_line(first, late), early);
  EXPECT_EQ(stand_in_line(first, early), early) << "still";
  leave_line(first, late);
  EXPECT_EQ(stand_in_line(first, late), early) << "who is not first leaves nothing behind";
  leave_line(first, early);
  EXPECT_EQ(stand_in_line(first, late), late);
  leave_line(first, late);
  EXPECT_EQ(first.load(), 0u);
}

TEST(Line, TellsEveryPlaceApartAndNoneIsNobodys) {
  EXPECT_NE(place_in_line(0, 0), 0u);
  EXPECT_NE(place_in_line(-5, 0), 0u);
  EXPECT_NE(place_in_line(1'000'000, 1), place_in_line(1'000'000, 2));
  EXPECT_LT(place_in_line(1'000'000, 1023), place_in_line(1'001'000, 0));
  EXPECT_EQ(waits_since_ns(place_in_line(7'654'321'000, 77)), 7'654'321'000);
}

}  // namespace
}  // namespace kiboko::region
