// The whole terminal, for as long as this object lives: alternate screen, no cursor, keys read one by one.
//
// Main thread; at most one. Everything is put back when it is destroyed, whatever the reason for leaving.
#pragma once

#include <termios.h>

#include <string>
#include <vector>

#include "cli/output.h"

namespace kiboko::cli {

class Screen {
 public:
  Screen(Output& out, int keyboard);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Replaces what is shown without a flicker.
  void draw(const std::vector<std::string>& lines);
  // For Ctrl-Z: the terminal as it was, and ours again.
  void leave();
  void enter();

 private:
  Output& out_;
  const int keyboard_;
  termios before_{};
  bool have_modes_ = false;
  bool entered_ = false;
};

}  // namespace kiboko::cli
