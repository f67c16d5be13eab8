// What a command is, and what it is given to work with.
//
// Each command is one file with one `const Command`; commands.cc lists them. Commands run on the main thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "cli/agent.h"
#include "cli/exit_status.h"
#include "cli/flags.h"
#include "cli/output.h"

namespace kiboko::cli {

struct Context {
  Output& out;
  Output& err;
  const Clock& clock;
  std::function<Result<std::unique_ptr<Agent>>(const std::optional<std::string>& socket)> connect;
  Given given = {};

  Result<std::unique_ptr<Agent>> agent() const { return connect(given.value("socket")); }
  bool as_json() const { return given.value("output") == "json"; }
};

struct Command {
  std::string_view name;
  std::string_view summary;        // one clause, for the list of commands
  std::string_view operands = {};  // "ID…": what stands behind the options in the usage line
  Words words = Words::None;
  std::span<const Flag> flags = {};
  bool listing = false;            // takes --output json
  std::string_view about = {};     // a paragraph or two for --help
  std::string_view examples = {};  // one a line, "command  # what it does"
  std::string_view subwords = {};  // "list|show": what the first word may be, for completion
  Result<int> (*run)(Context& context) = nullptr;
};

// The command's own flags and those that all have.
std::vector<Flag> all_flags(const Command& command);
std::string usage_line(const Command& command);
std::string help_text(const Command& command);

}  // namespace kiboko::cli
