#include "net/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

#include "net/health.h"
#include "net/test_server.h"

namespace kiboko::net {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// What the deferred routes have been asked; touched on the loop's thread only.
struct Waiting {
  std::vector<Responder> responders;
  int cancelled = 0;
};

Router test_router(Waiting& waiting) {
  Router router;
  add_health_routes(router, [] { return Result<void>(fail(Errc::Unavailable, "no devices yet")); });
  router.add("GET", "/who", [](const Request& r) {
    return text(200, fmt::format("{} {} {}", r.peer.address, static_cast<int>(r.peer.uid), r.peer.pid));
  });
  router.add("POST", "/echo", [](const Request& r) { return json(201, r.body); });
  router.add("GET", "/big", [](const Request&) { return text(200, std::string(8U << 20U, 'x')); });
  router.add("GET", "/throws", [](const Request&) -> Response { throw std::runtime_error("oops"); });
  router.add("GET", "/nothing", [](const Request&) { return text(204, "not shown"); });
  router.add_deferred("GET", "/wait", [&waiting](const Request&, Responder responder) {
    responder.on_gone([&waiting] { ++waiting.cancelled; });
    waiting.responders.push_back(std::move(responder));
  });
  router.add_deferred("GET", "/forgets", [](const Request&, const Responder&) {});
  return router;
}

class ServerTest : public testing::Test {
 protected:
  ServerTest() : router_(test_router(waiting_)) {}
  // Tests also ask from a second thread: whichever comes first starts the server.
  void start(ServerLimits limits = {}) {
    std::call_once(started_, [&] { running_.emplace(router_, limits); });
  }
  RunningServer& running() {
    start();
    return *running_;
  }
  RawClient raw() { return RawClient(running().socket()); }
  std::string ask(std::string_view bytes) { return raw().ask(bytes); }
  bool someone_waits(std::size_t count = 1) {
    return running().eventually([&] { return waiting_.responders.size() == count; });
  }
  HttpResponse get(const std::string& path) { return request(running().unix_endpoint(), "GET", path).value(); }

  Waiting waiting_;
  Router router_;
  std::once_flag started_;
  std::optional<RunningServer> running_;
};

constexpr std::string_view kGetWho = "GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr std::string_view kLastGetWho = "GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

TEST_F(ServerTest, AnswersOverTheUnixSocketAndKnowsWhoAsks) {
  const HttpResponse answer = get("/who");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, fmt::format("unix {} {}", static_cast<int>(::getuid()), ::getpid()));
}

TEST_F(ServerTest, OverTcpNobodyIsKnown) {
  EXPECT_EQ(request(running().tcp_endpoint(), "GET", "/who")->body, "tcp -1 0");
}

TEST_F(ServerTest, TheKernelNamesTheGroupsOfThePeer) {
  std::vector<gid_t> groups;
  router_.add("GET", "/groups", [&](const Request& r) {
    groups = r.peer.groups;
    return text(200, "");
  });
  get("/groups");
  std::array<gid_t, 512> ours{};
  const int count = ::getgroups(static_cast<int>(ours.size()), ours.data());
  EXPECT_EQ(groups, std::vector<gid_t>(ours.begin(), ours.begin() + count));
}

TEST_F(ServerTest, HealthAndReadinessDiffer) {
  EXPECT_EQ(get("/healthz").body, "ok\n");
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_THAT(get("/readyz").body, HasSubstr("no devices yet"));
}

TEST_F(ServerTest, ABodyArrivesWhole) {
  const std::string body(300'000, 'b');
  const auto answer = request(running().unix_endpoint(), "POST", "/echo", body).value();
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.body, body);
}

TEST_F(ServerTest, AChunkedBodyArrivesWhole) {
  EXPECT_THAT(ask("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"),
              EndsWith("\r\n\r\nabcde"));
}

TEST_F(ServerTest, ALargeAnswerArrivesWhole) { EXPECT_EQ(get("/big").body.size(), 8U << 20U); }

TEST_F(ServerTest, ABodyIsAskedForWhenTheClientWaitsForThat) {
  RawClient client = raw();
  client.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_THAT(client.ask("ok"), EndsWith("\r\n\r\nok"));
}

TEST_F(ServerTest, RequestsSentTogetherAreAnsweredInOrder) {
  const std::string answers =
      ask("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst"
          "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nsecond" +
          std::string(kLastGetWho));
  const auto first = answers.find("first"), second = answers.find("second"), third = answers.find("unix ");
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);
  EXPECT_NE(third, std::string::npos);
}

TEST_F(ServerTest, AConnectionIsKeptUntilTheClientSaysClose) {
  RawClient client = raw();
  for (int i = 0; i < 3; ++i) {
    client.send(kGetWho);
    EXPECT_THAT(client.read_until("unix "), Not(HasSubstr("Connection: close")));
  }
  EXPECT_THAT(client.ask(kLastGetWho), HasSubstr("Connection: close"));
}

TEST_F(ServerTest, HttpOneZeroClosesUnlessAskedToStay) {
  EXPECT_THAT(ask("GET /who HTTP/1.0\r\n\r\n"), HasSubstr("Connection: close"));
  RawClient client = raw();
  client.send("GET /who HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(client.read_until("unix "), HasSubstr("Connection: keep-alive"));
}

TEST_F(ServerTest, HeadHasTheLengthAndNoBody) {
  const std::string answer = ask("HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 3\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
  EXPECT_EQ(request(running().unix_endpoint(), "HEAD", "/healthz")->body, "");
}

TEST_F(ServerTest, NoContentMeansNone) {
  EXPECT_THAT(ask("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
              testing::AllOf(StartsWith("HTTP/1.1 204 "), EndsWith("\r\n\r\n"), Not(HasSubstr("Content-Length"))));
}

TEST_F(ServerTest, AHandlerThatThrowsOrForgetsIsA500) {
  EXPECT_EQ(get("/throws").status, 500);
  EXPECT_THAT(get("/throws").body, Not(HasSubstr("oops")));
  EXPECT_EQ(get("/forgets").status, 500);
}

// What a client may send, and the status it gets; each connection must be closed afterwards.
struct Bad {
  const char* name;
  std::string bytes;
  const char* status;
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }

class ServerRefuses : public ServerTest, public testing::WithParamInterface<Bad> {};

TEST_P(ServerRefuses, WithAReasonAndHangsUp) {
  const std::string answer = ask(GetParam().bytes);
  EXPECT_THAT(answer, StartsWith(std::string("HTTP/1.1 ") + GetParam().status));
  EXPECT_THAT(answer, HasSubstr("Content-Type: application/problem+json"));
  EXPECT_THAT(answer, HasSubstr("Connection: close"));
  EXPECT_THAT(answer, HasSubstr(std::string(R"("status":)") + GetParam().status));
}

std::string long_header() { return "GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(20'000, 'a') + "\r\n\r\n"; }
std::string many_headers() {
  std::string request = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 5'000; ++i) request += "A: b\r\n";
  return request + "\r\n";
}
std::string post(const std::string& headers) { return "POST /echo HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n"; }

INSTANTIATE_TEST_SUITE_P(
    Malformed, ServerRefuses,
    testing::Values(
        Bad{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", "400"},
        Bad{"no_target", "GET\r\n\r\n", "400"}, Bad{"long_header", long_header(), "431"},
        Bad{"many_headers", many_headers(), "431"}, Bad{"endless_target", "GET /" + std::string(40'000, 'a'), "431"},
        Bad{"huge_body", post("Content-Length: 1048577\r\n"), "413"},
        Bad{"huge_body_that_comes", post("Content-Length: 3000000\r\n") + std::string(3'000'000, 'x'), "413"},
        Bad{"huge_chunk", post("Transfer-Encoding: chunked\r\n") + "200000\r\n", "413"},
        Bad{"endless_chunk_header", post("Transfer-Encoding: chunked\r\n") + "1;" + std::string(40'000, 'a'), "400"},
        Bad{"bad_chunk", post("Transfer-Encoding: chunked\r\n") + "zz\r\nhello\r\n", "400"},
        Bad{"two_lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n") + "ab", "400"},
        Bad{"length_and_chunks", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", "400"},
        Bad{"negative_length", post("Content-Length: -1\r\n"), "400"},
        Bad{"unknown_coding", post("Transfer-Encoding: gzip\r\n"), "501"},
        Bad{"chunked_not_last", post("Transfer-Encoding: chunked, gzip\r\n"), "501"},
        Bad{"no_host", "GET / HTTP/1.1\r\n\r\n", "400"},
        Bad{"two_hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
        Bad{"bare_line_feed_in_header", "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", "400"},
        Bad{"bare_line_feeds", "GET / HTTP/1.1\nHost: x\n\n", "400"},
        Bad{"space_in_name", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "400"},
        Bad{"version_two", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", "505"},
        Bad{"http2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
        Bad{"relative_target", "GET healthz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        Bad{"climbing_target", "GET /a/%2e%2e/b HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        Bad{"bad_percent_code", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        Bad{"nul_in_target", "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        Bad{"odd_expectation", post("Expect: a-miracle\r\nContent-Length: 1\r\n"), "417"}),
    [](const auto& row) { return row.param.name; });

TEST_F(ServerTest, AnUnknownPathOrMethodKeepsTheConnection) {
  const std::string answers =
      ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nDELETE /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answers, HasSubstr("HTTP/1.1 404 Not Found"));
  EXPECT_THAT(answers, HasSubstr("HTTP/1.1 405 Method Not Allowed"));
  EXPECT_THAT(answers, HasSubstr("Allow: GET, HEAD\r\n"));
}

TEST_F(ServerTest, AClientThatLeavesHalfwayIsForgotten) {
  for (const std::string_view part :
       {"", "GET", "GET / HTTP/1.1\r\n", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"}) {
    RawClient client = raw();
    client.send(part);
    client.close();
  }
  EXPECT_TRUE(running().eventually([&] { return running().server().connections() == 0; }));
  EXPECT_EQ(get("/healthz").status, 200);
}

TEST_F(ServerTest, ASlowRequestIsCutOff) {
  ServerLimits limits;
  limits.read = 200ms;
  start(limits);
  RawClient client = raw();
  client.send("GET / HTTP/1.1\r\nHost: x\r\n");
  std::jthread drip([&](const std::stop_token& stop) {
    while (!stop.stop_requested() && client.send("X: y\r\n")) std::this_thread::sleep_for(20ms);
  });
  EXPECT_THAT(client.read_to_end(), StartsWith("HTTP/1.1 408 Request Timeout"));
}

TEST_F(ServerTest, AnIdleConnectionIsClosedWithoutAWord) {
  ServerLimits limits;
  limits.idle = 50ms;
  start(limits);
  EXPECT_EQ(raw().read_to_end(), "");
}

TEST_F(ServerTest, AClientThatReadsNothingIsCutOff) {
  ServerLimits limits;
  limits.write = 200ms;
  start(limits);
  RawClient client = raw();
  client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(running().eventually([&] { return running().server().connections() == 0; }));
}

TEST_F(ServerTest, BeyondTheLimitAConnectionIsTurnedAway) {
  ServerLimits limits;
  limits.connections = 2;
  start(limits);
  RawClient first = raw(), second = raw();
  for (RawClient* client : {&first, &second}) {
    client->send(kGetWho);
    client->read_until("unix ");
  }
  const std::string refusal = ask(kGetWho);
  EXPECT_THAT(refusal, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refusal, HasSubstr("too_many_connections"));
  first.close();
  EXPECT_TRUE(running().eventually([&] { return running().server().connections() < 2; }));
  EXPECT_EQ(get("/healthz").status, 200);
}

// Root is exempt from the bound per user: as root, connect as somebody else. The system call changes this thread alone,
// unlike the function of the C library.
RawClient connect_as_a_user(const std::string& socket) {
  constexpr long kNobody = 65534;
  const bool root = ::getuid() == 0;
  if (root) ::syscall(SYS_setresuid, -1L, kNobody, -1L);
  RawClient client(socket);
  if (root) ::syscall(SYS_setresuid, -1L, 0L, -1L);
  return client;
}

TEST_F(ServerTest, OneUserCannotTakeEveryConnection) {
  ServerLimits limits;
  limits.connections_per_uid = 1;
  start(limits);
  RawClient first = connect_as_a_user(running().socket());
  first.send(kGetWho);
  first.read_until("unix ");
  EXPECT_THAT(connect_as_a_user(running().socket()).ask(kGetWho), HasSubstr("connections open already"));
}

TEST_F(ServerTest, LoopbackIsForReading) {
  const auto answer = request(running().tcp_endpoint(), "POST", "/echo", "{}").value();
  EXPECT_EQ(answer.status, 403);
  EXPECT_THAT(answer.body, HasSubstr(R"("code":"read_only")"));
  EXPECT_EQ(request(running().tcp_endpoint(), "HEAD", "/healthz")->status, 200);
}

TEST_F(ServerTest, LoopbackAnswersOnlyForThisHost) {
  const auto asked_for = [&](const std::string& host) {
    RawClient client(running().port());
    return client.ask("GET /healthz HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n").substr(9, 3);
  };
  for (const char* good : {"localhost", "LOCALHOST:9410", "127.0.0.1:80", "[::1]", "[::1]:80"})
    EXPECT_EQ(asked_for(good), "200") << good;
  for (const char* bad : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[::2]"})
    EXPECT_EQ(asked_for(bad), "421") << bad;
}

TEST_F(ServerTest, TheTargetsOwnHostCounts) {
  RawClient client(running().port());
  EXPECT_THAT(client.ask("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 421 "));
}

TEST_F(ServerTest, AnAnswerMayComeLater) {
  auto answer = std::async(std::launch::async, [&] { return get("/wait"); });
  ASSERT_TRUE(someone_waits());
  running().on_loop([&] { waiting_.responders[0].send(json(200, R"({"granted":true})")); });
  EXPECT_EQ(answer.get().body, R"({"granted":true})");
  EXPECT_EQ(running().on_loop([&] { return waiting_.cancelled; }), 0);
}

TEST_F(ServerTest, AWaitingClientThatLeavesIsNoticed) {
  RawClient client = raw();
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(someone_waits());
  EXPECT_FALSE(running().on_loop([&] { return waiting_.responders[0].gone(); }));
  client.close();
  EXPECT_TRUE(running().eventually([&] { return waiting_.cancelled == 1; }));
  running().on_loop([&] {
    EXPECT_TRUE(waiting_.responders[0].gone());
    waiting_.responders[0].send(text(200, "too late"));
    waiting_.responders.clear();
  });
}

TEST_F(ServerTest, WhatIsSentWhileAnAnswerIsPendingWaitsItsTurn) {
  RawClient client = raw();
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(someone_waits());
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nsec");
  client.send("ond" + std::string(kLastGetWho));
  running().on_loop([&] { waiting_.responders[0].send(text(200, "first")); });
  const std::string answers = client.read_to_end();
  EXPECT_LT(answers.find("first"), answers.find("second"));
  EXPECT_LT(answers.find("second"), answers.find("unix "));
}

TEST_F(ServerTest, OnlyTheFirstAnswerCounts) {
  RawClient client = raw();
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(someone_waits());
  running().on_loop([&] {
    waiting_.responders[0].send(text(200, "one"));
    waiting_.responders[0].send(text(200, "two"));
  });
  const std::string answer = client.read_to_end();
  EXPECT_THAT(answer, EndsWith("one"));
}

TEST_F(ServerTest, ADroppedResponderIsA500) {
  auto answer = std::async(std::launch::async, [&] { return get("/wait"); });
  ASSERT_TRUE(someone_waits());
  running().on_loop([&] { waiting_.responders.clear(); });
  EXPECT_EQ(answer.get().status, 500);
}

TEST_F(ServerTest, AStreamArrivesPieceByPiece) {
  std::string seen;
  std::atomic<int> pieces = 0;
  CallOptions options;
  options.on_chunk = [&](std::string_view chunk) {
    seen += chunk;
    ++pieces;
    return true;
  };
  auto answer = std::async(std::launch::async,
                           [&] { return request(running().unix_endpoint(), "GET", "/wait", {}, options).value(); });
  ASSERT_TRUE(someone_waits());
  running().on_loop([&] { waiting_.responders[0].begin_stream({200, "text/event-stream", "data: 1\n\n", {}}); });
  ASSERT_TRUE(running().eventually([&] { return pieces >= 1; }));
  running().on_loop([&] { EXPECT_TRUE(waiting_.responders[0].write("data: 2\n\n")); });
  ASSERT_TRUE(running().eventually([&] { return pieces >= 2; }));
  running().on_loop([&] { waiting_.responders[0].finish(); });
  EXPECT_EQ(answer.get().status, 200);
  EXPECT_EQ(seen, "data: 1\n\ndata: 2\n\n");
}

TEST_F(ServerTest, AStreamToAClientThatLeavesEnds) {
  RawClient client = raw();
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(someone_waits());
  running().on_loop([&] { waiting_.responders[0].begin_stream({200, "text/plain", "hello", {}}); });
  EXPECT_THAT(client.read_until("hello"), HasSubstr("Transfer-Encoding: chunked"));
  client.close();
  EXPECT_TRUE(running().eventually([&] { return waiting_.cancelled == 1; }));
  EXPECT_FALSE(running().on_loop([&] { return waiting_.responders[0].write("more"); }));
}

TEST_F(ServerTest, AStreamToASlowReaderIsCut) {
  RawClient client = raw();
  client.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(someone_waits());
  running().on_loop([&] { waiting_.responders[0].begin_stream({200, "text/plain", "", {}}); });
  const std::string piece(256U << 10U, 'x');
  int written = 0;
  while (written < 100 && running().on_loop([&] { return waiting_.responders[0].write(piece); })) ++written;
  EXPECT_LT(written, 100);
}

TEST_F(ServerTest, ToHttpOneZeroAStreamEndsWithTheConnection) {
  RawClient client = raw();
  client.send("GET /wait HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  ASSERT_TRUE(someone_waits());
  running().on_loop([&] {
    waiting_.responders[0].begin_stream({200, "text/plain", "one ", {}});
    waiting_.responders[0].write("two");
    waiting_.responders[0].finish();
  });
  EXPECT_THAT(client.read_to_end(), testing::AllOf(EndsWith("\r\n\r\none two"), Not(HasSubstr("chunked"))));
}

TEST_F(ServerTest, StoppingFreesTheAddressAndTellsThoseWhoWait) {
  RawClient idle = raw(), waiting = raw();
  waiting.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(someone_waits());
  running().on_loop([&] { running().server().stop(); });
  EXPECT_EQ(idle.read_to_end(), "");
  EXPECT_EQ(waiting.read_to_end(), "");
  EXPECT_TRUE(running().eventually([&] { return waiting_.cancelled == 1 && running().server().connections() == 0; }));
  EXPECT_FALSE(std::filesystem::exists(running().socket()));
  EXPECT_FALSE(RawClient(running().port()).connected());
}

TEST_F(ServerTest, ALineBreakInAHeaderMakesNoNewHeader) {
  router_.add("GET", "/inject", [](const Request&) {
    Response response = text(200, "");
    response.headers.push_back({"X-Name", "a\r\nSet-Cookie: b"});
    return response;
  });
  EXPECT_THAT(ask("GET /inject HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), Not(HasSubstr("\nSet-Cookie")));
}

TEST_F(ServerTest, WhatWasServedIsReportedByRoute) {
  std::vector<std::string> served;
  running().on_loop([&] {
    running().server().on_served(
        [&](const Served& s) { served.push_back(fmt::format("{} {} {}", s.method, s.route, s.status)); });
  });
  get("/who");
  get("/nowhere");
  EXPECT_TRUE(running().eventually([&] { return served.size() == 2; }));
  EXPECT_THAT(served, ElementsAre("GET /who 200", "GET  404"));
}

}  // namespace
}  // namespace kiboko::net
