// `kiboko release`: end grants, and with them their programs.
#include <poll.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/command.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

using std::chrono::milliseconds;

constexpr Flag kFlags[] = {
    {"force", 'f', {}, "do not ask before a running program is ended"},
    {"grace", 'g', "TIME", "how long its processes have between TERM and KILL: 10s, 500ms, 2m; default: 10s"}};

Result<milliseconds> read_grace(const std::string& text) {
  struct Unit {
    std::string_view name;
    std::int64_t millis;
  };
  constexpr Unit kUnits[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"", 1000}};
  for (const Unit& unit : kUnits) {
    if (!text.ends_with(unit.name)) continue;
    const auto number = parse_integer<std::uint32_t>(std::string_view(text).substr(0, text.size() - unit.name.size()));
    if (number && *number * unit.millis <= 3'600'000) return milliseconds(*number * unit.millis);
    break;
  }
  return fail(Errc::Invalid, "--grace: '{}' is no time up to an hour; write it like 10s, 500ms or 2m", text);
}

// Only a person at a terminal is asked, and only about what runs.
bool confirmed(Context& context, const GrantView& grant) {
  const bool asks = ::isatty(STDIN_FILENO) == 1 && context.err.is_terminal() && !context.given.has("force");
  if (!asks || !grant.is("running")) return true;
  context.err.print("{} of {} runs `{}` ({} process{}). End it? [y/N] ", grant.id, owner_text(grant),
                    harmless(command_text(grant)), grant.processes.size(), grant.processes.size() == 1 ? "" : "es");
  char answer[64] = {};
  const ssize_t got = ::read(STDIN_FILENO, answer, sizeof answer - 1);
  return got > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}

// Waits until it has ended: past the grace it takes no more than the agent's next look.
Result<GrantView> ended(Agent& agent, GrantView grant, const std::string& target, milliseconds grace) {
  const Instant until = std::chrono::steady_clock::now() + grace + milliseconds(5000);
  while (!grant.is("ended") && std::chrono::steady_clock::now() < until)
    grant = TRY(read_grant_view(TRY(agent.json("GET", target + "?wait_ms=2000"))));
  return grant;
}

Result<bool> release_one(Context& context, Agent& agent, const std::string& id, milliseconds grace) {
  const std::string target = "/api/v1/grants/" + id;
  const GrantView now = TRY(read_grant_view(TRY(agent.json("GET", target))));
  if (now.is("ended")) return fail(Errc::Conflict, "{} has ended already", id);
  if (!confirmed(context, now)) {
    context.err.print("{} left as it is\n", id);
    return false;
  }
  const Answer answer = TRY(agent.call("DELETE", fmt::format("{}?grace_ms={}", target, grace.count())));
  if (!answer.good()) return tl::unexpected(error_of(answer));
  const GrantView after = TRY(ended(agent, TRY(read_grant_view(TRY(read_body(answer.body)))), target, grace));
  context.out.print("{} {}\n", id, after.is("ended") ? "released" : "is still ending; `kiboko ps` shows it");
  return after.is("ended");
}

Result<int> run(Context& context) {
  const milliseconds grace = TRY(read_grace(context.given.value("grace").value_or("10s")));
  const auto agent = TRY(context.agent());
  int status = kDone;
  for (const std::string& word : context.given.words) {
    const auto released =
        checked_id(word).and_then([&](const std::string& id) { return release_one(context, *agent, id, grace); });
    if (!released) context.err.print("kiboko release: {}\n", released.error().message);
    if (!released || !*released) status = kNegative;
  }
  return status;
}

}  // namespace

extern const Command kRelease;
constexpr Command kRelease{.name = "release",
                           .summary = "end grants and their programs",
                           .operands = "ID…",
                           .words = Words::Some,
                           .flags = kFlags,
                           .about = R"(
A grant that waits is withdrawn; one that runs is ended: its processes get TERM and, after the grace, KILL. At a terminal
you are asked before a running program is ended.)",
                           .examples = R"(
kiboko release g-7f3a9c01
kiboko release --force --grace 30s g-7f3a9c01 g-0011aabb)",
                           .run = run};

}  // namespace kiboko::cli
