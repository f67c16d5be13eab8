#include "model/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace kiboko {
namespace {

using testing::HasSubstr;

Ask full_ask() {
  Ask ask;
  ask.count = 2;
  ask.memory = 4_GiB;
  ask.cores = CorePercent{30};
  ask.type = "H100";
  ask.devices = {"0", "GPU-1"};
  ask.policy = CorePolicy::Force;
  ask.priority = Priority::Low;
  ask.wait = false;
  ask.command = {"python", "train.py"};
  ask.cwd = "/home/alice";
  ask.keeper_pid = 4711;
  return ask;
}

Grant full_grant() {
  Grant grant;
  grant.id = {"g-0011aabb"};
  grant.state = GrantState::Running;
  grant.owner = {1000, 100, "alice"};
  grant.mode = GrantMode::Enforced;
  grant.asked = full_ask();
  grant.default_applied = true;
  grant.keeper_pid = 4711;
  grant.devices = {{{"GPU-1"}, 3, "Model", 80_GiB, 4_GiB, CorePercent{30}}, {{"GPU-2"}, 4, "Model", 80_GiB, 4_GiB, {}}};
  grant.created_ms = 1'700'000'000'000;
  grant.started_ms = 1'700'000'000'001;
  grant.ended_ms = 1'700'000'000'002;
  grant.end_reason = "released by alice";
  grant.revision = 9;
  grant.waiting = GrantWaiting{2, 1'700'000'000'000, RefusalCode::Memory, "device 0 is full"};
  return grant;
}

TEST(Json, AnAskSurvivesTheJourney) {
  EXPECT_EQ(parse_ask(to_json(full_ask()).dump()).value(), full_ask());
  EXPECT_EQ(parse_ask(to_json(Ask{}).dump()).value(), Ask{});
}

TEST(Json, AGrantSurvivesTheJourney) {
  EXPECT_EQ(grant_from_json(parse_json(to_json(full_grant()).dump()).value()).value(), full_grant());
  EXPECT_EQ(grant_from_json(to_json(full_grant())).value(), full_grant());
}

TEST(Json, NullAndAbsentAreTheSame) { EXPECT_EQ(parse_ask(R"({"memory_bytes": null, "type": null})").value(), Ask{}); }

struct BadAsk {
  const char* name;
  const char* text;
  const char* message;
};
void PrintTo(const BadAsk& bad, std::ostream* out) { *out << bad.name; }

class BadAsks : public testing::TestWithParam<BadAsk> {};
TEST_P(BadAsks, AreRefusedByName) {
  const auto ask = parse_ask(GetParam().text);
  ASSERT_FALSE(ask);
  EXPECT_EQ(ask.error().code, Errc::Invalid);
  EXPECT_THAT(ask.error().message, HasSubstr(GetParam().message));
}
INSTANTIATE_TEST_SUITE_P(
    Json, BadAsks,
    testing::Values(BadAsk{"NotJson", "{", "not JSON"}, BadAsk{"List", "[]", "must be a JSON object"},
                    BadAsk{"UnknownKey", R"({"memroy_bytes": 1})", "memroy_bytes"},
                    BadAsk{"NoMemory", R"({"memory_bytes": 0})", "memory_bytes"},
                    BadAsk{"Negative", R"({"memory_bytes": -1})", "memory_bytes"},
                    BadAsk{"Fraction", R"({"memory_bytes": 1.5})", "memory_bytes"},
                    BadAsk{"Text", R"({"memory_bytes": "4GiB"})", "memory_bytes"},
                    BadAsk{"Huge", R"({"memory_bytes": 18446744073709551615})", "memory_bytes"},
                    BadAsk{"Percent", R"({"core_percent": 101})", "core_percent"},
                    BadAsk{"Count", R"({"count": 17})", "count"},
                    BadAsk{"Policy", R"({"policy": "sometimes"})", "default, force, disable"},
                    BadAsk{"Both", R"({"memory_bytes": 1, "memory_percent": 1})", "exclude each other"},
                    BadAsk{"Whole", R"({"exclusive": true, "core_percent": 1})", "whole device"},
                    BadAsk{"ZeroByte", R"({"type": "a\u0000b"})", "zero byte"},
                    BadAsk{"Command", R"({"command": "python"})", "command"}),
    [](const auto& row) { return row.param.name; });

TEST(Json, DeepNestingIsRefusedBeforeItIsParsed) {
  EXPECT_THAT(parse_json(std::string(100'000, '[')).error().message, HasSubstr("too deep"));
  EXPECT_TRUE(parse_json(R"(["[[[[", "\"[[["])"));
}

TEST(Json, AResizeNamesAtLeastOneAmount) {
  EXPECT_EQ(parse_resize(R"({"memory_bytes": 1048576})").value().memory, 1_MiB);
  EXPECT_EQ(parse_resize(R"({"core_percent": 40})").value().cores, CorePercent{40});
  EXPECT_FALSE(parse_resize("{}"));
  EXPECT_FALSE(parse_resize(R"({"count": 2})"));
}

}  // namespace
}  // namespace kiboko
