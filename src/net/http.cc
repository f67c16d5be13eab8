#include "net/http.h"

#include <algorithm>

#include "base/text.h"

namespace kiboko::net {
namespace {

constexpr std::size_t kMaxParameters = 256;

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

struct Reason {
  int status;
  std::string_view phrase;
};
constexpr Reason kReasons[] = {
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

struct CodeStatus {
  Errc code;
  int status;
};
constexpr CodeStatus kStatuses[] = {
    {Errc::Invalid, 400},   {Errc::NotFound, 404},    {Errc::Conflict, 409},
    {Errc::Forbidden, 403}, {Errc::Unavailable, 503}, {Errc::Internal, 500},
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

Result<std::vector<Parameter>> parse_query(std::string_view text) {
  std::vector<Parameter> parameters;
  for (const std::string_view part : split(text, '&')) {
    if (part.empty()) continue;
    if (parameters.size() == kMaxParameters)
      return fail(Errc::Invalid, "the query has more than {} parameters", kMaxParameters);
    const std::size_t equals = part.find('=');
    const std::string_view value = equals == std::string_view::npos ? std::string_view{} : part.substr(equals + 1);
    Parameter parameter;
    parameter.name = TRY(percent_decode(part.substr(0, equals), true));
    parameter.value = TRY(percent_decode(value, true));
    parameters.push_back(std::move(parameter));
  }
  return parameters;
}

// Each part is decoded on its own, so that "%2F" cannot make a new one, and "%2e%2e" is seen as what it is.
Result<std::string> parse_path(std::string_view text) {
  std::string path;
  for (const std::string_view encoded : split(text.substr(1), '/')) {
    const std::string part = TRY(percent_decode(encoded, false));
    if (part == "." || part == "..") return fail(Errc::Invalid, "the path has '{}' as a part", part);
    if (part.find('/') != std::string::npos) return fail(Errc::Invalid, "the path has an encoded '/'");
    path += '/';
    path += part;
  }
  if (std::ranges::any_of(path, is_control)) return fail(Errc::Invalid, "the path has a control character");
  return path;
}

}  // namespace

std::optional<std::string_view> find_header(const Headers& headers, std::string_view name) {
  for (const Header& header : headers)
    if (equal_ignoring_case(header.name, name)) return header.value;
  return std::nullopt;
}

bool Peer::in_group(gid_t group) const {
  return known() && (gid == group || std::ranges::find(groups, group) != groups.end());
}

std::optional<std::string_view> Request::parameter(std::string_view wanted) const {
  for (const Parameter& parameter : query)
    if (parameter.name == wanted) return parameter.value;
  return std::nullopt;
}

std::string_view Request::capture(std::string_view wanted) const {
  for (const Parameter& capture : captures)
    if (capture.name == wanted) return capture.value;
  return {};
}

Response json(int status, std::string body) { return {status, std::string(kJson), std::move(body), {}}; }
Response text(int status, std::string body) { return {status, std::string(kText), std::move(body), {}}; }

std::string_view reason_phrase(int status) {
  for (const Reason& reason : kReasons)
    if (reason.status == status) return reason.phrase;
  return "Unknown";
}

int http_status(Errc code) {
  for (const CodeStatus& row : kStatuses)
    if (row.code == code) return row.status;
  return 500;
}

Errc errc_of_status(int status) {
  for (const CodeStatus& row : kStatuses)
    if (row.status == status) return row.code;
  if (status == 401) return Errc::Forbidden;
  if (status == 408 || status == 429 || status == 502 || status == 504) return Errc::Unavailable;
  return status >= 400 && status < 500 ? Errc::Invalid : Errc::Internal;
}

Response problem(int status, std::string_view code, std::string_view detail, std::string_view members) {
  const std::string code_json = json_escape(code);
  return {status,
          std::string(kProblem),
          fmt::format(R"({{"type":"urn:kiboko:problem:{}","title":"{}","status":{},"code":"{}","detail":"{}"{}{}}})",
                      code_json, reason_phrase(status), status, code_json, json_escape(detail),
                      members.empty() ? "" : ",", members),
          {}};
}

Response problem(const Error& error) { return problem(http_status(error.code), name(error.code), error.message); }

Result<Target> parse_target(std::string_view target) {
  Target parsed;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    target.remove_prefix(scheme.size());
    const std::size_t end = target.find_first_of("/?");
    parsed.authority = std::string(target.substr(0, end));
    target = end == std::string_view::npos ? std::string_view{} : target.substr(end);
    break;
  }
  target = target.substr(0, target.find('#'));
  const std::size_t question = target.find('?');
  std::string_view path = target.substr(0, question);
  if (path.empty() && parsed.authority) path = "/";
  if (path.empty() || path.front() != '/') return fail(Errc::Invalid, "the request target must begin with '/'");
  parsed.path = TRY(parse_path(path));
  if (question != std::string_view::npos) parsed.query = TRY(parse_query(target.substr(question + 1)));
  return parsed;
}

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      decoded += ' ';
    } else if (text[i] == '%') {
      const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return fail(Errc::Invalid, "'{}' is not a percent code", text.substr(i, 3));
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string encoded;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos)
      encoded += c;
    else
      encoded += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return encoded;
}

std::string_view host_without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

}  // namespace kiboko::net
