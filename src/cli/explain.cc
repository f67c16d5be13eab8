// `kiboko explain`: what would happen to an ask now, and why.
#include <unistd.h>

#include "cli/ask_flags.h"
#include "cli/explanation.h"

namespace kiboko::cli {
namespace {

// All of them but the last, which says what to do when it does not fit.
constexpr std::span<const Flag> kFlags{kAskFlags.data(), kAskFlags.size() - 1};
static_assert(kAskFlags.back().name == "wait");

Result<int> run(Context& context) {
  Ask ask = TRY(read_ask(context.given));
  ask.keeper_pid = ::getpid();
  const auto agent = TRY(context.agent());
  return TRY(explain_to(context, *agent, ask)) ? kDone : kNegative;
}

}  // namespace

extern const Command kExplain;
constexpr Command kExplain{.name = "explain",
                           .summary = "what would happen to an ask now, and why",
                           .flags = kFlags,
                           .listing = true,
                           .about = R"(
Takes the options of `kiboko run` and grants nothing. Says where each number came from, what each device answers, and
the nearest change that would fit.

exit status: 0 if it would be granted now or after waiting, 1 if it would be refused.)",
                           .examples = R"(
kiboko explain --memory 40GiB --cores 50
kiboko explain --count 2 --type H100 -o json)",
                           .run = run};

}  // namespace kiboko::cli
