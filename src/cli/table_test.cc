#include "cli/table.h"

#include <gtest/gtest.h>

namespace kiboko::cli {
namespace {

std::string shown(const Table& table, std::size_t columns) {
  std::string unused;
  return table.text(Output{&unused, columns});
}

Table sample() {
  Table table{{{"ID"}, {"USED", true}, {"COMMAND", false, 6}}};
  table.add({"g-1", "4.0 GiB", "python train.py --epochs 100"});
  table.add({"g-22", "12 B", "größe"});
  return table;
}

TEST(Table, AlignsItsColumns) {
  EXPECT_EQ(shown(sample(), 200),
            "ID       USED  COMMAND\n"
            "g-1   4.0 GiB  python train.py --epochs 100\n"
            "g-22     12 B  größe\n");
}

TEST(Table, CutsOnlyTheColumnsThatMayBeCut) {
  EXPECT_EQ(shown(sample(), 30),
            "ID       USED  COMMAND\n"
            "g-1   4.0 GiB  python train.p…\n"
            "g-22     12 B  größe\n");
}

TEST(Table, KeepsTheLeastWidthEvenWhenTheTerminalIsTooNarrow) {
  EXPECT_EQ(shown(sample(), 5),
            "ID       USED  COMMA…\n"
            "g-1   4.0 GiB  pytho…\n"
            "g-22     12 B  größe\n");
}

TEST(Table, TakesTheWidestColumnFirst) {
  Table table{{{"A", false, 2}, {"B", false, 2}}};
  table.add({"aaaaaa", "bbbbbbbbbbbb"});
  EXPECT_EQ(shown(table, 14), "A       B\naaaaaa  bbbbb…\n");
  EXPECT_EQ(shown(table, 10), "A     B\naaa…  bbb…\n");
}

}  // namespace
}  // namespace kiboko::cli
