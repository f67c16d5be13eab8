// `kiboko events`: what happened on this host, oldest first.
#include <poll.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/command.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

constexpr Flag kFlags[] = {{"after", 0, "NUMBER", "only events with a greater number"},
                           {"follow", 'f', {}, "go on printing what happens, until Ctrl-C"}};
constexpr int kPauseMillis = 1000;

struct Page {
  std::vector<Json> rows;
  std::int64_t last = 0;
};

Result<Page> fetch(Agent& agent, std::int64_t after) {
  Page page{TRY(fetch_rows(agent, fmt::format("/api/v1/events?after={}", after), "events")), after};
  if (!page.rows.empty()) page.last = read_event_view(page.rows.back()).id;
  return page;
}

void print(Context& context, const std::vector<Json>& rows) {
  for (const Json& row : rows) {
    if (context.as_json()) {  // one object a line, so that a stream can be read
      context.out.write(row.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
      continue;
    }
    const EventView event = read_event_view(row);
    const std::string time = format_time(WallTime{std::chrono::milliseconds{event.time_ms}});
    const Style style = event.severity == "warning" ? Style::Warning : Style::Plain;
    context.out.print("{:>6}  {}  {}  {}\n", event.id, time,
                      context.out.styled(style, fmt::format("{:<12}", harmless(event.kind))), harmless(event.sentence));
  }
}

Result<int> run(Context& context) {
  std::int64_t after = 0;
  if (const auto text = context.given.value("after"))
    after = TRY(parse_integer<std::int64_t>(*text).map_error(about("--after")));
  const auto agent = TRY(context.agent());
  const bool follow = context.given.has("follow");
  while (!context.out.broken()) {
    const Page page = TRY(fetch(*agent, after));
    print(context, page.rows);
    after = page.last;
    if (page.rows.empty() && !follow) break;
    if (page.rows.empty()) ::poll(nullptr, 0, kPauseMillis);
  }
  return kDone;
}

}  // namespace

extern const Command kEvents;
constexpr Command kEvents{.name = "events",
                          .summary = "what happened on this host, oldest first",
                          .flags = kFlags,
                          .listing = true,
                          .about = "With `--output json`, one object a line.",
                          .examples = R"(
kiboko events --follow
kiboko events --after 1200 -o json)",
                          .run = run};

}  // namespace kiboko::cli
