// Who has the terminal: the shell's job control with `kiboko run` in between.
//
// Main thread only. There are two ways to be in between without being noticed:
//   own group     `kiboko` is a job of its own (or has no terminal): the program leads a process group of its own and
//                 is given the terminal; what the keyboard sends reaches the program alone
//   same group    `kiboko` shares its group with others, as in a script or a pipeline (`kiboko run … | less`): a
//                 group of its own would push the others into the background, so the program stays in ours; what the
//                 keyboard sends reaches all of it as it would without us
#pragma once

#include <sys/types.h>

#include "base/file.h"

namespace kiboko::cli {

class Terminal {
 public:
  static Terminal look();  // at what this process has

  bool present() const { return static_cast<bool>(fd_); }
  bool own_group() const { return own_group_; }

  // Gives the terminal to the program's group, if it is ours to give. True when the program has it now.
  bool give_to(pid_t group) const;
  // Takes it back from the program's group.
  void take_from(pid_t group) const;

 private:
  UniqueFd fd_;  // /dev/tty; none without a controlling terminal
  bool own_group_ = true;
};

}  // namespace kiboko::cli
