// Beast's parser does the reading. Five things it leaves to its user, and that are done here:
//  - its header limit holds for what is not yet consumed, not for the sum of the fields;
//  - it has no limit for a chunk's size line nor for the trailer: it is shown no more bytes at a time than either may
//    have, so that what is refused does not depend on how the network cut them;
//  - a Transfer-Encoding other than "chunked" is ignored, which would leave the body to be read as the next request;
//  - after the last chunk's size line it must see five bytes (the shortest end of a chunked body) before it is asked
//    again: its own assertion says so;
//  - Host is not looked at (RFC 9112 §3.2: exactly one in HTTP/1.1).
#include "net/request_reader.h"

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

#include "base/text.h"

namespace kiboko::net {
namespace {

namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

constexpr std::size_t kShortestEndOfChunks = 5;

std::string to_string(boost::beast::string_view view) { return {view.data(), view.size()}; }

// Beast says bad_version for anything after the target that is not "HTTP/1.0" or "HTTP/1.1" and CRLF.
bool names_other_version(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
  const std::size_t at = line.rfind("HTTP/");
  return at != std::string_view::npos && line.size() == at + 8 && line.find('\n') == std::string_view::npos;
}

Response refusal_of(const boost::beast::error_code& code, const RequestLimits& limits, std::string_view bytes) {
  if (code == http::error::header_limit)
    return problem(431, "header_too_large",
                   fmt::format("the request's header is over {}", format_bytes(limits.header_bytes)));
  if (code == http::error::body_limit)
    return problem(413, "body_too_large",
                   fmt::format("the request's body is over {}", format_bytes(limits.body_bytes)));
  if (code == http::error::bad_version && names_other_version(bytes))
    return problem(505, "bad_version", "only HTTP/1.0 and HTTP/1.1 are spoken here");
  return problem(400, "bad_request", fmt::format("this is not HTTP: {}", code.message()));
}

}  // namespace

struct RequestReader::Impl {
  explicit Impl(RequestLimits bounds) : limits(bounds) {}

  void restart() {
    parser.emplace();
    parser->eager(false);  // until the header is read: its size is then exactly what put() used
    parser->header_limit(static_cast<std::uint32_t>(limits.header_bytes));
    parser->body_limit(limits.body_bytes);
    header_bytes = 0;
  }
  State bad(Response answer) {
    refused = std::move(answer);
    return State::Bad;
  }
  std::optional<Response> check_header() const;
  State finish();

  RequestLimits limits;
  std::optional<Parser> parser;  // engaged while a request is being read
  std::size_t header_bytes = 0;
  Request request;
  Response refused;
  std::string host;
  bool keep_alive = false;
  bool http_1_0 = false;
};

std::optional<Response> RequestReader::Impl::check_header() const {
  const auto& message = parser->get();
  const auto coding = message.find(http::field::transfer_encoding);
  if (coding != message.end() && to_lower(trim(to_string(coding->value()))) != "chunked")
    return problem(501, "bad_transfer_encoding", "the only transfer coding understood is 'chunked'");
  const auto hosts = message.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && message.version() == 11))
    return problem(400, "bad_host", "a request needs exactly one Host header");
  const auto expect = message.find(http::field::expect);
  if (expect != message.end() && to_lower(to_string(expect->value())) != "100-continue")
    return problem(417, "bad_expectation", "the only expectation understood is '100-continue'");
  return std::nullopt;
}

RequestReader::State RequestReader::Impl::finish() {
  auto message = parser->release();
  keep_alive = message.keep_alive();
  http_1_0 = message.version() < 11;
  host = to_string(message[http::field::host]);
  parser.reset();

  Result<Target> target = parse_target(to_string(message.target()));
  if (!target) return bad(problem(target.error()));
  if (target->authority) host = *target->authority;
  request = Request{};
  request.method = to_string(message.method_string());
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  for (const auto& field : message)
    request.headers.push_back({to_string(field.name_string()), to_string(field.value())});
  request.body = std::move(message.body());
  return State::Complete;
}

RequestReader::RequestReader(RequestLimits limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestReader::~RequestReader() = default;

RequestReader::State RequestReader::feed(std::string& bytes) {
  Impl& my = *impl_;
  if (!my.parser) {
    // An empty line before a request is what some clients leave behind a body (RFC 9112 §2.2).
    bytes.erase(0, std::min(bytes.find_first_not_of("\r\n"), bytes.size()));
    if (bytes.empty()) return State::NeedMore;
    my.restart();
  }
  while (!my.parser->is_done()) {
    if (bytes.empty()) return State::NeedMore;
    const bool in_chunks = my.parser->is_header_done() && my.parser->chunked();
    if (in_chunks && bytes.size() < kShortestEndOfChunks) return State::NeedMore;

    const bool in_header = !my.parser->is_header_done();
    const std::size_t shown = in_chunks ? std::min(bytes.size(), my.limits.header_bytes) : bytes.size();
    boost::beast::error_code code;
    const std::size_t used = my.parser->put(boost::asio::buffer(bytes, shown), code);
    bytes.erase(0, used);
    if (in_header) my.header_bytes += used;
    if (code && code != http::error::need_more) return my.bad(refusal_of(code, my.limits, bytes));

    const std::size_t waiting = my.parser->is_header_done() ? 0 : bytes.size();
    if (in_header && my.header_bytes + waiting > my.limits.header_bytes)
      return my.bad(refusal_of(http::error::header_limit, my.limits, bytes));
    if (in_header && my.parser->is_header_done()) {
      my.parser->eager(true);
      if (std::optional<Response> refused = my.check_header()) return my.bad(std::move(*refused));
    }
    if (code == http::error::need_more && used == 0) {
      if (in_chunks && shown == my.limits.header_bytes)
        return my.bad(problem(400, "bad_request", "a chunk's size line or the trailer is too long"));
      return State::NeedMore;
    }
  }
  return my.finish();
}

Request RequestReader::take() { return std::move(impl_->request); }
const Response& RequestReader::refusal() const { return impl_->refused; }
bool RequestReader::started() const { return impl_->parser.has_value(); }
bool RequestReader::keep_alive() const { return impl_->keep_alive; }
bool RequestReader::http_1_0() const { return impl_->http_1_0; }
const std::string& RequestReader::host() const { return impl_->host; }

bool RequestReader::wants_continue() const {
  const auto& parser = impl_->parser;
  if (!parser || !parser->is_header_done() || parser->is_done()) return false;
  const auto& message = parser->get();
  return message.version() == 11 && message.find(http::field::expect) != message.end();
}

}  // namespace kiboko::net
