// `kiboko completion`: a script for the shell, made from the same rows as parsing and help.
#include "base/text.h"
#include "cli/commands.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

// What stands behind a flag or a command, in the words of a shell: 'high low'.
std::string words_of(std::string_view choices) { return join(split(choices, '|'), " "); }

// The words that a command offers in first place, or that its flags do.
std::string flag_words(const Command& command) {
  std::string words;
  for (const Flag& flag : all_flags(command)) {
    words += fmt::format(" --{}", flag.name);
    if (flag.letter != 0) words += fmt::format(" -{}", flag.letter);
  }
  return words.substr(1);
}

std::string names_of_all() {
  std::vector<std::string_view> names;
  for (const Command* command : all_commands()) names.push_back(command->name);
  return join(names, " ");
}

bool takes_grants(const Command& command) { return command.operands.starts_with("ID") || command.name == "grants"; }

// Inside single quotes of any of the three shells.
std::string quoted(std::string_view text) {
  std::string safe;
  for (const char c : text) safe += c == '\'' ? "'\\''" : std::string(1, c);
  return "'" + safe + "'";
}

std::string bash_script() {
  std::string script = R"(# bash completion for kiboko:  source <(kiboko completion bash)
_kiboko() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} i
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W ')" +
                       names_of_all() + R"( --help --version' -- "$word"))
    return
  fi
  if [[ $command == run ]]; then
    for ((i = 2; i < COMP_CWORD; i++)); do
      [[ ${COMP_WORDS[i]} == -- ]] && { _command_offset $((i + 1)) 2>/dev/null || COMPREPLY=($(compgen -c -- "$word")); return; }
    done
  fi
  case $command:$before in
)";
  for (const Command* command : all_commands())
    for (const Flag& flag : all_flags(*command)) {
      if (flag.value.empty()) continue;
      const std::string letter = flag.letter == 0 ? "" : fmt::format("|{}:-{}", command->name, flag.letter);
      const std::string offer = !flag.choices.empty()   ? fmt::format("-W '{}'", words_of(flag.choices))
                                : flag.name == "socket" ? "-f"
                                                        : "-W ''";
      script += fmt::format("    {}:--{}{}) COMPREPLY=($(compgen {} -- \"$word\")); return ;;\n", command->name,
                            flag.name, letter, offer);
    }
  script += "  esac\n  case $command in\n";
  for (const Command* command : all_commands()) {
    std::string words = flag_words(*command);
    if (!command->subwords.empty()) words += " " + words_of(command->subwords);
    const char* grants = takes_grants(*command) ? " $(kiboko completion grants 2>/dev/null)" : "";
    script += fmt::format("    {}) COMPREPLY=($(compgen -W \"{}{}\" -- \"$word\")) ;;\n", command->name, words, grants);
  }
  return script + "  esac\n}\ncomplete -F _kiboko kiboko\n";
}

std::string zsh_script() {
  std::string script =
      "#compdef kiboko\n# zsh completion for kiboko:  source <(kiboko completion zsh)\n_kiboko() {\n"
      "  local -a commands=(\n";
  for (const Command* command : all_commands())
    script += fmt::format("    {}\n", quoted(fmt::format("{}:{}", command->name, command->summary)));
  script +=
      "  )\n  if (( CURRENT == 2 )); then _describe command commands; return; fi\n  local command=$words[2]\n"
      "  shift words; (( CURRENT-- ))\n  case $command in\n";
  // "[", "]" and ":" mean something inside a specification.
  const auto clause = [](std::string_view help) {
    std::string safe;
    for (const char c : help) safe += c == '[' || c == ']' || c == ':' ? std::string("\\") + c : std::string(1, c);
    return safe;
  };
  for (const Command* command : all_commands()) {
    script += fmt::format("    {}) _arguments", command->name);
    for (const Flag& flag : all_flags(*command)) {
      const std::string action = flag.value.empty() ? ""
                                 : flag.choices.empty()
                                     ? fmt::format(":{}:{}", clause(flag.value), flag.name == "socket" ? "_files" : "")
                                     : fmt::format(":{}:({})", clause(flag.value), words_of(flag.choices));
      script += " \\\n      " +
                quoted(fmt::format("{}--{}[{}]{}", flag.repeated ? "*" : "", flag.name, clause(flag.help), action));
    }
    if (command->words == Words::Program) script += " \\\n      '*:::program: _normal'";
    if (!command->subwords.empty()) script += fmt::format(" \\\n      '1:what:({})'", words_of(command->subwords));
    if (takes_grants(*command)) script += " \\\n      '*:grant:($(kiboko completion grants 2>/dev/null))'";
    script += " ;;\n";
  }
  return script + "  esac\n}\ncompdef _kiboko kiboko\n";
}

std::string fish_script() {
  std::string script = "# fish completion for kiboko:  kiboko completion fish | source\ncomplete -c kiboko -f\n";
  for (const Command* command : all_commands()) {
    script += fmt::format("complete -c kiboko -n __fish_use_subcommand -a {} -d {}\n", command->name,
                          quoted(command->summary));
    const std::string here = fmt::format("complete -c kiboko -n '__fish_seen_subcommand_from {}'", command->name);
    for (const Flag& flag : all_flags(*command)) {
      script += fmt::format("{} -l {}", here, flag.name);
      if (flag.letter != 0) script += fmt::format(" -s {}", flag.letter);
      if (!flag.value.empty()) script += " -x";
      if (!flag.choices.empty()) script += fmt::format(" -a '{}'", words_of(flag.choices));
      script += fmt::format(" -d {}\n", quoted(flag.help));
    }
    if (!command->subwords.empty()) script += fmt::format("{} -a '{}'\n", here, words_of(command->subwords));
    if (takes_grants(*command)) script += here + " -a '(kiboko completion grants 2>/dev/null)'\n";
    if (command->words == Words::Program) script += here + " -a '(__fish_complete_subcommand)'\n";
  }
  return script;
}

// Asked by the scripts while somebody types: the IDs, or nothing.
std::string grant_ids(const Context& context) {
  std::string ids;
  if (const auto agent = context.agent())
    if (const auto grants = fetch_grants(**agent))
      for (const GrantView& grant : *grants) ids += grant.id + "\n";
  return ids;
}

Result<int> run(Context& context) {
  const std::string& word = context.given.words.front();
  std::string text;
  if (word == "bash")
    text = bash_script();
  else if (word == "zsh")
    text = zsh_script();
  else if (word == "fish")
    text = fish_script();
  else if (word == "grants")
    text = grant_ids(context);
  else
    return fail(Errc::Invalid, "'{}' is none of bash, zsh, fish", word);
  context.out.write(text);
  return kDone;
}

}  // namespace

extern const Command kCompletion;
constexpr Command kCompletion{.name = "completion",
                              .summary = "a completion script for bash, zsh or fish",
                              .operands = "bash | zsh | fish",
                              .words = Words::Some,
                              .examples = R"(
source <(kiboko completion bash)          in ~/.bashrc
kiboko completion zsh > "${fpath[1]}/_kiboko"
kiboko completion fish | source           in ~/.config/fish/config.fish)",
                              .subwords = "bash|zsh|fish",
                              .run = run};

}  // namespace kiboko::cli
