// `kiboko run` as a program, against an agent with scripted answers.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/environment.h"
#include "cli/exit_status.h"
#include "cli/fake_agent.h"

namespace kiboko::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kGranted = R"({"id": "g-1", "state": "granted", "kind": "share", "devices": [],
  "environment": {"KIBOKO_GRANT": "/page", "LD_LIBRARY_PATH": "/first", "GONE": null}})";
constexpr const char* kWaiting = R"({"id": "g-1", "state": "waiting", "devices": [],
  "waiting": {"position": 2, "since_ms": 1, "reason": "device 0 is full", "code": "memory"}})";

// A started `kiboko run`; both outputs go into one pipe.
class Process {
 public:
  Process(const FakeAgent& agent, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {KIBOKO_COMMAND, "run", "--socket", agent.socket()});
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    ::setenv("LD_LIBRARY_PATH", "/callers", 1);
    ::setenv("GONE", "1", 1);
    EXPECT_EQ(::posix_spawn(&pid_, KIBOKO_COMMAND, &actions, nullptr, pointers.data(), environ), 0);
    ::unsetenv("LD_LIBRARY_PATH");
    ::unsetenv("GONE");
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    output_ = UniqueFd{ends[0]};
  }

  std::string wait_for(const std::string& text) {
    char chunk[512];
    while (seen_.find(text) == std::string::npos) {
      const ssize_t got = ::read(output_.get(), chunk, sizeof chunk);
      if (got <= 0) break;
      seen_.append(chunk, static_cast<std::size_t>(got));
    }
    return seen_;
  }
  std::string rest() { return wait_for("\x01 never written"); }
  int status() const {
    int status = -1;
    ::waitpid(pid_, &status, 0);
    return status;
  }
  void signal(int number) const { ::kill(pid_, number); }

 private:
  pid_t pid_ = 0;
  UniqueFd output_;
  std::string seen_;
};

MATCHER_P(ExitedWith, code, "") { return WIFEXITED(arg) && WEXITSTATUS(arg) == code; }
MATCHER_P(DiedOf, number, "") { return WIFSIGNALED(arg) && WTERMSIG(arg) == number; }

std::vector<std::tuple<std::string, std::string, FakeAgent::Script>> grants_at_once() {
  return {{"POST", "/api/v1/grants", says(201, kGranted)},
          {"POST", "/api/v1/grants/{id}/attach", says(200, kGranted)},
          {"DELETE", "/api/v1/grants/{id}", says(200, kGranted)}};
}

TEST(Run, AttachesTheProgramBeforeItRunsWithTheGrantsEnvironment) {
  FakeAgent agent{grants_at_once()};
  Process run{agent, {"-m", "4GiB", "--", "sh", "-c", "echo $$ $KIBOKO_GRANT $LD_LIBRARY_PATH ${GONE-gone}"}};
  const std::string text = run.rest();
  EXPECT_THAT(run.status(), ExitedWith(0));
  EXPECT_THAT(text, HasSubstr(" /page /first:/callers gone\n"));
  EXPECT_THAT(agent.all_requests(),
              AllOf(HasSubstr(R"("memory_bytes":4294967296)"), HasSubstr(R"("wait":true)"),
                    HasSubstr(fmt::format(R"(attach {{"pid":{}}})", std::stoi(text))), Not(HasSubstr("DELETE"))));
}

TEST(Run, EndsAsTheProgramEnds) {
  FakeAgent agent{grants_at_once()};
  EXPECT_THAT((Process{agent, {"--", "sh", "-c", "exit 42"}}.status()), ExitedWith(42));
  EXPECT_THAT((Process{agent, {"--", "sh", "-c", "kill -KILL $$"}}.status()), DiedOf(SIGKILL));
}

TEST(Run, LooksForTheProgramBeforeItAsks) {
  FakeAgent agent{grants_at_once()};
  EXPECT_THAT((Process{agent, {"--", "no-such-program-here"}}.status()), ExitedWith(kNotFound));
  EXPECT_THAT((Process{agent, {"--", "/etc/passwd"}}.status()), ExitedWith(kNotExecutable));
  EXPECT_EQ(agent.all_requests(), "");
}

TEST(Run, GivesTheGrantBackWhenTheProgramCannotBeAttached) {
  auto routes = grants_at_once();
  std::get<2>(routes[1]) = [](const net::Request&) { return net::problem(403, "forbidden", "not your process"); };
  FakeAgent agent{std::move(routes)};
  Process run{agent, {"--", "sh", "-c", "echo must not run"}};
  EXPECT_THAT(run.rest(), AllOf(HasSubstr("not your process"), Not(HasSubstr("must not run"))));
  EXPECT_THAT(run.status(), ExitedWith(kOwnFailure));
  EXPECT_THAT(agent.all_requests(), HasSubstr("DELETE /api/v1/grants/g-1"));
}

TEST(Run, RefusesWithTheSentenceAndTheNearestChange) {
  FakeAgent agent{
      {{"POST", "/api/v1/grants", says(409, R"({"code": "memory", "sentence": "device 0: asked 90.0 GiB, 80.0 GiB free",
                                  "devices": [], "nearest": "10.0 GiB less would fit"})")}}};
  Process run{agent, {"--no-wait", "-m", "90GiB", "--", "true"}};
  EXPECT_THAT(run.rest(), AllOf(HasSubstr("asked 90.0 GiB, 80.0 GiB free"), HasSubstr("10.0 GiB less would fit")));
  EXPECT_THAT(run.status(), ExitedWith(kOwnFailure));
  EXPECT_THAT(agent.all_requests(), HasSubstr(R"("wait":false)"));
}

TEST(Run, WaitsWithPlaceAndReasonUntilItsTurn) {
  auto routes = grants_at_once();
  std::get<2>(routes[0]) = says(202, kWaiting);
  routes.emplace_back("GET", "/api/v1/grants/{id}", [polls = 0](const net::Request&) mutable {
    return net::json(200, ++polls < 3 ? kWaiting : kGranted);
  });
  FakeAgent agent{std::move(routes)};
  Process run{agent, {"--", "echo", "my turn"}};
  EXPECT_THAT(run.rest(), AllOf(HasSubstr("waiting, place 2 in the queue: device 0 is full"), HasSubstr("my turn")));
  EXPECT_THAT(run.status(), ExitedWith(0));
}

TEST(Run, WithdrawsTheAskAndDiesOfTheSignalThatEndsTheWait) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    auto routes = grants_at_once();
    std::get<2>(routes[0]) = says(202, kWaiting);
    routes.emplace_back("GET", "/api/v1/grants/{id}", says(200, kWaiting));
    FakeAgent agent{std::move(routes)};
    Process run{agent, {"--", "true"}};
    run.wait_for("device 0 is full");
    run.signal(number);
    EXPECT_THAT(run.status(), DiedOf(number));
    EXPECT_THAT(agent.all_requests(), AllOf(HasSubstr("DELETE /api/v1/grants/g-1"), Not(HasSubstr("attach"))));
  }
}

TEST(Run, SurvivesTheEndOfTheAgent) {
  auto agent = std::make_unique<FakeAgent>(grants_at_once());
  Process run{*agent, {"--", "sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"}};
  run.wait_for("ready");
  agent.reset();
  run.signal(SIGUSR1);
  EXPECT_THAT(run.status(), ExitedWith(9));
}

TEST(Run, ReportsWhatTheProgramLeftRunning) {
  FakeAgent agent{grants_at_once()};
  Process run{agent, {"--", "sh", "-c", "sleep 100 >/dev/null 2>&1 & echo $!"}};
  const int left = std::stoi(run.rest());
  EXPECT_THAT(run.status(), ExitedWith(0));
  EXPECT_THAT(agent.all_requests(), HasSubstr(fmt::format(R"(attach {{"pid":{}}})", left)));
  ::kill(left, SIGKILL);
}

}  // namespace
}  // namespace kiboko::cli
