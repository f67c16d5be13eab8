#include "net/http.h"

#include <gtest/gtest.h>

namespace kiboko::net {
namespace {

TEST(Http, HeaderNamesIgnoreCase) {
  const Headers headers{{"Content-Type", "a"}, {"content-type", "b"}};
  EXPECT_EQ(find_header(headers, "CONTENT-TYPE"), "a");
  EXPECT_EQ(find_header(headers, "Content"), std::nullopt);
}

TEST(Http, CodesAndStatusesAgreeBothWays) {
  for (const Errc code :
       {Errc::Invalid, Errc::NotFound, Errc::Conflict, Errc::Forbidden, Errc::Unavailable, Errc::Internal})
    EXPECT_EQ(errc_of_status(http_status(code)), code) << name(code);
  EXPECT_EQ(errc_of_status(421), Errc::Invalid);
  EXPECT_EQ(errc_of_status(504), Errc::Unavailable);
}

TEST(Http, AProblemSaysTheSameInAllItsFields) {
  const Response response = problem(Error{Errc::NotFound, "grant \"g-1\" is not known"});
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.content_type, "application/problem+json");
  EXPECT_EQ(response.body, R"({"type":"urn:kiboko:problem:not_found","title":"Not Found","status":404,)"
                           R"("code":"not_found","detail":"grant \"g-1\" is not known"})");
}

TEST(Http, AProblemCarriesMembersOfItsOwn) {
  EXPECT_TRUE(problem(409, "memory", "no room", R"("refusal":{"asked":1})")
                  .body.ends_with(R"("detail":"no room","refusal":{"asked":1}})"));
}

TEST(Http, ATargetIsDecodedPartByPart) {
  const Target target = parse_target("/api/a%20b/c+d?x=1&y=a+b%26c&flag&=v#part").value();
  EXPECT_EQ(target.path, "/api/a b/c+d");
  EXPECT_EQ(target.query, (std::vector<Parameter>{{"x", "1"}, {"y", "a b&c"}, {"flag", ""}, {"", "v"}}));
  EXPECT_EQ(target.authority, std::nullopt);
}

TEST(Http, AnAbsoluteTargetNamesItsHost) {
  EXPECT_EQ(parse_target("http://host:80/a?b").value().authority, "host:80");
  EXPECT_EQ(parse_target("http://host?b").value().path, "/");
}

TEST(Http, OddTargetsAreRefused) {
  for (const char* bad :
       {"", "*", "a", "?a", "/%", "/%4", "/%g0", "/a/../b", "/%2e", "/a%2fb", "/%0a", "/%7f", "/?a=%"})
    EXPECT_EQ(parse_target(bad).error().code, Errc::Invalid) << bad;
  std::string many = "/?";
  for (int i = 0; i < 300; ++i) many += "a&";
  EXPECT_FALSE(parse_target(many));
}

TEST(Http, EncodingAndDecodingAreInverse) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(percent_decode(percent_encode(all), true).value(), all);
  EXPECT_EQ(percent_encode("a/b c~"), "a%2Fb%20c~");
}

TEST(Http, ThePortIsNoPartOfTheHost) {
  EXPECT_EQ(host_without_port("localhost:80"), "localhost");
  EXPECT_EQ(host_without_port("[::1]:80"), "[::1]");
  EXPECT_EQ(host_without_port("::1"), "");
  EXPECT_EQ(host_without_port("[::1"), "");
}

}  // namespace
}  // namespace kiboko::net
