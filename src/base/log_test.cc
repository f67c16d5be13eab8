#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kiboko {
namespace {

using testing::MatchesRegex;

class Log : public testing::Test {
 protected:
  static std::string printed(LogLevel level, void (*act)()) {
    testing::internal::CaptureStderr();
    set_up_log("agent", level);
    act();
    set_up_log("test", LogLevel::Warning);
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(Log, ALineHasTimeLevelProgramAndText) {
  EXPECT_THAT(printed(LogLevel::Info, [] { log::info("{} devices", 4); }),
              MatchesRegex("[0-9]+-..-..T..:..:..\\....Z info +agent: 4 devices\n"));
}

TEST_F(Log, WhatIsBelowTheLevelIsNotPrinted) {
  EXPECT_EQ(printed(LogLevel::Warning, [] { log::info("quiet"); }), "");
  EXPECT_EQ(printed(LogLevel::Off, [] { log::error("quiet"); }), "");
}

TEST_F(Log, AMessageCannotForgeALine) {
  EXPECT_THAT(printed(LogLevel::Info, [] { log::warning("name {}", "x\n2024 forged"); }),
              MatchesRegex(".*name x\\\\n2024 forged\n"));
}

TEST_F(Log, LevelsAreReadByName) {
  EXPECT_EQ(parse_log_level("debug").value(), LogLevel::Debug);
  EXPECT_EQ(parse_log_level("loud").error().code, Errc::Invalid);
}

}  // namespace
}  // namespace kiboko
