#include "cli/table.h"

#include <algorithm>

namespace kiboko::cli {
namespace {

constexpr std::size_t kGap = 2;

std::string padded(const Output& output, const Cell& cell, std::size_t width, bool right, bool last) {
  const std::string text = fitted(cell.text, width);
  const std::string space(width - std::min(width, display_width(text)), ' ');
  const std::string shown = output.styled(cell.style, text);
  if (right) return space + shown;
  return last ? shown : shown + space;  // no blanks at the end of a line
}

}  // namespace

std::vector<std::size_t> Table::widths(std::size_t available) const {
  std::vector<std::size_t> widths;
  std::size_t total = kGap * (columns_.size() - 1);
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = display_width(columns_[i].title);
    for (const auto& row : rows_) widest = std::max(widest, display_width(harmless(row[i].text)));
    widths.push_back(widest);
    total += widest;
  }
  // The widest column that may still give, gives one column at a time: two long ones end up alike.
  while (total > available) {
    std::size_t victim = columns_.size();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const bool gives = columns_[i].least > 0 && widths[i] > columns_[i].least;
      if (gives && (victim == columns_.size() || widths[i] > widths[victim])) victim = i;
    }
    if (victim == columns_.size()) break;
    --widths[victim];
    --total;
  }
  return widths;
}

std::string Table::text(const Output& output) const {
  const std::vector<std::size_t> width = widths(output.columns());
  std::string lines;
  const auto line = [&](const auto& cell_of) {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) lines.append(kGap, ' ');
      lines += padded(output, cell_of(i), width[i], columns_[i].right, i + 1 == columns_.size());
    }
    lines += '\n';
  };
  line([&](std::size_t i) { return Cell{std::string(columns_[i].title), Style::Bold}; });
  for (const auto& row : rows_) line([&](std::size_t i) { return row[i]; });
  return lines;
}

}  // namespace kiboko::cli
