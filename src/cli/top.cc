// `kiboko top`: the host at a glance, drawn anew every second.
#include <poll.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/listing.h"
#include "cli/screen.h"
#include "cli/signals.h"
#include "cli/top_frame.h"

namespace kiboko::cli {
namespace {

constexpr Flag kFlags[] = {{"once", '1', {}, "print one frame and end, as it does when the output is no terminal"}};
constexpr int kRefreshMillis = 1000;
constexpr std::size_t kFileColumns = 120;

Result<Snapshot> look(Agent& agent) {
  Snapshot snapshot;
  snapshot.meta = read_meta_view(TRY(agent.json("GET", "/api/v1/meta")));
  snapshot.devices = TRY(fetch_devices(agent));
  snapshot.grants = TRY(fetch_grants(agent));
  return snapshot;
}

Result<int> print_once(Context& context, Agent& agent) {
  const Snapshot snapshot = TRY(look(agent));
  const std::size_t columns = context.out.is_terminal() ? context.out.columns() : kFileColumns;
  for (const std::string& line : top_frame(snapshot, context.clock.wall(), context.out, columns, 0))
    context.out.write(line + "\n");
  return kDone;
}

class Top {
 public:
  Top(Context& context, Agent& agent, const Signals& signals)
      : context_(context), agent_(agent), signals_(signals), screen_(context.out, STDIN_FILENO) {}

  // Returns 0 for q and Ctrl-C, otherwise the signal to die of.
  int run() {
    refresh();
    for (;;) {
      draw();
      pollfd ready[] = {{signals_.fd(), POLLIN, 0}, {keyboard_, POLLIN, 0}};
      const int count = ::poll(ready, 2, kRefreshMillis);
      if (count == 0) refresh();
      if (const auto ending = handle_signals()) return *ending;
      if ((ready[1].revents & (POLLIN | POLLHUP)) != 0 && quit_typed()) return 0;
      if (context_.out.broken()) return 0;
    }
  }

 private:
  void refresh() {
    auto snapshot = look(agent_);
    if (snapshot)
      snapshot_ = std::move(*snapshot);
    else
      snapshot_.trouble = snapshot.error().message;
  }

  void draw() {
    screen_.draw(
        top_frame(snapshot_, context_.clock.wall(), context_.out, context_.out.columns(), context_.out.rows()));
  }

  std::optional<int> handle_signals() {
    while (const auto info = signals_.next()) {
      switch (info->ssi_signo) {
        case SIGINT:
          return 0;
        case SIGTERM:
        case SIGHUP:
        case SIGQUIT:
          return static_cast<int>(info->ssi_signo);
        case SIGTSTP:
          screen_.leave();
          ::kill(::getpid(), SIGSTOP);
          screen_.enter();
          break;
        default:
          break;  // WINCH: the next draw asks for the size
      }
    }
    return std::nullopt;
  }

  bool quit_typed() {
    char keys[64];
    const ssize_t got = ::read(keyboard_, keys, sizeof keys);
    if (got <= 0) keyboard_ = -1;  // poll leaves it out from now on
    return got > 0 && std::string_view(keys, static_cast<std::size_t>(got)).find_first_of("qQ") != std::string::npos;
  }

  Context& context_;
  Agent& agent_;
  const Signals& signals_;
  int keyboard_ = STDIN_FILENO;
  Snapshot snapshot_;
  Screen screen_;
};

Result<int> run(Context& context) {
  const auto agent = TRY(context.agent());
  if (context.given.has("once") || !context.out.is_terminal()) return print_once(context, *agent);
  Signals signals = TRY(Signals::for_waiting());
  TRY(signals.take_all());
  const int ending = Top{context, *agent, signals}.run();
  if (ending != 0) die_of(ending);
  return kDone;
}

}  // namespace

extern const Command kTop;
constexpr Command kTop{.name = "top",
                       .summary = "devices and grants, live",
                       .flags = kFlags,
                       .about = "Drawn anew every second. `q` or Ctrl-C ends it.",
                       .examples = R"(
kiboko top
kiboko top --once        one frame, for scripts and notes)",
                       .run = run};

}  // namespace kiboko::cli
