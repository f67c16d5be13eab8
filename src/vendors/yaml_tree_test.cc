#include "vendors/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kiboko::vendors {
namespace {

using testing::HasSubstr;

std::string fault_of(const std::string& text) {
  const auto tree = parse_yaml(text, "f.yaml");
  if (!tree) return tree.error().message;
  std::optional<Error> error;
  YamlReader in(*tree, "", error);
  in.text("name");
  in.number("count", 1, 8, 1);
  in.texts("list");
  if (auto child = in.child("child")) {
    child->truth("yes", false);
    child->finish();
  }
  in.finish();
  return error ? error->message : "";
}

TEST(YamlTree, ErrorsNameFileLineAndKey) {
  const std::pair<const char*, const char*> rows[] = {
      {"name: a\ncount: 9\n", "f.yaml:2: count: must be a whole number from 1 to 8, not '9'"},
      {"name: a\ncuont: 2\n", "f.yaml:2: cuont: there is no such key here; known: child, count, list, name"},
      {"child:\n  yes: perhaps\n", "f.yaml:2: child.yes: must be true or false, not 'perhaps'"},
      {"child:\n  no: 1\n", "f.yaml:2: child.no: there is no such key"},
      {"child: 3\n", "f.yaml:1: child: must be a map, not a value"},
      {"name: [a]\n", "f.yaml:1: name: must be a single value, not a list"},
      {"list: [[a]]\n", "f.yaml:1: list: must be a list of texts"},
      {"name: a\nname: b\n", "f.yaml:2: the key 'name' is given twice"},
      {"- a\n", "f.yaml:1: must be a map, not a list"},
      {"name: a: b\n", "f.yaml:1: "},
      {"? [a]\n: b\n", "a key must be a text"},
  };
  for (const auto& [text, said] : rows) EXPECT_THAT(fault_of(text), HasSubstr(said)) << text;
  EXPECT_EQ(fault_of("name: a\ncount: 8\nlist: [a, b]\nchild: {yes: true}\n"), "");
}

TEST(YamlTree, HostileDocumentsAreBounded) {
  EXPECT_THAT(fault_of(std::string(1U << 20U, 'a')), HasSubstr("longer than"));
  std::string many;
  for (int i = 0; i < 60'000; ++i) many += "---\n";
  EXPECT_THAT(fault_of(many), HasSubstr("more than 64 documents"));
  std::string deep = "a: ";
  for (int i = 0; i < 100; ++i) deep += "[";
  for (int i = 0; i < 100; ++i) deep += "]";
  EXPECT_THAT(fault_of(deep), HasSubstr("deep"));
  // Each level refers to the one before ten times.
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    laughs += fmt::format("a{}: &a{} [", i, i);
    for (int j = 0; j < 10; ++j) laughs += fmt::format("{}*a{}", j == 0 ? "" : ", ", i - 1);
    laughs += "]\n";
  }
  EXPECT_THAT(fault_of(laughs), HasSubstr("more than 20000 values"));
}

TEST(YamlTree, DocumentsAreToldApartAndKeepTheirLines) {
  const auto documents = parse_yaml_documents("# first\n---\na: 1\n--- \nb: 2\n...\n---\n", "f").value();
  ASSERT_EQ(documents.size(), 2U);
  EXPECT_EQ(documents[0].find("a")->text, "1");
  EXPECT_EQ(place_of(*documents[1].find("b")), "f:5");
  EXPECT_THAT(parse_yaml("a: 1\n---\nb: 2\n", "f").error().message, HasSubstr("has 2 documents"));
  EXPECT_EQ(parse_yaml("", "f").value().kind, YamlTree::Kind::Null);
}

TEST(YamlTree, MergingReplacesAllButMaps) {
  const auto base = parse_yaml("a: {b: 1, c: [1, 2]}\nd: 3\n", "base").value();
  const auto over = parse_yaml("a: {c: [9], e: 4}\n", "over").value();
  const YamlTree both = merged(base, over);
  EXPECT_EQ(both.find("a")->find("b")->text, "1");
  EXPECT_EQ(both.find("a")->find("c")->items.size(), 1U);
  EXPECT_EQ(both.find("a")->find("e")->text, "4");
  EXPECT_EQ(both.find("d")->text, "3");
  EXPECT_EQ(place_of(*both.find("a")->find("c")), "over:1");
  EXPECT_EQ(place_of(*both.find("d")), "base:2");
}

}  // namespace
}  // namespace kiboko::vendors
