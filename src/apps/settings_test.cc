#include "apps/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace kiboko::apps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Config {
  std::string file;
  std::string name = "default";
  unsigned count = 3;
  bool loud = false;
  std::chrono::seconds patience{90};
};
constexpr Setting<Config> kTable[] = {{"name", &Config::name, "a text"},
                                      {"how-many", &Config::count, "a number", 1, 9},
                                      {"loud", &Config::loud, "a truth"},
                                      {"patience", &Config::patience, "a time", 1, 7200},
                                      {"config", &Config::file, "the file"}};
constexpr std::string_view kIgnored[] = {"v", "old-flag"};

class SettingsTest : public testing::Test {
 protected:
  void TearDown() override {
    ::unsetenv("KIBOKO_TEST_NAME");
    std::filesystem::remove(path_);
  }
  Result<Invocation<Config>> read(std::vector<std::string> arguments, std::vector<std::string>* ignored = nullptr) {
    std::vector<char*> argv{program_.data()};
    for (std::string& one : arguments) argv.push_back(one.data());
    return settings_.read(static_cast<int>(argv.size()), argv.data(), ignored);
  }
  std::string file(const std::string& content) {
    std::ofstream(path_) << content;
    return path_;
  }

  std::string program_ = "test";
  std::string path_ = testing::TempDir() + "settings_test_" + std::to_string(::getpid());
  Settings<Config> settings_{"KIBOKO_TEST_", kTable, &Config::file, kIgnored};
};

TEST_F(SettingsTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string path = file("name: from-file\nhow-many: 5\n");
  EXPECT_EQ(read({"--config", path})->config.name, "from-file");
  ::setenv("KIBOKO_TEST_NAME", "from-environment", 1);
  EXPECT_EQ(read({"--config", path})->config.name, "from-environment");
  const auto all = read({"--config", path, "--name=from-flag"});
  EXPECT_EQ(all->config.name, "from-flag");
  EXPECT_EQ(all->config.count, 5U);
  EXPECT_EQ(all->config.patience, std::chrono::seconds{90});
}

TEST_F(SettingsTest, UnderscoresAreDashesAndForeignFlagsAreNamedNotLookedAt) {
  std::vector<std::string> ignored;
  const auto read_in = read({"--how_many", "7", "-v=4", "--old-flag=x", "--loud"}, &ignored);
  ASSERT_TRUE(read_in);
  EXPECT_EQ(read_in->config.count, 7U);
  EXPECT_TRUE(read_in->config.loud);
  EXPECT_THAT(ignored, ElementsAre("-v=4", "--old-flag=x"));
}

TEST_F(SettingsTest, WhatIsPrintedIsReadAgainAsTheSame) {
  Config config;
  config.name = "quote \" and \\";
  config.patience = std::chrono::seconds{61};
  const auto again = read({"--config", file(settings_.text(config))});
  ASSERT_TRUE(again);
  EXPECT_EQ(again->config.name, config.name);
  EXPECT_EQ(again->config.patience, config.patience);
}

struct Wrong {
  const char* name;
  std::vector<std::string> arguments;
  const char* said;
};
void PrintTo(const Wrong& row, std::ostream* out) { *out << row.name; }
class WrongSetting : public SettingsTest, public testing::WithParamInterface<Wrong> {};

TEST_P(WrongSetting, IsRefusedByName) {
  const auto result = read(GetParam().arguments);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr(GetParam().said));
}

INSTANTIATE_TEST_SUITE_P(All, WrongSetting,
                         testing::Values(Wrong{"unknown", {"--nmae=x"}, "there is no setting '--nmae=x'"},
                                         Wrong{"word", {"name"}, "there is no setting 'name'"},
                                         Wrong{"no_value", {"--name"}, "--name needs a value"},
                                         Wrong{
                                             "too_many", {"--how-many=10"}, "flag how-many: 10 is not within 1 and 9"},
                                         Wrong{"not_a_number", {"--how-many=3x"}, "flag how-many: '3x'"},
                                         Wrong{"not_a_truth", {"--loud=maybe"}, "'maybe' is neither true nor false"},
                                         Wrong{"no_unit", {"--patience=1m30"}, "'1m30' is no time"},
                                         Wrong{"unknown_unit", {"--patience=3d"}, "'3d' is no time"},
                                         Wrong{"no_time", {"--patience="}, "'' is no time"},
                                         Wrong{"too_long", {"--patience=3h"}, "10800 s is not within 1 and 7200 s"}),
                         [](const auto& row) { return row.param.name; });

TEST_F(SettingsTest, TimesHaveUnits) {
  EXPECT_EQ(read({"--patience=1h30m"})->config.patience, std::chrono::seconds{5400});
  EXPECT_EQ(read({"--patience=90"})->config.patience, std::chrono::seconds{90});
}

TEST_F(SettingsTest, AKeyThatIsNotKnownIsNamedWithItsLine) {
  const auto result = read({"--config", file("name: x\nnmae: y\n")});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr(":2: there is no setting 'nmae'"));
}

}  // namespace
}  // namespace kiboko::apps
