// The commands that list and change, against an agent with scripted answers.
#include "cli/commands.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "cli/fake_agent.h"

namespace kiboko::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kGrants = R"({"grants": [
  {"id": "g-1", "state": "running", "owner": {"uid": 1000, "user": "alice"}, "mode": "enforced", "kind": "share",
   "command": ["python", "train.py"], "policy": "default", "priority": "high",
   "devices": [{"uuid": "GPU-1", "index": 0, "model": "H100", "physical_bytes": 85899345920,
                "limit_bytes": 4294967296, "core_percent": 30, "used_bytes": 1073741824, "compute_percent": 12.4}],
   "processes": [{"pid": 11, "used_bytes": 1073741824, "command": "python"}],
   "created_ms": 1699999990000, "started_ms": 1699999995000, "ended_ms": null, "revision": 3, "waiting": null},
  {"id": "g-2", "state": "waiting", "owner": {"uid": 1001, "user": "bob"}, "mode": "enforced", "kind": "share",
   "command": [], "devices": [], "processes": [], "created_ms": 1699999940000,
   "waiting": {"position": 1, "since_ms": 1699999940000, "reason": "device 0 (GPU-1): asked 90.0 GiB, 76.0 GiB free",
               "code": "memory"}}]})";
constexpr const char* kDeviceList = R"({"devices": [
  {"uuid": "GPU-1", "index": 0, "model": "H100", "health": "healthy", "reason": null, "simulated": true,
   "total_bytes": 85899345920, "granted_bytes": 4294967296, "used_bytes": 3221225472, "compute_percent": 40,
   "grants": 1, "new_member_of_a_later_version": {},
   "strangers": [{"pid": 99, "used_bytes": 2147483648, "command": "evil\u001b[2J", "user": "eve", "grant": null}]}]})";
constexpr const char* kMeta = R"({"version": "9.9.9", "host": "box", "mode": "enforced", "simulated": true,
  "library": "", "default_memory_percent": 25, "you": {"manages_all": true}})";

struct Ran {
  int status = 0;
  std::string out, err;
};

class Commands : public testing::Test {
 protected:
  Ran run(std::vector<std::string> arguments) {
    Ran ran;
    Output out{&ran.out, 200}, err{&ran.err, 200};
    const FakeClock clock;
    Context context{out, err, clock, [&](const std::optional<std::string>&) { return find_agent(agent_.socket()); }};
    ran.status = run_command_line(arguments, context);
    return ran;
  }
  FakeAgent agent_{{
      {"GET", "/api/v1/grants", says(200, kGrants)},
      {"GET", "/api/v1/devices", says(200, kDeviceList)},
      {"GET", "/api/v1/meta", says(200, kMeta)},
      {"GET", "/api/v1/grants/{id}",
       [](const net::Request& request) {
         if (request.capture("id") == "g-1") return net::json(200, nlohmann::json::parse(kGrants)["grants"][0].dump());
         return net::problem(404, "not_found", "there is no grant g-9");
       }},
      {"PATCH", "/api/v1/grants/{id}",
       [](const net::Request&) { return net::json(200, nlohmann::json::parse(kGrants)["grants"][0].dump()); }},
      {"POST", "/api/v1/grants/{id}/suspend",
       says(200, R"({"id": "g-1", "state": "running", "suspended": true, "drained": true})")},
      {"POST", "/api/v1/grants/{id}/resume", says(200, R"({"id": "g-1", "state": "running", "suspended": false})")},
      {"DELETE", "/api/v1/grants/{id}", says(200, R"({"id": "g-1", "state": "ended"})")},
      {"POST", "/api/v1/explain", says(200, R"({"outcome": "refused", "granted": [], "position": null,
        "refusal": {"code": "memory", "sentence": "too much", "nearest": "1.0 GiB less would fit", "devices": []},
        "devices": [{"uuid": "GPU-1", "index": 0, "fits": false, "code": "memory", "sentence": "no room",
                     "asked": "90.0 GiB", "free": "76.0 GiB"}]})")},
      {"GET", "/api/v1/doctor", says(200, R"({"well": true, "checks": [
        {"name": "driver", "health": "well", "sentence": "1 device", "next_step": null},
        {"name": "mode", "health": "notice", "sentence": "cooperative", "next_step": "run it as root"}]})")},
      {"GET", "/api/v1/events",
       [](const net::Request& request) {
         if (request.parameter("after") != "0") return net::json(200, R"({"events": [], "last": 1})");
         return net::json(200, R"({"events": [{"id": 1, "time_ms": 1700000000000, "severity": "info",
           "kind": "granted", "grant": "g-1", "sentence": "alice has 4.0 GiB"}], "last": 1})");
       }},
  }};
};

TEST_F(Commands, PsShowsGrantsWaitersAndViolations) {
  const Ran ran = run({"ps"});
  EXPECT_EQ(ran.status, 0);
  EXPECT_EQ(ran.out,
            "GRANT  OWNER  MODE      STATE    DEVICE             MEMORY        CORES  SINCE  COMMAND\n"
            "g-1    alice  enforced  running  0       1.0 GiB / 4.0 GiB  12 % / 30 %    5 s  python train.py\n"
            "\n"
            "WAITING  OWNER  PLACE      SINCE  REASON                                           COMMAND\n"
            "g-2      bob        1  1 min 0 s  device 0 (GPU-1): asked 90.0 GiB, 76.0 GiB free  -\n"
            "\n"
            "violation: process 99 (evil?[2J of eve) uses 2.0 GiB of device 0 without a grant\n");
}

TEST_F(Commands, ListingsPrintTheAgentsJson) {
  EXPECT_EQ(nlohmann::json::parse(run({"ps", "-o", "json"}).out), nlohmann::json::parse(kGrants));
  EXPECT_EQ(nlohmann::json::parse(run({"devices", "--output=json"}).out), nlohmann::json::parse(kDeviceList));
  EXPECT_EQ(nlohmann::json::parse(run({"version", "-o", "json"}).out)["agent"], "9.9.9");
}

TEST_F(Commands, DevicesShowsWhatIsGrantedAndUsed) {
  EXPECT_THAT(run({"devices"}).out, AllOf(HasSubstr("H100 (simulated)"), HasSubstr("4.0 GiB / 80.0 GiB"),
                                          HasSubstr("3.0 GiB"), HasSubstr("40 %")));
}

TEST_F(Commands, TopPrintsOneFrameWhereThereIsNoTerminal) {
  const Ran ran = run({"top"});
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.out, AllOf(HasSubstr("kiboko on box: enforced, simulated"), HasSubstr("python train.py"),
                             HasSubstr("waiting 1: g-2 of bob"), Not(HasSubstr("\x1b"))));
}

TEST_F(Commands, GrantsShowsOneOrSaysThatThereIsNone) {
  EXPECT_THAT(run({"grants", "show", "g-1"}).out,
              AllOf(HasSubstr("command     python train.py"), HasSubstr("process     11 python 1.0 GiB")));
  const Ran none = run({"grants", "show", "g-9"});
  EXPECT_EQ(none.status, kNegative);
  EXPECT_EQ(none.err, "kiboko grants: there is no grant g-9\n");
  EXPECT_EQ(run({"grants", "show", "../meta"}).status, kWrongUsage);
}

TEST_F(Commands, ResizeTurnsAPercentageIntoBytesOfTheDevice) {
  EXPECT_EQ(run({"resize", "g-1", "--memory", "50%", "--cores", "40"}).status, 0);
  EXPECT_THAT(agent_.all_requests(),
              HasSubstr(R"(PATCH /api/v1/grants/g-1 {"core_percent":40,"memory_bytes":42949672960})"));
  EXPECT_EQ(run({"resize", "g-1"}).status, kWrongUsage);
}

TEST_F(Commands, ReleaseGoesThroughAllAndRemembersAFailure) {
  const Ran ran = run({"release", "--grace", "500ms", "g-9", "g-1"});
  EXPECT_EQ(ran.status, kNegative);
  EXPECT_EQ(ran.out, "g-1 released\n");
  EXPECT_THAT(ran.err, HasSubstr("there is no grant g-9"));
  EXPECT_EQ(run({"release", "--grace", "soon", "g-1"}).status, kWrongUsage);
}

TEST_F(Commands, SuspendWaitsUntilNothingIsInFlightAndResumeLetsGo) {
  EXPECT_EQ(run({"suspend", "g-1"}).out, "g-1 suspended, nothing of it is in flight\n");
  EXPECT_EQ(run({"resume", "g-1"}).out, "g-1 resumed\n");
  EXPECT_THAT(agent_.all_requests(),
              AllOf(HasSubstr("POST /api/v1/grants/g-1/suspend"), HasSubstr("POST /api/v1/grants/g-1/resume")));
  EXPECT_EQ(run({"suspend"}).status, kWrongUsage);
  EXPECT_EQ(run({"resume", "../g-1"}).status, kNegative);
}

TEST_F(Commands, ExplainSaysWhereEachNumberCameFrom) {
  const Ran ran = run({"explain", "--memory", "90GiB"});
  EXPECT_EQ(ran.status, kNegative);
  EXPECT_THAT(ran.out, AllOf(HasSubstr("90.0 GiB"), HasSubstr("--memory"), HasSubstr("default"), HasSubstr("no room"),
                             HasSubstr("refused: too much"), HasSubstr("nearest: 1.0 GiB less would fit")));
  EXPECT_THAT(run({"explain"}).out, HasSubstr("25 % of the device"));
}

TEST_F(Commands, DoctorWarnsAboutDifferentVersionsAndFailsForNoWarning) {
  const Ran ran = run({"doctor"});
  EXPECT_THAT(ran.out, AllOf(HasSubstr("the agent 9.9.9"), HasSubstr("agent: driver"), HasSubstr("run it as root")));
  EXPECT_EQ(nlohmann::json::parse(run({"doctor", "-o", "json"}).out)["checks"].size(), 10U);
}

TEST_F(Commands, EventsComeOneALine) {
  EXPECT_EQ(run({"events"}).out, "     1  2023-11-14T22:13:20Z  granted       alice has 4.0 GiB\n");
  EXPECT_EQ(nlohmann::json::parse(run({"events", "-o", "json"}).out)["grant"], "g-1");
}

TEST_F(Commands, CompletionKnowsEveryCommandAndFlag) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = run({"completion", shell}).out;
    for (const Command* command : all_commands()) {
      EXPECT_THAT(script, HasSubstr(command->name)) << shell;
      for (const Flag& flag : command->flags) EXPECT_THAT(script, HasSubstr(flag.name)) << shell;
    }
  }
  EXPECT_EQ(run({"completion", "grants"}).out, "g-1\ng-2\n");
  EXPECT_EQ(run({"completion", "csh"}).status, kWrongUsage);
}

TEST_F(Commands, EveryCommandExplainsItself) {
  for (const Command* command : all_commands()) {
    const Ran ran = run({std::string(command->name), "--help"});
    EXPECT_EQ(ran.status, 0);
    EXPECT_THAT(ran.out, AllOf(HasSubstr("usage: kiboko " + std::string(command->name)), HasSubstr("--socket")));
    EXPECT_EQ(ran.out, run({"help", std::string(command->name)}).out);
  }
}

TEST_F(Commands, WrongUsageNamesWhatIsWrong) {
  EXPECT_THAT(run({"device"}).err, HasSubstr("did you mean 'devices'?"));
  EXPECT_EQ(run({"nonsense"}).status, kWrongUsage);
  EXPECT_EQ(run({}).status, kWrongUsage);
  EXPECT_EQ(run({"ps", "--al"}).status, kWrongUsage);
  EXPECT_EQ(run({"run", "--memmory", "4GiB", "--", "true"}).status, kOwnFailure);
  EXPECT_EQ(run({"release"}).status, kWrongUsage);
}

TEST(NoAgent, SaysHowToStartOne) {
  std::string text, error;
  Output out{&text, 80}, err{&error, 80};
  const FakeClock clock;
  Context context{out, err, clock, [](const auto&) { return find_agent("/nonexistent/agent.sock"); }};
  EXPECT_EQ(run_command_line(std::vector<std::string>{"ps"}, context), kOwnFailure);
  EXPECT_THAT(error, AllOf(HasSubstr("/nonexistent/agent.sock"), HasSubstr("systemctl start kiboko-agent"),
                           HasSubstr("kiboko-agent --standalone --simulate 1xH100-80GB")));
}

TEST(SocketCandidates, AreTheCallersOwnAndThenTheSystems) {
  EXPECT_THAT(socket_candidates(1000, "/run/user/1000"),
              testing::ElementsAre("/run/user/1000/kiboko/agent.sock", "/tmp/kiboko-1000/agent.sock",
                                   "/run/kiboko/agent.sock"));
  EXPECT_THAT(socket_candidates(0, "/run/user/0"), testing::ElementsAre("/run/kiboko/agent.sock"));
}

}  // namespace
}  // namespace kiboko::cli
