#include "net/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "net/test_server.h"

namespace kiboko::net {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// Accepts one connection and says exactly `answer`, then closes.
class Canned {
 public:
  explicit Canned(std::string answer, std::size_t piece = 1'000'000)
      : listener_(listen_tcp("127.0.0.1", 0).value()), thread_([this, answer = std::move(answer), piece] {
          pollfd waiting{listener_.fd(), POLLIN, 0};
          ::poll(&waiting, 1, 60'000);
          const UniqueFd client{::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC)};
          char ignored[4096];
          EXPECT_GE(::recv(client.get(), ignored, sizeof ignored, 0), 0);
          for (std::size_t at = 0; at < answer.size(); at += piece) {
            const std::string part = answer.substr(at, piece);
            if (::send(client.get(), part.data(), part.size(), MSG_NOSIGNAL) <= 0) return;
          }
        }) {}
  Endpoint endpoint() const { return {{}, "127.0.0.1", listener_.port()}; }

 private:
  Listener listener_;
  std::jthread thread_;
};

Result<HttpResponse> get(const Canned& server, const CallOptions& options = {}) {
  return request(server.endpoint(), "GET", "/", {}, options);
}

TEST(Client, EndpointsAreReadAndShownAlike) {
  for (const char* text : {"unix:/run/agent.sock", "http://127.0.0.1:9410", "http://[::1]:80", "http://localhost:1"})
    EXPECT_EQ(parse_endpoint(text).value().shown(), text);
  EXPECT_EQ(parse_endpoint("/run/agent.sock").value().socket_path, "/run/agent.sock");
  EXPECT_EQ(parse_endpoint("localhost:9410/").value().port, 9410);
  for (const char* bad :
       {"", "localhost", ":80", "host:", "host:99999", "host:8x", "::1:80", "https://host:1", "a/b:80"})
    EXPECT_EQ(parse_endpoint(bad).error().code, Errc::Invalid) << bad;
}

TEST(Client, AnAnswerWithoutALengthEndsWithTheConnection) {
  EXPECT_EQ(get(Canned("HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello"))->body, "hello");
}

TEST(Client, ChunksInAnyPiecesAreJoined) {
  const std::string answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  for (const std::size_t piece : {1U, 2U, 3U, 1'000U}) EXPECT_EQ(get(Canned(answer, piece))->body, "abcde") << piece;
}

TEST(Client, HeadersAndAnyStatusAreAResult) {
  const HttpResponse answer = get(Canned("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")).value();
  EXPECT_EQ(answer.status, 503);
  EXPECT_FALSE(answer.ok());
  EXPECT_EQ(answer.header("retry-after"), "1");
}

TEST(Client, NobodyThereIsUnavailableAndNamed) {
  const TemporaryDirectory directory;
  const Error error = request({directory.file("none.sock"), {}, 0}, "GET", "/").error();
  EXPECT_EQ(error.code, Errc::Unavailable);
  EXPECT_THAT(error.message, HasSubstr("nobody is listening on unix:" + directory.file("none.sock")));
  EXPECT_EQ(request({{}, "127.0.0.1", 1}, "GET", "/").error().code, Errc::Unavailable);
}

TEST(Client, AnAnswerThatBreaksOffIsAnError) {
  EXPECT_THAT(get(Canned("")).error().message, HasSubstr("without an answer"));
  for (const char* part : {"HTTP/1.1 200 OK\r\nX", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"})
    EXPECT_THAT(get(Canned(part)).error().message, HasSubstr("within its answer")) << part;
}

TEST(Client, WhatIsNotHttpIsAnError) {
  EXPECT_EQ(get(Canned("SSH-2.0-OpenSSH\r\n\r\n")).error().code, Errc::Internal);
  EXPECT_EQ(get(Canned("HTTP/1.1 200 OK\r\nX: " + std::string(200'000, 'a'))).error().code, Errc::Internal);
}

TEST(Client, ABodyBeyondTheLimitIsAnError) {
  CallOptions options;
  options.body_limit = 10;
  EXPECT_EQ(get(Canned("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"), options).error().code,
            Errc::Invalid);
}

TEST(Client, AReaderOfChunksMayStopEarly) {
  CallOptions options;
  std::string seen;
  options.on_chunk = [&](std::string_view chunk) {
    seen += chunk;
    return false;
  };
  EXPECT_EQ(get(Canned("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), options)->status, 200);
  EXPECT_EQ(seen, "abc");
}

TEST(Client, TheTimeoutEndsTheCall) {
  const Listener silent = listen_tcp("127.0.0.1", 0).value();
  CallOptions options;
  options.timeout = 50ms;
  const Error error = request({{}, "127.0.0.1", silent.port()}, "GET", "/", {}, options).error();
  EXPECT_EQ(error.code, Errc::Unavailable);
  EXPECT_THAT(error.message, HasSubstr("within 50 ms"));
}

TEST(Client, AnInterruptEndsTheCall) {
  const Listener silent = listen_tcp("127.0.0.1", 0).value();
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd reader{ends[0]}, writer{ends[1]};
  CallOptions options;
  options.timeout = 60s;
  options.interrupt_fd = reader.get();
  ASSERT_EQ(::write(writer.get(), "x", 1), 1);
  EXPECT_THAT(request({{}, "127.0.0.1", silent.port()}, "GET", "/", {}, options).error().message,
              HasSubstr("interrupted"));
}

TEST(Client, TheAnswerCountsEvenIfTheServerStopsReading) {
  Router router;
  const RunningServer server(router);
  const auto answer = request(server.unix_endpoint(), "POST", "/", std::string(3U << 20U, 'x')).value();
  EXPECT_EQ(answer.status, 413);
}

}  // namespace
}  // namespace kiboko::net
