#include "cli/output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <span>

namespace kiboko::cli {
namespace {

constexpr std::size_t kDefaultColumns = 80;

constexpr std::array<std::string_view, 6> kStart = {"", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31m"};

struct Range {
  char32_t first, last;
};
// From Unicode's EastAsianWidth.txt (W and F), merged to blocks; enough for names and command lines.
constexpr Range kWide[] = {{0x1100, 0x115F},   {0x231A, 0x231B},   {0x2329, 0x232A},   {0x23E9, 0x23EC},
                           {0x2614, 0x2615},   {0x267F, 0x267F},   {0x26A1, 0x26A1},   {0x26D4, 0x26D4},
                           {0x2705, 0x2705},   {0x274C, 0x274C},   {0x2E80, 0x303E},   {0x3041, 0x33FF},
                           {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xA000, 0xA4CF},   {0xA960, 0xA97F},
                           {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},
                           {0xFFE0, 0xFFE6},   {0x1F004, 0x1F004}, {0x1F18E, 0x1F18E}, {0x1F191, 0x1F19A},
                           {0x1F200, 0x1F320}, {0x1F32D, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F7E0, 0x1F7EB},
                           {0x1F900, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD}};
constexpr Range kNoWidth[] = {{0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A}, {0x064B, 0x065F},
                              {0x0900, 0x0902}, {0x093C, 0x093C}, {0x0941, 0x0948}, {0x0E31, 0x0E31}, {0x0E34, 0x0E3A},
                              {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x2064},
                              {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}};

bool within(char32_t point, std::span<const Range> ranges) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Range& range) { return point >= range.first && point <= range.last; });
}

struct Character {
  char32_t point = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const std::size_t length = first >= 0xF0 && first <= 0xF4 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (length == 0 || first > 0xF4 || text.size() < length) return {};
  char32_t point = first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    point = (point << 6U) | (byte(i) & 0x3FU);
  }
  constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  if (point < kLeast[length] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return {};
  return {point, length, true};
}

std::size_t width_of(char32_t point) { return within(point, kNoWidth) ? 0 : within(point, kWide) ? 2 : 1; }

// Controls, and the marks that reorder or hide what stands beside them (a command line could lie with them).
bool harmful(char32_t point) {
  return point < 0x20 || (point >= 0x7F && point < 0xA0) || (point >= 0x202A && point <= 0x202E) ||
         (point >= 0x2066 && point <= 0x2069) || point == 0x200E || point == 0x200F;
}

}  // namespace

Output::Output(int fd, bool colour_allowed) : fd_(fd), terminal_(::isatty(fd) == 1) {
  colour_ = terminal_ && colour_allowed;
}

void Output::write(std::string_view text) {
  if (capture_ != nullptr) {
    capture_->append(text);
    return;
  }
  while (!text.empty() && !broken_) {
    const ssize_t written = ::write(fd_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) broken_ = true;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::size_t Output::columns() const {
  if (columns_ != 0) return columns_;
  if (!terminal_) return std::numeric_limits<std::size_t>::max();
  winsize size{};
  if (::ioctl(fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultColumns;
}

std::size_t Output::rows() const {
  winsize size{};
  return terminal_ && ::ioctl(fd_, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

std::string Output::styled(Style style, std::string_view text) const {
  if (!colour_ || style == Style::Plain) return std::string(text);
  return fmt::format("{}{}\x1b[0m", kStart[static_cast<std::size_t>(style)], text);
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    if (text.starts_with("\x1b[")) {
      const std::size_t end = text.find('m');
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      continue;
    }
    const Character character = first_character(text);
    width += character.valid ? width_of(character.point) : 1;
    text.remove_prefix(character.bytes);
  }
  return width;
}

std::string harmless(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const Character character = first_character(text);
    if (!character.valid)
      clean += "\xEF\xBF\xBD";
    else if (harmful(character.point))
      clean += character.point == '\n' || character.point == '\t' ? " " : "?";
    else
      clean += text.substr(0, character.bytes);
    text.remove_prefix(character.bytes);
  }
  return clean;
}

std::string fitted(std::string_view text, std::size_t columns) {
  std::string clean = harmless(text);
  if (display_width(clean) <= columns) return clean;
  if (columns == 0) return {};
  std::size_t kept = 0, width = 0;
  for (std::string_view rest = clean; !rest.empty();) {
    const Character character = first_character(rest);
    width += width_of(character.point);
    if (width > columns - 1) break;
    kept += character.bytes;
    rest.remove_prefix(character.bytes);
  }
  return clean.substr(0, kept) + "…";
}

}  // namespace kiboko::cli
