// The page about refusals lists the codes as the program says them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/text.h"
#include "model/refusal.h"

namespace kiboko {
namespace {

// The first three cells of each row of the table.
std::vector<std::string> rows_of(const char* path) {
  std::vector<std::string> rows;
  std::ifstream page(path);
  for (std::string line; std::getline(page, line);) {
    const auto cells = split(line, '|');
    if (!line.starts_with("| `") || cells.size() < 6) continue;
    EXPECT_FALSE(trim(cells[4]).empty()) << line << ": what to do is missing";
    rows.push_back(fmt::format("{} | {} | {}", trim(cells[1]), trim(cells[2]), trim(cells[3])));
  }
  return rows;
}

TEST(RefusalsDoc, ThePageListsEveryCodeAsTheProgramSaysIt) {
  std::vector<std::string> said;
  for (const RefusalWords& words : refusal_words())
    said.push_back(fmt::format("`{}` | {} | {}", words.name, words.sentence,
                               words.hami.empty() ? "-" : fmt::format("`{}`", words.hami)));
  EXPECT_EQ(rows_of(KIBOKO_DOCS "/refusals.md"), said);
}

TEST(RefusalsDoc, NoTwoCodesHaveOneName) {
  std::vector<std::string_view> names;
  for (const RefusalWords& words : refusal_words()) {
    EXPECT_THAT(names, testing::Not(testing::Contains(words.name)));
    EXPECT_FALSE(words.sentence.empty()) << words.name;
    names.push_back(words.name);
  }
}

}  // namespace
}  // namespace kiboko
