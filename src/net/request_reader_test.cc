#include "net/request_reader.h"

#include <gtest/gtest.h>

#include <set>

namespace kiboko::net {
namespace {

using State = RequestReader::State;

const std::string kChunked =
    "POST /a?b=c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n";
const std::string kEmptyChunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
const std::string kSized = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";

// What the reader makes of `bytes` when they come in pieces of `size`.
std::string body_in_pieces(const std::string& bytes, std::size_t size) {
  RequestReader reader{{}};
  std::string received;
  State state = State::NeedMore;
  for (std::size_t at = 0; at < bytes.size() && state == State::NeedMore; at += size) {
    received += bytes.substr(at, size);
    state = reader.feed(received);
  }
  return state == State::Complete && received.empty() ? reader.take().body : "incomplete";
}

TEST(RequestReader, PiecesOfAnySizeGiveTheSameRequest) {
  for (std::size_t size = 1; size <= kChunked.size(); ++size) {
    EXPECT_EQ(body_in_pieces(kChunked, size), "abcde") << size;
    EXPECT_EQ(body_in_pieces(kEmptyChunked, size), "") << size;
    EXPECT_EQ(body_in_pieces(kSized, size), "hello") << size;
  }
}

TEST(RequestReader, EveryPartOfARequestIsFound) {
  RequestReader reader{{}};
  std::string bytes = "\r\nGET /a%20b?x=1 HTTP/1.1\r\nHost: there:80\r\nX-Y: z\r\n\r\nnext";
  ASSERT_EQ(reader.feed(bytes), State::Complete);
  const Request request = reader.take();
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/a b");
  EXPECT_EQ(request.parameter("x"), "1");
  EXPECT_EQ(request.header("x-y"), "z");
  EXPECT_EQ(reader.host(), "there:80");
  EXPECT_TRUE(reader.keep_alive());
  EXPECT_EQ(bytes, "next");
}

TEST(RequestReader, NothingIsStartedByEmptyLines) {
  RequestReader reader{{}};
  std::string bytes = "\r\n\r\n";
  EXPECT_EQ(reader.feed(bytes), State::NeedMore);
  EXPECT_FALSE(reader.started());
  EXPECT_EQ(bytes, "");
}

TEST(RequestReader, TheHeaderLimitHoldsForTheSumOfFieldsInAnyPieces) {
  std::string header = "GET / HTTP/1.1\r\nHost: x\r\n";
  while (header.size() < 2'000) header += "A: b\r\n";
  for (const std::size_t size : {1U, 7U, 100U, 5'000U}) {
    RequestReader reader{{1'000, 100}};
    std::string received;
    State state = State::NeedMore;
    for (std::size_t at = 0; at < header.size() && state == State::NeedMore; at += size) {
      received += header.substr(at, size);
      state = reader.feed(received);
    }
    ASSERT_EQ(state, State::Bad) << size;
    EXPECT_EQ(reader.refusal().status, 431) << size;
  }
}

// Beast has no bound of its own for either, and whatever bound there is must not depend on where the network cuts.
TEST(RequestReader, ASizeLineOrTrailerOfAChunkedBodyIsBoundedInAnyPieces) {
  const std::string header = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  const auto outcomes = [&](std::size_t extension, std::size_t trailer) {
    const std::string bytes =
        header + "3;" + std::string(extension, 'x') + "\r\nabc\r\n0\r\nA: " + std::string(trailer, 'y') + "\r\n\r\n";
    std::set<State> seen;
    for (const std::size_t size : {1U, 7U, 100U, 5'000U}) {
      RequestReader reader{{200, 100}};
      std::string received;
      State state = State::NeedMore;
      for (std::size_t at = 0; at < bytes.size() && state == State::NeedMore; at += size) {
        received += bytes.substr(at, size);
        state = reader.feed(received);
      }
      seen.insert(state);
    }
    return seen;
  };
  EXPECT_EQ(outcomes(150, 150), std::set{State::Complete});
  EXPECT_EQ(outcomes(300, 10), std::set{State::Bad});
  EXPECT_EQ(outcomes(10, 300), std::set{State::Bad});
}

TEST(RequestReader, TheBodyLimitIsExact) {
  const auto state_with = [](std::size_t length) {
    RequestReader reader{{1'000, 100}};
    std::string bytes = fmt::format("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", length);
    bytes += std::string(length, 'b');
    return reader.feed(bytes);
  };
  EXPECT_EQ(state_with(100), State::Complete);
  EXPECT_EQ(state_with(101), State::Bad);
}

TEST(RequestReader, AClientThatWaitsForAWordIsSeen) {
  RequestReader reader{{}};
  std::string bytes = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n";
  EXPECT_EQ(reader.feed(bytes), State::NeedMore);
  EXPECT_TRUE(reader.wants_continue());
  bytes = "b";
  EXPECT_EQ(reader.feed(bytes), State::Complete);
  EXPECT_FALSE(reader.wants_continue());
}

}  // namespace
}  // namespace kiboko::net
