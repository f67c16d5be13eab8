#include "net/router.h"

#include <gtest/gtest.h>

namespace kiboko::net {
namespace {

class RouterTest : public testing::Test {
 protected:
  void route(const char* method, const char* pattern) {
    router_.add(method, pattern, [this, pattern](const Request& request) {
      captures_ = request.captures;
      return text(200, pattern);
    });
  }
  Response ask(const char* method, const char* path, bool read_only = false) {
    Response answer;
    Request request;
    request.method = method;
    request.path = path;
    router_.dispatch(request, responder_to([&](Response response) { answer = std::move(response); }), read_only);
    return answer;
  }
  std::string matched(const char* path) { return ask("GET", path).body; }

  Router router_;
  std::vector<Parameter> captures_;
};

TEST_F(RouterTest, ANameInBracesMatchesOnePart) {
  route("GET", "/grants/{id}/devices/{uuid}");
  EXPECT_EQ(ask("GET", "/grants/g-1/devices/GPU-0").status, 200);
  EXPECT_EQ(captures_, (std::vector<Parameter>{{"id", "g-1"}, {"uuid", "GPU-0"}}));
  for (const char* other :
       {"/grants/g-1", "/grants//devices/x", "/grants/a/b/devices/c", "/grants/g-1/devices/GPU-0/", "/"})
    EXPECT_EQ(ask("GET", other).status, 404) << other;
}

TEST_F(RouterTest, TheMoreLiteralPatternWinsWhateverTheOrder) {
  for (const char* pattern : {"/{rest...}", "/a/{x}", "/a/b", "/{x}/b", "/"}) route("GET", pattern);
  EXPECT_EQ(matched("/a/b"), "/a/b");
  EXPECT_EQ(matched("/a/c"), "/a/{x}");
  EXPECT_EQ(matched("/c/b"), "/{x}/b");
  EXPECT_EQ(matched("/c/d/e"), "/{rest...}");
  EXPECT_EQ(captures_, (std::vector<Parameter>{{"rest", "c/d/e"}}));
  EXPECT_EQ(matched("/"), "/");
}

TEST_F(RouterTest, AWrongMethodIsToldTheRightOnes) {
  route("GET", "/grants/{id}");
  route("DELETE", "/grants/{id}");
  const Response answer = ask("POST", "/grants/g-1");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(find_header(answer.headers, "Allow"), "DELETE, GET, HEAD");
}

TEST_F(RouterTest, HeadIsGetUnlessItHasItsOwn) {
  route("GET", "/a");
  EXPECT_EQ(ask("HEAD", "/a").body, "/a");
  router_.add("HEAD", "/a", [](const Request&) { return text(200, "own"); });
  EXPECT_EQ(ask("HEAD", "/a").body, "own");
  EXPECT_EQ(ask("GET", "/a").body, "/a");
}

TEST_F(RouterTest, AReadOnlyListenerAnswersWhatOnlyReads) {
  route("POST", "/grants");
  router_.add("POST", "/explain", [](const Request&) { return text(200, ""); }, {.only_reads = true});
  EXPECT_EQ(ask("POST", "/grants", true).status, 403);
  EXPECT_EQ(ask("POST", "/explain", true).status, 200);
}

TEST_F(RouterTest, AnExceptionIsA500WithoutItsText) {
  router_.add("GET", "/", [](const Request&) -> Response { throw std::runtime_error("secret"); });
  EXPECT_EQ(ask("GET", "/").status, 500);
  EXPECT_EQ(ask("GET", "/").body.find("secret"), std::string::npos);
}

TEST_F(RouterTest, AStreamCanBeTestedWithoutASocket) {
  router_.add_deferred("GET", "/", [](const Request&, const Responder& responder) {
    responder.begin_stream(text(200, "a"));
    responder.write("b");
    responder.finish();
  });
  EXPECT_EQ(ask("GET", "/").body, "ab");
}

}  // namespace
}  // namespace kiboko::net
