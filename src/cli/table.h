// Tables for people: columns as wide as their cells, the elastic one giving way when the terminal is narrow.
//
// Plain values. What scripts read is `--output json`, so the layout here may change.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/output.h"

namespace kiboko::cli {

struct Cell {
  std::string text;
  Style style = Style::Plain;
  Cell(std::string t, Style s = Style::Plain) : text(std::move(t)), style(s) {}  // NOLINT: cells are written as text
  Cell(const char* t) : text(t) {}                                               // NOLINT
};

struct Column {
  std::string_view title;
  bool right = false;     // numbers
  std::size_t least = 0;  // columns it may be cut down to; 0: never cut
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  std::size_t size() const { return rows_.size(); }

  // With the titles, one line a row, at most `columns` wide (if the columns that may be cut can give that much).
  std::string text(const Output& output) const;

 private:
  std::vector<std::size_t> widths(std::size_t available) const;
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace kiboko::cli
