#include "region/test_stacks.h"

#include <gmock/gmock.h>

namespace kiboko::region {
namespace {

using testing::AllOf;
using testing::HasSubstr;

[[gnu::noinline]] void wait_for_ever() {
  for (;;) ::pause();
}

TEST(Stacks, AreShownOfAProgramThatDoesNotEnd) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(120);
    wait_for_ever();
  }
  int status = 0;
  EXPECT_FALSE(ended_within(child, 1, &status));
  testing::internal::CaptureStderr();
  print_stacks_and_kill(child);
  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(ended_within(child, 60, &status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_THAT(shown, AllOf(HasSubstr("Process " + std::to_string(child)), HasSubstr("system call")));
  if (::access("/usr/bin/gdb", X_OK) != 0) GTEST_SKIP() << "no gdb";
  EXPECT_THAT(shown, HasSubstr("wait_for_ever"));
}

}  // namespace
}  // namespace kiboko::region
