#include "cli/commands.h"

#include <algorithm>

namespace kiboko::cli {

extern const Command kRun, kPs, kTop, kDevices, kGrants, kResize, kSuspend, kResume, kRelease, kExplain, kEvents,
    kDoctor, kSimulate, kVendors, kVersion, kCompletion;

namespace {

// In the order of `kiboko --help`.
constexpr const Command* kCommands[] = {&kRun,      &kPs,      &kTop,     &kDevices,   &kGrants, &kResize,
                                        &kSuspend,  &kResume,  &kRelease, &kExplain,   &kEvents, &kDoctor,
                                        &kSimulate, &kVendors, &kVersion, &kCompletion};

constexpr std::string_view kSummary = R"(kiboko shares the accelerators of this host.

usage: kiboko COMMAND [OPTIONS]

)";

constexpr std::string_view kMore = R"(
`kiboko COMMAND --help` says more about one, with examples. Listings take `--output json`.
Environment: KIBOKO_SOCKET (the agent's socket), NO_COLOR (no colours).
)";

int exit_status(const Command& command, Errc code) {
  if (command.words == Words::Program) return kOwnFailure;  // any other status may be the program's
  switch (code) {
    case Errc::Invalid:
      return kWrongUsage;
    case Errc::NotFound:
    case Errc::Conflict:
    case Errc::Forbidden:
      return kNegative;
    case Errc::Unavailable:
    case Errc::Internal:
      return kOwnFailure;
  }
  return kOwnFailure;
}

int report(Context& context, const Command& command, const Error& error) {
  context.err.print("{} {}\n", context.err.styled(Style::Bad, fmt::format("kiboko {}:", command.name)), error.message);
  return exit_status(command, error.code);
}

int unknown_command(Context& context, const std::string& name) {
  std::vector<std::string_view> names;
  for (const Command* command : kCommands) names.push_back(command->name);
  const auto near = nearest(name, names);
  context.err.print("kiboko: unknown command '{}'{}\n", name,
                    near ? fmt::format(": did you mean '{}'?", *near) : "; `kiboko --help` lists them");
  return kWrongUsage;
}

int run_one(const Command& command, std::span<const std::string> arguments, Context& context) {
  auto given = parse(arguments, all_flags(command), command.words);
  if (given && given->has("help")) {
    context.out.write(help_text(command));
    return kDone;
  }
  if (given && given->words.empty() && (command.words == Words::Some || command.words == Words::Program))
    given = fail(Errc::Invalid, "{} is missing", command.operands);
  if (!given) {
    Error error = given.error();
    error.message += fmt::format("\n  {}\n  `kiboko {} --help` says more", usage_line(command), command.name);
    return report(context, command, error);
  }
  context.given = std::move(*given);
  const Result<int> status = command.run(context);
  return status ? *status : report(context, command, status.error());
}

}  // namespace

std::span<const Command* const> all_commands() { return kCommands; }

const Command* find_command(std::string_view name) {
  const auto found = std::ranges::find(kCommands, name, &Command::name);
  return found == std::end(kCommands) ? nullptr : *found;
}

std::string overview() {
  std::string text{kSummary};
  for (const Command* command : kCommands) text += fmt::format("  {:<12}{}\n", command->name, command->summary);
  return text += kMore;
}

int run_command_line(std::span<const std::string> arguments, Context& context) {
  if (arguments.empty()) {
    context.err.write(overview());
    return kWrongUsage;
  }
  const std::string& name = arguments.front();
  const auto rest = arguments.subspan(1);
  if (name == "--help" || name == "-h" || (name == "help" && rest.empty())) {
    context.out.write(overview());
    return kDone;
  }
  if (name == "--version") return run_one(kVersion, {}, context);
  const Command* command = find_command(name == "help" ? rest.front() : name);
  if (command == nullptr) return unknown_command(context, name == "help" ? rest.front() : name);
  if (name != "help") return run_one(*command, rest, context);
  context.out.write(help_text(*command));
  return kDone;
}

}  // namespace kiboko::cli
