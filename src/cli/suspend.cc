// `kiboko suspend` and `kiboko resume`: hold the programs of a grant, and let them go on.
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/command.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

constexpr std::chrono::seconds kPatience{10};

Result<GrantView> call(Agent& agent, const std::string& id, std::string_view verb) {
  const Answer answer = TRY(agent.call("POST", fmt::format("/api/v1/grants/{}/{}", id, verb)));
  if (!answer.good()) return tl::unexpected(error_of(answer));
  return read_grant_view(TRY(read_body(answer.body)));
}

// Until nothing of it is in flight.
Result<GrantView> drained(Agent& agent, GrantView grant) {
  const Instant until = std::chrono::steady_clock::now() + kPatience;
  while (grant.suspended && !grant.drained && std::chrono::steady_clock::now() < until)
    grant = TRY(read_grant_view(TRY(agent.json("GET", fmt::format("/api/v1/grants/{}?wait_ms=1000", grant.id)))));
  return grant;
}

Result<bool> suspend_one(Context& context, Agent& agent, const std::string& id) {
  const GrantView grant = TRY(drained(agent, TRY(call(agent, id, "suspend"))));
  const bool done = grant.suspended && grant.drained;
  context.out.print("{} {}\n", id,
                    done ? "suspended, nothing of it is in flight"
                    : grant.suspended
                        ? "suspended, but work launched before is still in flight; `kiboko grants show` tells more"
                        : "is not suspended any more");
  return done;
}

Result<bool> resume_one(Context& context, Agent& agent, const std::string& id) {
  TRY(call(agent, id, "resume"));
  context.out.print("{} resumed\n", id);
  return true;
}

using One = Result<bool> (*)(Context& context, Agent& agent, const std::string& id);

template <One one>
Result<int> run(Context& context) {
  const auto agent = TRY(context.agent());
  int status = kDone;
  for (const std::string& word : context.given.words) {
    const auto done = checked_id(word).and_then([&](const std::string& id) { return one(context, *agent, id); });
    if (!done) context.err.print("kiboko: {}\n", done.error().message);
    if (!done || !*done) status = kNegative;
  }
  return status;
}

}  // namespace

extern const Command kSuspend, kResume;
constexpr Command kSuspend{.name = "suspend",
                           .summary = "let the programs of a grant launch nothing more for now",
                           .operands = "ID…",
                           .words = Words::Some,
                           .flags = {},
                           .about = R"(
What the programs launch or copy from now on waits until `kiboko resume`; what is in flight runs to its end, and the
command waits for that, ten seconds at most. Memory stays allocated. The programs themselves run on: what they do
without the device, and copies that they wait for, goes on. If the agent dies, they go on after a minute.)",
                           .examples = R"(
kiboko suspend g-7f3a9c01)",
                           .run = run<suspend_one>};
constexpr Command kResume{.name = "resume",
                          .summary = "let suspended programs go on",
                          .operands = "ID…",
                          .words = Words::Some,
                          .flags = {},
                          .about = R"(
What waited because the grant was suspended is launched at once.)",
                          .examples = R"(
kiboko resume g-7f3a9c01)",
                          .run = run<resume_one>};

}  // namespace kiboko::cli
