// `kiboko ps`: who has what, who waits and why, and who uses a device without a grant.
#include <algorithm>

#include "base/text.h"
#include "cli/command.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

constexpr Flag kFlags[] = {{"all", 'a', {}, "also grants that have ended of late"}};

Style state_style(const GrantView& grant) {
  if (grant.suspended) return Style::Warning;
  if (grant.is("running")) return Style::Good;
  if (grant.is("waiting") || grant.is("ending")) return Style::Warning;
  return grant.is("ended") ? Style::Dim : Style::Plain;
}

bool over_limit(const GrantView& grant) {
  return std::ranges::any_of(grant.devices, [](const DeviceShare& device) {
    return device.used_bytes && device.limit_bytes && *device.limit_bytes > 0 &&
           *device.used_bytes > *device.limit_bytes;
  });
}

std::string grants_table(const Context& context, const std::vector<GrantView>& grants) {
  Table table{{{"GRANT"},
               {"OWNER", false, 6},
               {"MODE", false, 4},
               {"STATE"},
               {"DEVICE", false, 6},
               {"MEMORY", true},
               {"CORES", true},
               {"SINCE", true},
               {"COMMAND", false, 12}}};
  const WallTime now = context.clock.wall();
  for (const GrantView& grant : grants) {
    table.add({grant.id,
               owner_text(grant),
               grant.mode.empty() ? "-" : grant.mode,
               {state_text(grant), state_style(grant)},
               devices_text(grant),
               {used_of(memory_used(grant), memory_limit(grant)), over_limit(grant) ? Style::Bad : Style::Plain},
               cores_text(grant),
               age(grant.started_ms ? grant.started_ms : grant.created_ms, now),
               command_text(grant)});
  }
  return table.text(context.out);
}

std::string waiting_table(const Context& context, const std::vector<GrantView>& grants) {
  Table table{{{"WAITING"},
               {"OWNER", false, 6},
               {"PLACE", true},
               {"SINCE", true},
               {"REASON", false, 20},
               {"COMMAND", false, 12}}};
  for (const GrantView& grant : grants) {
    const Waiting waiting = grant.waiting.value_or(Waiting{});
    table.add({grant.id,
               owner_text(grant),
               std::to_string(waiting.position),
               age(waiting.since_ms > 0 ? waiting.since_ms : grant.created_ms, context.clock.wall()),
               {waiting.reason, Style::Warning},
               command_text(grant)});
  }
  return table.text(context.out);
}

Result<int> run(Context& context) {
  const auto agent = TRY(context.agent());
  const std::string target = context.given.has("all") ? "/api/v1/grants?state=all" : "/api/v1/grants";
  if (context.as_json()) return print_json(context, *agent, target);
  std::vector<GrantView> grants = TRY(fetch_grants(*agent, target));
  const auto devices = TRY(fetch_devices(*agent));
  std::vector<GrantView> waiting;
  std::ranges::copy_if(grants, std::back_inserter(waiting), [](const GrantView& grant) { return grant.is("waiting"); });
  std::erase_if(grants, [](const GrantView& grant) { return grant.is("waiting"); });
  std::ranges::sort(waiting, {}, [](const GrantView& grant) { return grant.waiting ? grant.waiting->position : 0; });
  std::string text;
  if (grants.empty() && waiting.empty()) text += "no grants; `kiboko run -- PROGRAM` makes one\n";
  if (!grants.empty()) text += grants_table(context, grants);
  if (!waiting.empty()) text += (grants.empty() ? "" : "\n") + waiting_table(context, waiting);
  const std::string violations = violations_text(context.out, devices) + tampering_text(context.out, grants);
  if (!violations.empty()) text += "\n" + violations;
  context.out.write(text);
  return kDone;
}

}  // namespace

extern const Command kPs;
constexpr Command kPs{.name = "ps",
                      .summary = "who has what, who waits and why",
                      .flags = kFlags,
                      .listing = true,
                      .about = R"(
MEMORY is used / limit, CORES is used / limit of the device's compute; both summed over a grant's devices. MODE is
"enforced" where the agent is root and the program is not, "cooperative" otherwise. "-" means not known.)",
                      .examples = R"(
kiboko ps                  running and waiting grants
kiboko ps -o json | jq     for scripts)",
                      .run = run};

}  // namespace kiboko::cli
