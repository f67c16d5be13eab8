// The shipped profiles, the schema, and what may be changed and added at run time.
#include "vendors/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "vendors/ask.h"
#include "vendors/catalog.h"
#include "vendors/discover.h"

namespace kiboko::vendors {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Profiles, AllShippedFamiliesAreThere) {
  const Catalog catalog = Catalog::shipped().value();
  std::vector<std::string> keys;
  for (const Family& family : catalog.families()) keys.push_back(family.key);
  EXPECT_THAT(keys, ElementsAre("NVIDIA", "AMD", "Ascend910A", "Ascend910B2", "Ascend910B3", "Ascend910B4-1",
                                "Ascend910B4", "Ascend310P", "Ascend910C", "AWSNeuron", "Biren", "MLU", "GCU",
                                "Enflame", "DCU", "MR-V100", "MR-V50", "BI-V150", "BI-V100", "kunlun", "XPU",
                                "Metax-GPU", "Metax-SGPU", "Mthreads", "Vastai"));
  EXPECT_EQ(shipped_profiles().size(), 16U);
}

TEST(Profiles, EachHasATitleTestsAndAPlaceForItsAllocation) {
  const Catalog catalog = Catalog::shipped().value();
  for (const Family& family : catalog.families()) {
    EXPECT_FALSE(family.title.empty()) << family.key;
    EXPECT_FALSE(family.tests.empty()) << family.key;
    EXPECT_FALSE(family.emission.allocated.empty()) << family.key;
    EXPECT_EQ(family.key.find('<'), std::string::npos);
  }
}

TEST(Profiles, AShownProfileIsOneThatCanBeLoaded) {
  const Catalog catalog = Catalog::shipped().value();
  for (const Family& family : catalog.families()) {
    Catalog again = catalog;
    const auto added = again.add({"shown.yaml", catalog.profile_of(family.key).value()});
    EXPECT_TRUE(added) << family.key << ": " << added.error().message;
    EXPECT_EQ(again.families().size(), catalog.families().size());
  }
}

TEST(Profiles, AscendKnowsItsModesAndSizes) {
  const Catalog catalog = Catalog::shipped().value();
  const Family& family = *catalog.find("Ascend310P");
  ASSERT_EQ(family.resources.memory.ladder.size(), 3U);
  EXPECT_EQ(family.resources.memory.ladder[1].name, "vir02");
  EXPECT_EQ(family.resources.memory.whole, MiB{21527});
  EXPECT_EQ(family.selection.strategy, "firstFit");
  const Family& soft = family.in_mode({{"huawei.com/vnpu-mode", "hami-core"}});
  EXPECT_NE(&soft, &family);
  EXPECT_TRUE(soft.resources.memory.ladder.empty());
  EXPECT_EQ(soft.key, "Ascend310P");
  EXPECT_EQ(&family.in_mode({{"huawei.com/vnpu-mode", "other"}}), &family);
  EXPECT_EQ(catalog.find("Ascend910C")->selection.strategy, "pairPack");
}

constexpr const char* kSmall = R"(key: ACME
title: Acme boards
resources:
  count: {name: acme.example/board}
discover: {source: annotation, key: acme.example/boards}
emit: {allocated: acme.example/allocated}
)";

struct Fault {
  const char* name;
  const char* from;
  const char* to;
  const char* said;
};
void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.name; }
class ProfileFault : public testing::TestWithParam<Fault> {};

TEST_P(ProfileFault, IsNamedByFileLineAndKey) {
  std::string text = kSmall;
  const std::string from = GetParam().from;
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, from.size(), GetParam().to);
  Catalog catalog;
  const auto added = catalog.add({"acme.yaml", text});
  ASSERT_FALSE(added);
  EXPECT_THAT(added.error().message, HasSubstr(GetParam().said));
  EXPECT_TRUE(catalog.families().empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, ProfileFault,
    testing::Values(
        Fault{"no_key", "key: ACME", "kee: ACME", "acme.yaml:1: key: is missing"},
        Fault{"separator_in_key", "key: ACME", "key: A,B", "acme.yaml:1: key: must have no comma"},
        Fault{"unknown_key", "title: Acme", "titel: Acme", "acme.yaml:2: titel: there is no such key"},
        Fault{"no_resources", "resources:", "resource:", "resources: is missing"},
        Fault{"unknown_resource_key", "{name: acme.example/board}", "{name: a.b/c, mini: 1}",
              "acme.yaml:4: resources.count.mini"},
        Fault{"not_a_number", "{name: acme.example/board}", "{name: a.b/c, max: many}",
              "acme.yaml:4: resources.count.max: must be a whole number"},
        Fault{"unknown_codec", "source: annotation", "codec: xml, source: annotation", "there is no 'xml'"},
        Fault{"unknown_source", "source: annotation", "source: air",
              "acme.yaml:5: discover.source: is 'air': use one of annotation, capacity"},
        Fault{"no_emission", "emit:", "emits:", "emit: is missing"},
        Fault{"unknown_strategy", "emit:", "select: {strategy: best}\nemit:", "select.strategy: there is no 'best'"},
        Fault{"unknown_test", "emit:", "tests: [helth]\nemit:", "tests: there is no 'helth'"},
        Fault{"wrong_condition", "emit:", "admission: [{when: 'size > 1', deny: no}]\nemit:",
              "acme.yaml:6: admission[0].when: 'size > 1': column 1: there is no 'size' here"},
        Fault{"wrong_template", "{allocated: acme.example/allocated}",
              "{allocated: a.b/c, extra: [{key: k, value: '${nothing}'}]}", "emit.extra[0].value"},
        Fault{"unknown_hook", "{allocated: acme.example/allocated}",
              "{allocated: a.b/c, extra: [{key: k, hook: magic}]}", "emit.extra[0].hook: there is no 'magic'"},
        Fault{"unknown_base", "key: ACME", "extends: Nobody", "acme.yaml:1: extends: there is no family 'Nobody'"}),
    [](const auto& fault) { return fault.param.name; });

TEST(Catalog, ADocumentReplacesTheFamilyOfItsKey) {
  Catalog catalog = Catalog::shipped().value();
  ASSERT_TRUE(catalog.add({"acme.yaml", kSmall}));
  EXPECT_EQ(catalog.families().back().key, "ACME");
  std::string other = kSmall;
  other.replace(other.find("Acme boards"), 11, "New boards!");
  ASSERT_TRUE(catalog.add({"new.yaml", other}));
  EXPECT_EQ(catalog.families().size(), 26U);
  EXPECT_EQ(catalog.find("ACME")->title, "New boards!");
}

TEST(Catalog, ADocumentThatExtendsChangesWhatItSays) {
  Catalog catalog = Catalog::shipped().value();
  ASSERT_TRUE(catalog.add({"mine.yaml", "extends: DCU\nresources:\n  count: {name: my.org/dcu}\n"}));
  EXPECT_EQ(catalog.find("DCU")->resources.count.name, "my.org/dcu");
  EXPECT_EQ(catalog.find("DCU")->resources.memory.name, "hygon.com/dcumem");
  const auto wrong = catalog.add({"mine.yaml", "extends: DCU\nresources:\n  count: {nmae: my.org/dcu}\n"});
  EXPECT_THAT(wrong.error().message, HasSubstr("mine.yaml:3: resources.count.nmae"));
}

TEST(Catalog, TwoFamiliesMayNotListenToOneName) {
  Catalog catalog = Catalog::shipped().value();
  const auto added = catalog.add({"mine.yaml", "extends: DCU\nkey: DCU2\n"});
  ASSERT_FALSE(added);
  EXPECT_THAT(added.error().message, HasSubstr("'hygon.com/dcunum' of DCU2 belongs to DCU already"));
  EXPECT_EQ(catalog.find("DCU2"), nullptr);
}

// The page's own profile, from the page: what it shows is what is loaded here.
std::string profile_in(const std::string& page) {
  std::ifstream file(page);
  std::stringstream text;
  text << file.rdbuf();
  const std::string whole = text.str();
  const std::size_t begin = whole.find("```yaml\n# /etc/kiboko/vendors/zephyr.yaml\n");
  const std::size_t end = whole.find("```\n", begin + 8);
  return begin == std::string::npos || end == std::string::npos ? "" : whole.substr(begin + 8, end - begin - 8);
}

TEST(AddingAVendor, TheInventedVendorOfTheDocumentationWorks) {
  const std::string profile = profile_in(KIBOKO_DOCS "/adding-a-vendor.md");
  ASSERT_FALSE(profile.empty());
  Catalog catalog = Catalog::shipped().value();
  const auto added = catalog.add({"zephyr.yaml", profile});
  ASSERT_TRUE(added) << added.error().message;
  const Family& family = *catalog.find("Zephyr");

  const Node node{"n1", {}, {}, {{"zephyr.example/card", 2}}};
  const auto devices = discover(family, node).value();
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[1].uuid.text, "n1-zephyr-1");
  EXPECT_EQ(devices[1].memory, MiB{65536});

  const Container container{"c", {{"zephyr.example/memory", "5"}, {"zephyr.example/share", "30"}}, {}};
  const auto admission = admit(family, container, {{"zephyr.example/use-uuid", "n1-zephyr-1"}}).value();
  ASSERT_TRUE(admission.ask);
  EXPECT_EQ(admission.ask->memory, (MemoryAsk{MemoryAsk::Kind::Amount, 5120, false}));
  EXPECT_EQ(admission.ask->cores, (CoresAsk{CoresAsk::Kind::Units, 30}));
  EXPECT_EQ(admission.limits.at("zephyr.example/card"), 1);
  EXPECT_THAT(admission.ask->use_uuids, ElementsAre("n1-zephyr-1"));

  const Container two{"c", {{"zephyr.example/card", "2"}, {"zephyr.example/memory", "5"}}, {}};
  EXPECT_THAT(admit(family, two, {}).error().message, HasSubstr("a share is of one card"));
}

}  // namespace
}  // namespace kiboko::vendors
