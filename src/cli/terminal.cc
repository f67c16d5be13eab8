#include "cli/terminal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace kiboko::cli {
namespace {

// A pipe on either side means that the shell has put others into our process group.
bool in_a_pipeline() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) {
    struct stat found {};
    if (::fstat(fd, &found) == 0 && (S_ISFIFO(found.st_mode) || S_ISSOCK(found.st_mode))) return true;
  }
  return false;
}

}  // namespace

Terminal Terminal::look() {
  Terminal terminal;
  terminal.fd_ = UniqueFd{::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
  const bool leads_its_group = ::getpgrp() == ::getpid();
  terminal.own_group_ = !terminal.present() || (leads_its_group && !in_a_pipeline());
  return terminal;
}

bool Terminal::give_to(pid_t group) const {
  if (!own_group_ || !present()) return false;
  const pid_t foreground = ::tcgetpgrp(fd_.get());
  return foreground == group || (foreground == ::getpgrp() && ::tcsetpgrp(fd_.get(), group) == 0);
}

void Terminal::take_from(pid_t group) const {
  if (own_group_ && present() && ::tcgetpgrp(fd_.get()) == group) ::tcsetpgrp(fd_.get(), ::getpgrp());
}

}  // namespace kiboko::cli
