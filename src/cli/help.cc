#include "base/text.h"
#include "cli/command.h"

namespace kiboko::cli {
namespace {

constexpr Flag kOutput{"output", 'o', "table|json", "how to print; json is for scripts and stays stable", "table|json"};
constexpr Flag kSocket{"socket", 0, "PATH", "the agent's socket; default: KIBOKO_SOCKET, your own agent, the system's"};
constexpr Flag kHelp{"help", 'h', {}, "print this"};

std::string flag_line(const Flag& flag) {
  std::string left = flag.letter == 0 ? "    " : fmt::format("-{}, ", flag.letter);
  left += fmt::format("--{}", flag.name);
  if (!flag.value.empty()) left += fmt::format(" {}", flag.value);
  if (left.size() > 28) return fmt::format("  {}\n  {:<30}{}\n", left, "", flag.help);
  return fmt::format("  {:<30}{}\n", left, flag.help);
}

}  // namespace

std::vector<Flag> all_flags(const Command& command) {
  std::vector<Flag> flags(command.flags.begin(), command.flags.end());
  if (command.listing) flags.push_back(kOutput);
  flags.push_back(kSocket);
  flags.push_back(kHelp);
  return flags;
}

std::string usage_line(const Command& command) {
  const std::string_view before = command.words == Words::Program ? " -- " : " ";
  return fmt::format("usage: kiboko {} [OPTIONS]{}{}", command.name, command.operands.empty() ? "" : before,
                     command.operands);
}

std::string help_text(const Command& command) {
  std::string text = fmt::format("kiboko {}: {}\n\n{}\n", command.name, command.summary, usage_line(command));
  if (!command.about.empty()) text += fmt::format("\n{}\n", trim(command.about));
  text += "\noptions:\n";
  for (const Flag& flag : all_flags(command)) text += flag_line(flag);
  if (!command.examples.empty()) {
    text += "\nexamples:\n";
    for (const std::string_view line : split(trim(command.examples), '\n')) text += fmt::format("  {}\n", line);
  }
  return text;
}

}  // namespace kiboko::cli
