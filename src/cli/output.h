// Where a command writes: a file or a terminal, what it can show, and the styles that mean something here.
//
// One for standard output and one for standard error, made by main() (tests make one that fills a string). Not for
// use from several threads.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace kiboko::cli {

// Colour is never the only bearer of a meaning: each use stands beside a word.
enum class Style { Plain, Bold, Dim, Good, Warning, Bad };

class Output {
 public:
  // `colour_allowed` is false under NO_COLOR; the rest is asked of the descriptor.
  Output(int fd, bool colour_allowed);
  // For tests: a file that is not a terminal, `columns` wide.
  Output(std::string* capture, std::size_t columns) : capture_(capture), columns_(columns) {}

  void write(std::string_view text);
  template <class... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) {
    write(fmt::format(format, std::forward<Args>(args)...));
  }

  bool is_terminal() const { return terminal_; }
  std::size_t columns() const;  // of the terminal now; of a file: no bound
  std::size_t rows() const;     // likewise; 0 is no bound
  std::string styled(Style style, std::string_view text) const;
  bool broken() const { return broken_; }  // the reader of a pipe went away

 private:
  int fd_ = -1;
  std::string* capture_ = nullptr;
  std::size_t columns_ = 0;
  bool terminal_ = false;
  bool colour_ = false;
  bool broken_ = false;
};

// How many columns a terminal needs for `text`: East Asian wide characters and most emoji take two, combining marks
// none. Escape sequences made by `styled` take none.
std::size_t display_width(std::string_view text);
// At most `columns` wide, cut between characters with "…" as the last one. Broken UTF-8 and control characters are
// replaced, so that foreign text (command lines) can never move the cursor.
std::string fitted(std::string_view text, std::size_t columns);
// Foreign text made harmless, uncut.
std::string harmless(std::string_view text);

}  // namespace kiboko::cli
