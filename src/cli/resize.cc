// `kiboko resize`: change the limits of a grant while its program runs.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/ask_flags.h"
#include "cli/command.h"
#include "cli/explanation.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

constexpr Flag kFlags[] = {{"memory", 'm', "SIZE|PERCENT", "the new limit on each of its devices: 6GiB, 40%"},
                           {"cores", 'c', "PERCENT", "the new share of compute on each, 1 to 100"}};

// A percentage is of the smallest of its devices: a grant has one number for all.
Result<Bytes> memory_of(Agent& agent, const std::string& id, const Amount& amount) {
  if (amount.bytes) return *amount.bytes;
  const GrantView grant = TRY(read_grant_view(TRY(agent.json("GET", "/api/v1/grants/" + id))));
  std::optional<std::uint64_t> smallest;
  for (const DeviceShare& share : grant.devices)
    if (share.physical_bytes) smallest = std::min(smallest.value_or(*share.physical_bytes), *share.physical_bytes);
  if (!smallest) return fail(Errc::Conflict, "{} has no device yet, so a percentage of it means nothing", id);
  return part_of(Bytes{*smallest}, *amount.percent);
}

Result<int> run(Context& context) {
  if (context.given.words.size() != 1) return fail(Errc::Invalid, "give the ID of one grant; `kiboko ps` lists them");
  const std::string id = TRY(checked_id(context.given.words.front()));
  if (!context.given.has("memory") && !context.given.has("cores"))
    return fail(Errc::Invalid, "nothing to change: give --memory, --cores or both");
  Json body = Json::object();
  if (const auto cores = context.given.value("cores")) body["core_percent"] = TRY(read_cores(*cores)).count;
  std::optional<Amount> amount;
  if (const auto memory = context.given.value("memory")) amount = TRY(read_memory(*memory));
  const auto agent = TRY(context.agent());
  if (amount) body["memory_bytes"] = TRY(memory_of(*agent, id, *amount)).count;
  const Answer answer = TRY(agent->call("PATCH", "/api/v1/grants/" + id, body.dump()));
  if (!answer.good()) return tl::unexpected(error_of(answer));
  const GrantView grant = TRY(read_grant_view(TRY(read_body(answer.body))));
  context.out.print("{}: {}\n", grant.id, granted_text(grant.kind, grant.devices));
  return kDone;
}

}  // namespace

extern const Command kResize;
constexpr Command kResize{.name = "resize",
                          .summary = "change the limits of a grant while it runs",
                          .operands = "ID",
                          .words = Words::Some,
                          .flags = kFlags,
                          .about = R"(
The programs of the grant see the new limits at once. More than the device has free is refused; less memory than they
hold now is allowed, and then they get no more until they are under it.)",
                          .examples = R"(
kiboko resize g-7f3a9c01 --memory 6GiB --cores 50
kiboko resize g-7f3a9c01 --memory 40%)",
                          .run = run};

}  // namespace kiboko::cli
