#include "cli/screen.h"

#include <unistd.h>

namespace kiboko::cli {
namespace {

// xterm's: 1049 is the alternate screen with a saved cursor, 25 the cursor, 7 the wrapping of long lines.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
constexpr std::string_view kLeave = "\x1b[?7h\x1b[?25h\x1b[?1049l";

}  // namespace

Screen::Screen(Output& out, int keyboard) : out_(out), keyboard_(keyboard) {
  have_modes_ = ::tcgetattr(keyboard_, &before_) == 0;
  enter();
}

Screen::~Screen() { leave(); }

void Screen::enter() {
  if (entered_) return;
  entered_ = true;
  if (have_modes_) {
    termios modes = before_;
    modes.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    // Else Ctrl-C makes the kernel throw away what is on its way to the terminal, sometimes what gives it back.
    modes.c_lflag |= NOFLSH;
    modes.c_cc[VMIN] = 0;
    modes.c_cc[VTIME] = 0;
    ::tcsetattr(keyboard_, TCSANOW, &modes);
  }
  out_.write(kEnter);
}

void Screen::leave() {
  if (!entered_) return;
  entered_ = false;
  out_.write(kLeave);
  if (have_modes_) ::tcsetattr(keyboard_, TCSANOW, &before_);
}

void Screen::draw(const std::vector<std::string>& lines) {
  std::string frame = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) frame += "\r\n";
    frame += lines[i] + "\x1b[K";
  }
  out_.write(frame + "\x1b[J");
}

}  // namespace kiboko::cli
