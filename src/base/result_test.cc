#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace kiboko {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return fail(Errc::Invalid, "{} is odd", number);
  return number / 2;
}
Result<void> must_be_even(int number) {
  TRY(half(number));
  return {};
}
Result<int> quarter(int number) {
  TRY(must_be_even(number));
  return TRY(half(TRY(half(number))));
}
Result<std::unique_ptr<int>> boxed(int number) { return std::make_unique<int>(TRY(half(number))); }
Result<int> unboxed(int number) {
  const std::unique_ptr<int> box = TRY(boxed(number));
  return *box;
}

TEST(Result, TryGivesTheValue) { EXPECT_EQ(quarter(12).value(), 3); }
TEST(Result, TryMovesWhatCannotBeCopied) { EXPECT_EQ(unboxed(8).value(), 4); }
TEST(Result, TryReturnsTheErrorUnchanged) { EXPECT_EQ(quarter(6).error(), (Error{Errc::Invalid, "3 is odd"})); }
TEST(Result, TryStopsAtAFailedVoid) { EXPECT_EQ(must_be_even(7).error().message, "7 is odd"); }

TEST(Result, AboutNamesWhatTheErrorBelongsTo) {
  EXPECT_EQ(half(3).map_error(about("pod {}/{}", "ml", "train-0")).error(),
            (Error{Errc::Invalid, "pod ml/train-0: 3 is odd"}));
}

TEST(Result, AFailedCallSaysWhyInWords) {
  const Result<int> missing = fail_errno(ENOENT, "open /nowhere");
  EXPECT_EQ(missing.error(), (Error{Errc::NotFound, "open /nowhere: No such file or directory"}));
}

TEST(Result, EveryCodeHasAName) {
  EXPECT_EQ(name(Errc::Invalid), "invalid");
  EXPECT_EQ(name(Errc::Internal), "internal");
}

}  // namespace
}  // namespace kiboko
