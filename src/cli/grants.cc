// `kiboko grants`: the grants as a list, or one in full, with what its page says to its programs.
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/command.h"
#include "cli/listing.h"
#include "cli/page_text.h"

namespace kiboko::cli {
namespace {

constexpr Flag kFlags[] = {{"all", 'a', {}, "list also grants that have ended of late"}};

Result<int> list(Context& context, Agent& agent) {
  const std::string target = context.given.has("all") ? "/api/v1/grants?state=all" : "/api/v1/grants";
  if (context.as_json()) return print_json(context, agent, target);
  Table table{{{"GRANT"},
               {"STATE"},
               {"OWNER", false, 6},
               {"KIND"},
               {"MODE"},
               {"DEVICE", false, 6},
               {"MEMORY", true},
               {"CORES", true},
               {"POLICY"},
               {"PRIORITY"},
               {"CREATED", true},
               {"PROCESSES", true}}};
  for (const GrantView& grant : TRY(fetch_grants(agent, target)))
    table.add({grant.id, state_text(grant), owner_text(grant), grant.kind, grant.mode, devices_text(grant),
               bytes_or_dash(memory_limit(grant)), cores_limit_text(grant), grant.policy, grant.priority,
               age(grant.created_ms, context.clock.wall()), std::to_string(grant.processes.size())});
  context.out.write(table.empty() ? "no grants; `kiboko run -- PROGRAM` makes one\n" : table.text(context.out));
  return kDone;
}

std::string line(std::string_view name, std::string_view value) {
  return value.empty() ? "" : fmt::format("{:<12}{}\n", name, harmless(value));
}

std::string facts(const GrantView& grant, WallTime now) {
  std::string text = line("grant", grant.id) + line("state", state_text(grant)) + line("owner", owner_text(grant)) +
                     line("kind", grant.kind) + line("mode", grant.mode) + line("policy", grant.policy) +
                     line("priority", grant.priority) + line("created", age(grant.created_ms, now) + " ago");
  if (grant.started_ms) text += line("started", age(grant.started_ms, now) + " ago");
  if (grant.waiting) text += line("waits", grant.waiting->reason);
  text += line("ended", grant.end_reason) + line("held by", grant.held_by) + line("command", command_text(grant));
  for (const DeviceShare& share : grant.devices)
    text += line("device", fmt::format("{} {} {}: memory {}, cores {}", share.index.value_or(-1), share.uuid,
                                       share.model, used_of(share.used_bytes, share.limit_bytes),
                                       percent_or_dash(share.compute_percent) + " / " + cores_limit_text(grant)));
  for (const ProcessView& process : grant.processes)
    text += line("process", fmt::format("{} {} {}", process.pid, process.command, bytes_or_dash(process.used_bytes)));
  for (const std::string& sentence : grant.tampering) text += line("violation", sentence);
  for (const auto& [name, value] : grant.environment)
    text += line("environment", value ? fmt::format("{}={}", name, *value) : fmt::format("{} removed", name));
  return text + line("region", grant.region) + line("page", grant.page);
}

Result<int> show(Context& context, Agent& agent, const std::string& id) {
  const std::string target = "/api/v1/grants/" + id;
  if (context.as_json()) return print_json(context, agent, target);
  const GrantView grant = TRY(read_grant_view(TRY(agent.json("GET", target))));
  std::string text = facts(grant, context.clock.wall());
  if (!grant.page.empty()) {
    const auto page = page_text(grant.page, context.clock.now_ns());
    text += page ? "\n" + *page : fmt::format("\nthe page cannot be shown: {}\n", page.error().message);
  }
  context.out.write(text);
  return kDone;
}

Result<int> run(Context& context) {
  const auto& words = context.given.words;
  const std::string what = words.empty() ? "list" : words.front();
  if (what == "list" && words.size() <= 1) return list(context, *TRY(context.agent()));
  if (what == "show" && words.size() == 2) return show(context, *TRY(context.agent()), TRY(checked_id(words[1])));
  return fail(Errc::Invalid, "write `kiboko grants`, `kiboko grants list` or `kiboko grants show ID`");
}

}  // namespace

extern const Command kGrants;
constexpr Command kGrants{.name = "grants",
                          .summary = "all about grants: list them, show one and its page",
                          .operands = "[list | show ID]",
                          .words = Words::Optional,
                          .flags = kFlags,
                          .listing = true,
                          .about = R"(
`show` prints what the agent knows of one grant, and the content of its page: the file from which its programs read
their limits.)",
                          .examples = R"(
kiboko grants --all             those that ended of late, too
kiboko grants show g-7f3a9c01)",
                          .subwords = "list|show",
                          .run = run};

}  // namespace kiboko::cli
