#include "model/registration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/annotation.h"
#include "model/pair_scores.h"

namespace kiboko {
namespace {

using testing::HasSubstr;

constexpr const char* kTwoGpus =
    R"([{"id":"GPU-aa","count":10,"devmem":81559,"devcore":100,"type":"NVIDIA H100 80GB HBM3","mode":"hami-core",)"
    R"("health":true},{"id":"GPU-bb","index":1,"count":10,"devmem":81559,"devcore":100,)"
    R"("type":"NVIDIA H100 80GB HBM3","numa":1,"mode":"hami-core","health":true}])";

TEST(Registration, JsonIsReadAndWrittenToTheSameBytes) {
  const auto devices = decode_registration(kTwoGpus).value();
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[1].index, 1U);
  EXPECT_EQ(devices[1].numa, 1);
  EXPECT_EQ(devices[0].memory, MiB{81559});
  EXPECT_EQ(devices[0].slots, 10);
  EXPECT_EQ(encode_registration_json(devices), kTwoGpus);
}

TEST(Registration, MigProfilesAndCustomInfoSurvive) {
  constexpr const char* kText =
      R"([{"id":"GPU-aa","count":7,"devmem":40960,"devcore":100,"type":"NVIDIA A100","mode":"mig","migProfiles":)"
      R"([{"name":"1g.5gb","memoryMB":4864,"core":15,"sliceCount":1,"placements":[{"start":0,"size":1},)"
      R"({"start":6,"size":1}]}],"health":true,"devicevendor":"NVIDIA",)"
      R"("custominfo":{"AIC":3,"DeviceStrategy":"die","a<b":[1,{"x":null}]}}])";
  const auto devices = decode_registration(kText).value();
  EXPECT_EQ(devices[0].mig_profiles[0].placements[1], (MigPlacement{6, 1}));
  EXPECT_EQ(custom_number(devices[0].custom, "AIC"), 3);
  EXPECT_EQ(custom_text(devices[0].custom, "DeviceStrategy"), "die");
  EXPECT_EQ(custom_number(devices[0].custom, "DeviceStrategy"), std::nullopt);
  std::string expected = kText;
  expected.replace(expected.find("a<b"), 3, "a\\u003cb");
  EXPECT_EQ(encode_registration_json(devices), expected);
}

TEST(Registration, WithoutHealthADeviceIsUnhealthy) {
  EXPECT_FALSE(decode_registration(R"([{"id":"a"}])").value()[0].healthy);
}

TEST(Registration, AnOlderReleasesPairScoreObjectIsPassedOver) {
  EXPECT_TRUE(decode_registration(R"([{"id":"a","health":true,"devicepairscore":{"uuid":"a"}}])").has_value());
}

TEST(Registration, RowsOfSevenFieldsHaveIndexZeroAndTheDefaultMode) {
  const auto device = decode_registration("U1,4,16384,100,DCU-K100,0,true:").value()[0];
  EXPECT_EQ(device.index, 0U);
  EXPECT_EQ(device.mode, "hami-core");
  EXPECT_EQ(encode_registration_csv({&device, 1}, CsvFields::Seven).value(), "U1,4,16384,100,DCU-K100,0,true:");
}

TEST(Registration, RowsOfNineFieldsHaveBoth) {
  const auto device = decode_registration("U1,4,16384,100,DCU-K100,0,true,3,hami:").value()[0];
  EXPECT_EQ(device.index, 3U);
  EXPECT_EQ(device.mode, "hami");
  EXPECT_EQ(encode_registration_csv({&device, 1}).value(), "U1,4,16384,100,DCU-K100,0,true,3,hami:");
}

TEST(Registration, ANameWithASeparatorIsNotWrittenAsARow) {
  RegisteredDevice device;
  device.uuid.text = "U1";
  device.type = "K100, AI";
  EXPECT_THAT(encode_registration_csv({&device, 1}).error().message, HasSubstr("K100, AI"));
}

struct Hostile {
  const char* name;
  std::string text;
  const char* said;
};
void PrintTo(const Hostile& row, std::ostream* out) { *out << row.name; }
class HostileRegistration : public testing::TestWithParam<Hostile> {};

TEST_P(HostileRegistration, IsRefusedWithThePlaceOfTheFault) {
  const auto devices = decode_registration(GetParam().text);
  ASSERT_FALSE(devices);
  EXPECT_THAT(devices.error().message, HasSubstr(GetParam().said));
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileRegistration,
    testing::Values(
        Hostile{"empty", "", "byte 0"}, Hostile{"no_colon", "U1,4,16384,100,DCU,0,true", "byte 0"},
        Hostile{"six_fields", "U1,4,16384,100,DCU,0:", "has 6"},
        Hostile{"second_row", "U1,1,1,1,T,0,true:U2,x,1,1,T,0,true:", "byte 21: count"},
        Hostile{"negative", "U1,-4,16384,100,DCU,0,true:", "'-4'"},
        Hostile{"huge_row", "U1,4,99999999999999999999,100,DCU,0,true:", "byte 5: memory"},
        Hostile{"negative_index", "U1,4,1,100,DCU,0,true,-1,m:", "index"},
        Hostile{"huge_index", "U1,4,1,100,DCU,0,true,70000,m:", "index 70000"},
        Hostile{"huge_numa", "U1,4,1,100,DCU,70000,true:", "numa 70000 is above 65535"},
        Hostile{"not_a_truth", "U1,4,1,100,DCU,0,maybe:", "'maybe'"},
        Hostile{"row_invalid_utf8", "U\xFF\xFE,4,1,100,DCU,0,true:", "byte 1: this is not UTF-8"},
        Hostile{"not_json", R"([{"id":"a",}])", "byte 11"}, Hostile{"nan", R"([{"id":"a","devmem":NaN}])", "byte 20"},
        Hostile{"fraction", R"([{"id":"a","devmem":1.5}])", "device 0 of the list: 'devmem'"},
        Hostile{"negative_memory", R"([{"id":"a"},{"id":"b","devmem":-1}])", "device 1 of the list: 'devmem'"},
        Hostile{"huge_memory", R"([{"id":"a","devmem":99999999999999999999999}])", "'devmem'"},
        Hostile{"no_double_is_so_large", R"([{"id":"a","devmem":1e999}])", "a number that is too large"},
        Hostile{"above_63_bits", R"([{"id":"a","devmem":18446744073709551615}])", "'devmem'"},
        Hostile{"wrong_type", R"([{"id":7}])", "'id' must be a text, not 7"},
        Hostile{"no_id", R"([{"count":7}])", "'id' is missing"},
        Hostile{"twice", R"([{"id":"a"},{"id":"a"}])", "listed twice"},
        Hostile{"object", R"({"id":"a"})", "must be a JSON list"}, Hostile{"list_of_numbers", "[1]", "not 1"},
        Hostile{"invalid_utf8", "[{\"id\":\"\xFF\xFE\"}]", "byte 8"},
        Hostile{"deep", std::string(100'000, '['), "too deep"},
        Hostile{"a_mebibyte", "[" + std::string(1U << 20U, ' ') + "]", "1048578 bytes"},
        Hostile{"a_mebibyte_of_rows", std::string(1U << 20U, ':'), "1048576 bytes"},
        Hostile{"many_colons", std::string(1000, ':'), "byte 0"}),
    [](const auto& row) { return row.param.name; });

TEST(PairScores, AreReadAndWrittenToTheSameBytes) {
  constexpr const char* kText = R"([{"uuid":"GPU-a","score":{"GPU-b":150,"GPU-c":20}},{"uuid":"GPU-b","score":{}}])";
  const auto scores = decode_pair_scores(kText).value();
  EXPECT_EQ(score_of(scores, {"GPU-a"}, {"GPU-b"}), 150);
  EXPECT_EQ(score_of(scores, {"GPU-b"}, {"GPU-a"}), 0);
  EXPECT_EQ(encode_pair_scores(scores), kText);
  EXPECT_THAT(decode_pair_scores(R"([{"uuid":"GPU-a","score":{"GPU-b":-5}}])").error().message,
              testing::AllOf(HasSubstr("GPU-a"), HasSubstr("GPU-b"), HasSubstr("-5")));
}

TEST(JsonString, IsWrittenAsGoWritesIt) {
  EXPECT_EQ(json_string("a\"\\<>&\n\x01\xFFz"), R"("a\"\\\u003c\u003e\u0026\n\u0001\ufffdz")");
}

}  // namespace
}  // namespace kiboko
