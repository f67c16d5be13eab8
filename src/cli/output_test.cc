#include "cli/output.h"

#include <gtest/gtest.h>

namespace kiboko::cli {
namespace {

TEST(DisplayWidth, CountsColumnsAndNotBytes) {
  EXPECT_EQ(display_width("abc"), 3U);
  EXPECT_EQ(display_width("größe"), 5U);
  EXPECT_EQ(display_width("模型"), 4U);
  EXPECT_EQ(display_width("e\xCC\x81"), 1U);  // e and a combining acute
  EXPECT_EQ(display_width("🦛"), 2U);
  EXPECT_EQ(display_width("\x1b[31mred\x1b[0m"), 3U);
}

TEST(Fitted, CutsBetweenCharacters) {
  EXPECT_EQ(fitted("python train.py", 15), "python train.py");
  EXPECT_EQ(fitted("python train.py", 8), "python …");
  EXPECT_EQ(fitted("模型模型", 5), "模型…");
  EXPECT_EQ(fitted("模型模型", 4), "模…");
  EXPECT_EQ(fitted("abc", 1), "…");
  EXPECT_EQ(fitted("abc", 0), "");
}

TEST(Harmless, LetsNoForeignTextMoveTheCursor) {
  EXPECT_EQ(harmless("a\x1b[2Jb"), "a?[2Jb");
  EXPECT_EQ(harmless("a\nb\tc"), "a b c");
  EXPECT_EQ(harmless("bad\xFF\xC0\x80"), "bad\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(harmless("cut\xE6\xA8"), "cut\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(harmless("evil\xE2\x80\xAE.txt"), "evil?.txt");  // right-to-left override
}

TEST(Output, StylesNothingInAFile) {
  std::string text;
  Output output{&text, 80};
  EXPECT_EQ(output.styled(Style::Bad, "over"), "over");
}

}  // namespace
}  // namespace kiboko::cli
