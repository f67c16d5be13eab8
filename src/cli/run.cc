// `kiboko run`: ask, wait, start, stay beside, end alike.
//
// The order matters. Signals are blocked before the ask, so that Ctrl-C always withdraws it; the program is looked up
// before the ask; it is forked and attached before exec, so that it is never outside its grant; and from exec on
// nothing that happens to the agent changes how the program runs or what status we leave with.
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/ask_flags.h"
#include "cli/child.h"
#include "cli/command.h"
#include "cli/container.h"
#include "cli/explanation.h"
#include "cli/queue_wait.h"
#include "cli/supervise.h"

namespace kiboko::cli {
namespace {

using namespace std::chrono_literals;

// A host that is busy, or an agent with many asks at once, is no reason for a program to fail.
constexpr auto kPatience = 60s;

constexpr auto kRunFlags = [] {
  std::array<Flag, kAskFlags.size() + 3> flags{};
  std::copy(kAskFlags.begin(), kAskFlags.end(), flags.begin());
  flags[kAskFlags.size()] = {"no-wait", 0, {}, "refuse instead of waiting"};
  flags[kAskFlags.size() + 1] = {"dry-run", 0, {}, "show what would be granted; start nothing"};
  flags[kAskFlags.size() + 2] = {"container", 0, "ENGINE", "hand the grant to a container: podman, docker, nerdctl",
                                 "podman|docker|nerdctl"};
  return flags;
}();

// A grant that is given back unless its program has started.
class Held {
 public:
  Held(Agent& agent, GrantView grant) : agent_(agent), grant_(std::move(grant)) {}
  ~Held() {
    if (!started_) [[maybe_unused]]
      const auto ignored = agent_.call("DELETE", target() + "?grace_ms=0", {}, 2000ms);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  const GrantView& grant() const { return grant_; }
  void started() { started_ = true; }
  // Has somebody released it? Without an agent: not that we know.
  bool over() const {
    const auto json = agent_.json("GET", target());
    const auto now = json ? read_grant_view(*json) : tl::unexpected(json.error());
    return now && !now->live();
  }
  Result<void> attach(pid_t pid, std::chrono::milliseconds patience) {
    const auto answer = TRY(agent_.call("POST", target() + "/attach", fmt::format(R"({{"pid":{}}})", pid), patience));
    if (!answer.good()) return tl::unexpected(error_of(answer));
    return {};
  }

 private:
  std::string target() const { return "/api/v1/grants/" + grant_.id; }
  Agent& agent_;
  const GrantView grant_;
  bool started_ = false;
};

std::string current_directory() {
  char path[4096];
  return ::getcwd(path, sizeof path) == nullptr ? "" : path;
}

// The grant, at once or after waiting; or the signal that ended the wait.
Result<Waited> obtain(Agent& agent, const Ask& ask, const Signals& signals, Output& err) {
  const auto answer = agent.call("POST", "/api/v1/grants", ask_body(ask), kPatience, signals.fd());
  // Interrupted: if the ask did arrive, it ends with its keeper, this process.
  if (!answer)
    if (const auto signal = signals.next()) return Waited{std::nullopt, static_cast<int>(signal->ssi_signo)};
  if (!answer) return tl::unexpected(answer.error());
  if (!answer->good() && answer->status != 409) return tl::unexpected(error_of(*answer));
  const Json json = TRY(read_body(answer->body));
  if (answer->status == 409) return fail(Errc::Conflict, "{}", refusal_text(read_refusal_view(json)));
  const GrantView grant = TRY(read_grant_view(json));
  if (grant.live()) return Waited{grant, 0};
  return wait_for_grant(agent, grant, signals, err);
}

void say_default(Output& err, const GrantView& grant) {
  if (!grant.default_applied || !err.is_terminal()) return;
  err.write(err.styled(
      Style::Dim, fmt::format("kiboko: no amount asked for; granted {}\n", granted_text(grant.kind, grant.devices))));
}

// Ends as the program ended.
int end_alike(const Ending& ending) {
  if (!ending.signalled) return ending.value;
  die_of(ending.value);
  return 128 + ending.value;
}

Ending own_failure(Output& err, const StartError& error) {
  err.print("kiboko run: {}\n", error.message);
  return {false, error.status};
}

// What runs within the grant: the program itself, or an engine that runs it in a container.
struct Job {
  Program program;
  std::function<bool()> look;                       // called while it runs, until true
  std::function<std::vector<pid_t>()> left_behind;  // what belongs to the grant when it has ended
  std::function<void()> tidy;                       // called instead when the grant was ended by force
};

Job plain_job(const std::string& path, const std::vector<std::string>& words, const GrantView& grant) {
  return {{path, words, merged(own_variables(), grant.environment)}, {}, remaining_descendants, [] {}};
}

// Without an agent there is no report: it finds the processes by itself when it is back.
void report(Held& held, const std::vector<pid_t>& processes) {
  for (const pid_t pid : processes)
    if (const auto attached = held.attach(pid, 500ms); !attached && attached.error().code == Errc::Unavailable) return;
}

Result<Job> container_job(const std::string& engine, const std::string& path, const std::vector<std::string>& words,
                          Held& held, const CidFile& cid) {
  const GrantView& grant = held.grant();
  auto arguments =
      TRY(container_arguments(engine, words, grant, look_at_host(grant), cid.is_ours() ? cid.path() : std::string()));
  const auto processes = [path, cid_path = cid.path()] { return container_processes(path, cid_path); };
  constexpr int kMostLooks = 300;  // a minute: an engine that takes longer pulls an image, and says so at the end
  const auto look = [&held, processes, looks = 0]() mutable {
    const std::vector<pid_t> found = processes();
    report(held, found);
    return !found.empty() || ++looks == kMostLooks;
  };
  const auto tidy = [path, words, cid_path = cid.path()] { tidy_container(path, words, cid_path); };
  return Job{{path, std::move(arguments), own_variables()}, look, processes, tidy};
}

Result<Ending> start_and_supervise(Context& context, Held& held, Signals& signals, const Job& job) {
  if (const auto signal = signals.next()) return Ending{true, static_cast<int>(signal->ssi_signo)};
  TRY(signals.take_all());
  become_subreaper();
  const Terminal terminal = Terminal::look();
  StoppedChild child = TRY(StoppedChild::start(job.program, signals, terminal));
  TRY(held.attach(child.pid(), kPatience).map_error(about("the agent did not take the program in")));
  if (const auto gone = child.go(terminal); !gone) return own_failure(context.err, gone.error());
  held.started();
  const Ending ending = supervise(child.pid(), signals, terminal, job.look);
  if (ending == Ending{true, SIGKILL} && held.over())
    job.tidy();
  else  // what it left running stays in the grant when we, its keeper, are gone
    report(held, job.left_behind());
  return ending;
}

Result<Ending> run_granted(Context& context, const Ask& ask, const std::string& path) {
  Signals signals = TRY(Signals::for_waiting());
  const auto agent = TRY(context.agent());
  const Waited waited = TRY(obtain(*agent, ask, signals, context.err));
  if (!waited.grant) return Ending{true, waited.cancelled_by};
  Held held{*agent, *waited.grant};
  say_default(context.err, held.grant());
  const auto engine = context.given.value("container");
  const auto& words = context.given.words;
  if (!engine) return start_and_supervise(context, held, signals, plain_job(path, words, held.grant()));
  const CidFile cid = TRY(CidFile::choose(words));
  return start_and_supervise(context, held, signals, TRY(container_job(*engine, path, words, held, cid)));
}

Result<int> run(Context& context) {
  Ask ask = TRY(read_ask(context.given));
  ask.wait = !context.given.has("no-wait");
  ask.command = context.given.words;
  ask.cwd = current_directory();
  ask.keeper_pid = ::getpid();
  if (const auto engine = context.given.value("container")) ask.command.insert(ask.command.begin(), *engine);
  if (context.given.has("dry-run")) {
    const auto agent = TRY(context.agent());
    return TRY(explain_to(context, *agent, ask)) ? kDone : kOwnFailure;
  }
  const auto path = find_program(ask.command.front());
  if (!path) return own_failure(context.err, path.error()).value;
  return end_alike(TRY(run_granted(context, ask, *path)));
}

}  // namespace

extern const Command kRun;
constexpr Command kRun{.name = "run",
                       .summary = "run a program with a share of a device",
                       .operands = "PROGRAM [ARGUMENT…]",
                       .words = Words::Program,
                       .flags = kRunFlags,
                       .about = R"(
Asks the agent for a share, waits in the queue while it does not fit, then runs the program within it. The program gets
the terminal, the signals, the files and the directory as if it had been started directly, and `kiboko run` ends as it
ends: the same exit status, or the same signal. If the agent stops meanwhile, the program runs on.

With --container, what stands behind `--` is what would stand behind the engine's name, beginning with `run`.

exit status: the program's; 125 when kiboko itself failed or was refused, 126 when the program cannot be executed, 127
when it is not found.)",
                       .examples = R"(
kiboko run --memory 4GiB --cores 30 -- python train.py     4 GiB and 30 % of a device's compute
kiboko run --memory 25% -- ./bench                         a quarter of the memory, compute shared fairly
kiboko run --exclusive --count 2 --type H100 -- torchrun … two whole H100
kiboko run --no-wait --memory 40GiB -- ./big               refuse with the reason instead of waiting
kiboko run --dry-run --memory 40GiB -- ./big               what would happen
kiboko run --memory 4GiB --container podman -- run --rm IMAGE python train.py)",
                       .run = run};

}  // namespace kiboko::cli
