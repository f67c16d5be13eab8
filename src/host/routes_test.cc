#include "host/routes.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "host/metrics.h"
#include "host/testing.h"
#include "net/http.h"

namespace kiboko {
namespace {

using namespace testing_host;
using Json = nlohmann::json;
using testing::HasSubstr;

class RoutesTest : public HostTest {
 protected:
  RoutesTest() { add_host_routes(router_, *host_, loop_, metrics_, info_); }

  net::Peer peer(uid_t uid = ::geteuid()) const {
    net::Peer peer;
    peer.via = net::Peer::Via::Unix;
    peer.uid = uid;
    peer.gid = uid;
    peer.pid = ::getpid();
    return peer;
  }
  // Null while the answer is still to come.
  std::shared_ptr<net::Response> send(const std::string& method, const std::string& target, const std::string& body,
                                      const net::Peer& from) {
    net::Target parsed = net::parse_target(target).value();
    net::Request request;
    request.method = method;
    request.path = parsed.path;
    request.query = parsed.query;
    request.body = body;
    request.peer = from;
    auto answer = std::make_shared<net::Response>();
    answer->status = 0;
    router_.dispatch(request, net::responder_to([answer](net::Response response) { *answer = std::move(response); }));
    return answer;
  }
  net::Response call(const std::string& method, const std::string& target, const std::string& body = {}) {
    return *send(method, target, body, peer());
  }
  static Json json(const net::Response& response) { return Json::parse(response.body, nullptr, false); }
  std::string ask_text(const std::string& memory, bool wait = true) const {
    return fmt::format(R"({{"memory_bytes": {}, "wait": {}, "keeper_pid": {}, "command": ["secret"]}})", memory, wait,
                       keeper_.pid());
  }

  const Child keeper_;
  AgentInfo info_{"1.2.3", "box", "/run/x.sock", "", false, {}};
  net::Metrics metrics_{host_metric_families()};
  net::Router router_;
};

TEST_F(RoutesTest, AnAskIsAnsweredWithAllThatAProgramNeeds) {
  const net::Response response = call("POST", "/api/v1/grants", ask_text("4294967296"));
  ASSERT_EQ(response.status, 201) << response.body;
  const Json grant = json(response);
  EXPECT_EQ(grant["state"], "granted");
  EXPECT_EQ(grant["devices"][0]["limit_bytes"], 4294967296);
  EXPECT_EQ(grant["devices"][0]["used_bytes"], nullptr);
  EXPECT_EQ(grant["environment"]["KIBOKO_GRANT"], grant["page"]);
  EXPECT_EQ(net::find_header(response.headers, "Location"), "/api/v1/grants/" + grant["id"].get<std::string>());
}

TEST_F(RoutesTest, ARefusalIsAProblemWithItsReasons) {
  const net::Response response = call("POST", "/api/v1/grants", ask_text("1099511627776"));
  EXPECT_EQ(response.status, 409);
  EXPECT_EQ(response.content_type, net::kProblem);
  const Json refusal = json(response);
  EXPECT_EQ(refusal["code"], "memory");
  EXPECT_EQ(refusal["detail"], refusal["sentence"]);
  EXPECT_EQ(refusal["devices"].size(), 2U);
  EXPECT_THAT(refusal["nearest"].get<std::string>(), HasSubstr("less memory would fit"));
}

TEST_F(RoutesTest, AnAskThatWaitsIs202) {
  for (int i = 0; i < 2; ++i) ASSERT_EQ(call("POST", "/api/v1/grants", ask_text("85899345920")).status, 201);
  const net::Response response = call("POST", "/api/v1/grants", ask_text("85899345920"));
  EXPECT_EQ(response.status, 202);
  EXPECT_EQ(json(response)["waiting"]["position"], 1);
  EXPECT_EQ(json(call("GET", "/api/v1/queue"))["queue"].size(), 1U);
}

TEST_F(RoutesTest, ALongPollAnswersWhenTheGrantChanges) {
  std::string last;
  for (int i = 0; i < 3; ++i)
    last = json(call("POST", "/api/v1/grants", ask_text("85899345920")))["id"].get<std::string>();
  const std::string holder = json(call("GET", "/api/v1/grants"))["grants"][0]["id"];
  const auto answer = send("GET", "/api/v1/grants/" + last + "?wait_ms=30000", "", peer());
  EXPECT_EQ(answer->status, 0);
  EXPECT_EQ(call("DELETE", "/api/v1/grants/" + holder + "?grace_ms=0").status, 200);
  ASSERT_EQ(answer->status, 200);
  EXPECT_EQ(json(*answer)["state"], "granted");
}

TEST_F(RoutesTest, ALongPollEndsWhenItsTimeIsOver) {
  const std::string id = json(call("POST", "/api/v1/grants", ask_text("1073741824")))["id"];
  const auto answer = send("GET", "/api/v1/grants/" + id + "?wait_ms=1", "", peer());
  EXPECT_TRUE(eventually([&] { return answer->status == 200; }));
}

TEST_F(RoutesTest, OthersSeeTheShareButNotTheCommand) {
  const std::string id = json(call("POST", "/api/v1/grants", ask_text("1073741824")))["id"];
  for (const net::Peer& other : {peer(54321), net::Peer{}}) {
    const auto answer = send("GET", "/api/v1/grants/" + id, "", other);
    ASSERT_EQ(answer->status, 200);
    EXPECT_EQ(json(*answer)["devices"][0]["limit_bytes"], 1073741824);
    EXPECT_EQ(answer->body.find("secret"), std::string::npos);
    EXPECT_FALSE(json(*answer).contains("environment"));
  }
}

TEST_F(RoutesTest, OnlyTheOwnerOrAManagerChangesAGrant) {
  const std::string target =
      "/api/v1/grants/" + json(call("POST", "/api/v1/grants", ask_text("1073741824")))["id"].get<std::string>();
  EXPECT_EQ(send("DELETE", target, "", peer(54321))->status, 403);
  EXPECT_EQ(send("PATCH", target, R"({"memory_bytes": 1048576})", net::Peer{})->status, 403);
  EXPECT_EQ(call("PATCH", target, R"({"memory_bytes": 1048576})").status, 200);
  EXPECT_EQ(call("DELETE", target).status, 200);
  EXPECT_EQ(json(call("GET", target))["state"], "ended");
  EXPECT_EQ(json(call("GET", "/api/v1/grants"))["grants"].size(), 0U);
  EXPECT_EQ(json(call("GET", "/api/v1/grants?state=all"))["grants"].size(), 1U);
}

TEST_F(RoutesTest, AGrantIsSuspendedAndResumed) {
  const std::string target =
      "/api/v1/grants/" + json(call("POST", "/api/v1/grants", ask_text("1073741824")))["id"].get<std::string>();
  EXPECT_EQ(json(call("GET", target))["suspended"], false);
  EXPECT_TRUE(json(call("GET", target))["drained"].is_null());
  const Json suspended = json(call("POST", target + "/suspend"));
  EXPECT_EQ(suspended["suspended"], true);
  EXPECT_EQ(suspended["drained"], false);
  EXPECT_EQ(send("POST", target + "/resume", "", peer(54321))->status, 403);
  EXPECT_EQ(json(call("POST", target + "/resume"))["suspended"], false);
  EXPECT_EQ(call("POST", "/api/v1/grants/g-00000000/suspend").status, 404);
}

TEST_F(RoutesTest, AttachTakesOnePid) {
  const std::string id = json(call("POST", "/api/v1/grants", ask_text("1073741824")))["id"];
  const Child program;
  const std::string target = "/api/v1/grants/" + id + "/attach";
  const net::Response response = call("POST", target, fmt::format(R"({{"pid": {}}})", program.pid()));
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(json(response)["state"], "running");
  EXPECT_EQ(json(response)["processes"][0]["pid"], program.pid());
  for (const char* bad :
       {"", "{}", "[]", R"({"pid": "1"})", R"({"pid": -1})", R"({"pid": 99999999999})", R"({"pid": 1, "x": 2})"})
    EXPECT_EQ(call("POST", target, bad).status, 400) << bad;
}

struct Wrong {
  const char* name;
  const char* method;
  const char* target;
  const char* body;
  int status;
};
void PrintTo(const Wrong& wrong, std::ostream* out) { *out << wrong.name; }
class WrongRequests : public RoutesTest, public testing::WithParamInterface<Wrong> {};
TEST_P(WrongRequests, AreProblems) {
  const net::Response response = call(GetParam().method, GetParam().target, GetParam().body);
  EXPECT_EQ(response.status, GetParam().status) << response.body;
  EXPECT_EQ(response.content_type, net::kProblem);
  EXPECT_FALSE(json(response)["detail"].get<std::string>().empty());
}
INSTANTIATE_TEST_SUITE_P(Routes, WrongRequests,
                         testing::Values(Wrong{"NotJson", "POST", "/api/v1/grants", "{", 400},
                                         Wrong{"UnknownKey", "POST", "/api/v1/explain", R"({"memroy": 1})", 400},
                                         Wrong{"UnknownGrant", "GET", "/api/v1/grants/g-00000000", "", 404},
                                         Wrong{"ReleaseUnknown", "DELETE", "/api/v1/grants/g-00000000", "", 404},
                                         Wrong{"BadGrace", "DELETE", "/api/v1/grants/g-00000000?grace_ms=soon", "",
                                               400},
                                         Wrong{"BadWait", "GET", "/api/v1/grants/g-00000000?wait_ms=-1", "", 400},
                                         Wrong{"BadAfter", "GET", "/api/v1/events?after=x", "", 400},
                                         Wrong{"EmptyResize", "PATCH", "/api/v1/grants/g-00000000", "{}", 400},
                                         Wrong{"NoSuchPath", "GET", "/api/v1/nothing", "", 404}),
                         [](const auto& row) { return row.param.name; });

TEST_F(RoutesTest, DevicesTellWhatIsGranted) {
  call("POST", "/api/v1/grants", ask_text("1073741824"));
  const Json device = json(call("GET", "/api/v1/devices"))["devices"][0];
  EXPECT_EQ(device["granted_bytes"], 1073741824);
  EXPECT_EQ(device["grants"], 1);
  EXPECT_EQ(device["health"], "healthy");
  EXPECT_EQ(device["strangers"], Json::array());
}

TEST_F(RoutesTest, ExplainAnswersForEachDevice) {
  const Json answer = json(call("POST", "/api/v1/explain", R"({"memory_bytes": 1073741824})"));
  EXPECT_EQ(answer["outcome"], "granted");
  EXPECT_EQ(answer["devices"].size(), 2U);
  EXPECT_EQ(json(call("POST", "/api/v1/explain", R"({"count": 3})"))["outcome"], "refused");
}

TEST_F(RoutesTest, EventsAreReadFromWhereOneLeftOff) {
  call("POST", "/api/v1/grants", ask_text("1073741824"));
  const Json first = json(call("GET", "/api/v1/events"));
  EXPECT_EQ(first["events"].back()["kind"], "granted");
  const Json rest = json(call("GET", "/api/v1/events?after=" + first["last"].dump()));
  EXPECT_TRUE(rest["events"].empty());
  EXPECT_EQ(rest["last"], first["last"]);
}

TEST_F(RoutesTest, MetaSaysWhoYouAre) {
  const Json mine = json(call("GET", "/api/v1/meta"));
  EXPECT_EQ(mine["version"], "1.2.3");
  EXPECT_EQ(mine["you"]["manages_all"], true);
  EXPECT_EQ(json(*send("GET", "/api/v1/meta", "", peer(54321)))["you"]["manages_all"], false);
  EXPECT_EQ(json(*send("GET", "/api/v1/meta", "", net::Peer{}))["you"]["known"], false);
}

TEST_F(RoutesTest, MetricsShowDevicesAndGrants) {
  const std::string id = json(call("POST", "/api/v1/grants", ask_text("1073741824")))["id"];
  const std::string text = call("GET", "/metrics").body;
  EXPECT_THAT(text, HasSubstr(R"(kiboko_device_memory_granted_bytes{device="GPU-0",index="0"} 1073741824)"));
  EXPECT_THAT(text, HasSubstr("kiboko_grant_memory_limit_bytes{"));
  EXPECT_THAT(text, HasSubstr(id));
  EXPECT_THAT(text, HasSubstr(R"(kiboko_grants{state="granted"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(kiboko_events_total{kind="granted"} 1)"));
  call("DELETE", "/api/v1/grants/" + id);
  EXPECT_EQ(call("GET", "/metrics").body.find(id), std::string::npos);
}

TEST_F(RoutesTest, TheDoctorNamesWhatIsWrong) {
  std::filesystem::remove(directory_ / "libkiboko.so");
  const Json answer = json(call("GET", "/api/v1/doctor"));
  EXPECT_EQ(answer["well"], false);
  const auto found = std::ranges::find_if(answer["checks"], [](const Json& c) { return c["name"] == "library"; });
  ASSERT_NE(found, answer["checks"].end());
  EXPECT_EQ((*found)["health"], "trouble");
  EXPECT_EQ(call("GET", "/readyz").status, 200);
}

}  // namespace
}  // namespace kiboko
