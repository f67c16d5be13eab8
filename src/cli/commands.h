// The table of commands and what main() calls.
#pragma once

#include <span>
#include <string>

#include "cli/command.h"

namespace kiboko::cli {

std::span<const Command* const> all_commands();
const Command* find_command(std::string_view name);
std::string overview();  // `kiboko --help`

// Runs `kiboko ARGUMENTS…` and returns its exit status. `arguments` are without the program's name.
int run_command_line(std::span<const std::string> arguments, Context& context);

}  // namespace kiboko::cli
