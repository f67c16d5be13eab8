#include "net/router.h"

#include <algorithm>
#include <cassert>
#include <exception>

#include "base/log.h"
#include "base/text.h"

namespace kiboko::net {
namespace {

enum class Kind { Literal, Part, Rest };  // the earlier, the more specific

struct Segment {
  Kind kind;
  std::string text;  // the literal, or the name in braces
};

Segment parse_segment(std::string_view text) {
  if (!text.starts_with('{')) return {Kind::Literal, std::string(text)};
  assert(text.ends_with('}'));
  const std::string_view inside = text.substr(1, text.size() - 2);
  if (inside.ends_with("...")) return {Kind::Rest, std::string(inside.substr(0, inside.size() - 3))};
  return {Kind::Part, std::string(inside)};
}

std::vector<std::string> parts_of(std::string_view path) {
  const auto views = split(path.substr(1), '/');
  return {views.begin(), views.end()};
}

bool is_read(std::string_view method) { return method == "GET" || method == "HEAD"; }

}  // namespace

struct Router::Route {
  std::string method;
  std::string pattern;
  std::vector<Segment> segments;
  DeferredHandler handler;
  RouteOptions options;

  bool matches(const std::vector<std::string>& parts) const {
    for (std::size_t i = 0; i < segments.size(); ++i) {
      if (segments[i].kind == Kind::Rest) return i <= parts.size();
      if (i >= parts.size()) return false;
      if (segments[i].kind == Kind::Literal && segments[i].text != parts[i]) return false;
      if (segments[i].kind == Kind::Part && parts[i].empty()) return false;
    }
    return segments.size() == parts.size();
  }
  bool more_specific_than(const Route& other) const {
    return std::ranges::lexicographical_compare(segments, other.segments, {}, &Segment::kind, &Segment::kind);
  }
  std::vector<Parameter> captures(const std::vector<std::string>& parts) const {
    std::vector<Parameter> captured;
    for (std::size_t i = 0; i < segments.size(); ++i) {
      if (segments[i].kind == Kind::Part) captured.push_back({segments[i].text, parts[i]});
      if (segments[i].kind == Kind::Rest)
        captured.push_back(
            {segments[i].text, join(std::vector(parts.begin() + static_cast<std::ptrdiff_t>(i), parts.end()), "/")});
    }
    return captured;
  }
};

void Router::add(std::string_view method, std::string_view pattern, Handler handler, RouteOptions options) {
  add_deferred(
      method, pattern,
      [handler = std::move(handler)](const Request& request, Responder responder) { responder.send(handler(request)); },
      options);
}

void Router::add_deferred(std::string_view method, std::string_view pattern, DeferredHandler handler,
                          RouteOptions options) {
  assert(pattern.starts_with('/'));
  auto route =
      std::make_shared<Route>(Route{std::string(method), std::string(pattern), {}, std::move(handler), options});
  for (const std::string_view part : split(pattern.substr(1), '/')) route->segments.push_back(parse_segment(part));
  routes_.push_back(std::move(route));
}

const Router::Route* Router::find(const Request& request, const std::vector<std::string>& parts,
                                  std::string& allow) const {
  const Route* best = nullptr;
  std::vector<std::string_view> methods;
  const auto serves = [&](const Route& route) {
    return route.method == request.method || (request.method == "HEAD" && route.method == "GET");
  };
  for (const auto& route : routes_) {
    if (!route->matches(parts)) continue;
    methods.push_back(route->method);
    if (route->method == "GET") methods.push_back("HEAD");
    if (!serves(*route)) continue;
    const bool own_head =
        best != nullptr && request.method == "HEAD" && route->method == "HEAD" && !best->more_specific_than(*route);
    if (best == nullptr || own_head || route->more_specific_than(*best)) best = route.get();
  }
  std::ranges::sort(methods);
  methods.erase(std::unique(methods.begin(), methods.end()), methods.end());
  allow = join(methods, ", ");
  return best;
}

std::string_view Router::dispatch(Request& request, const Responder& responder, bool read_only) const {
  std::string allow;
  const std::vector<std::string> parts = parts_of(request.path);
  const Route* route = find(request, parts, allow);
  if (route == nullptr && allow.empty()) {
    responder.send(problem(404, "not_found", fmt::format("there is nothing at {}", request.path)));
    return {};
  }
  if (route == nullptr) {
    Response refused = problem(405, "method_not_allowed",
                               fmt::format("{} does not answer {}, only {}", request.path, request.method, allow));
    refused.headers.push_back({"Allow", allow});
    responder.send(std::move(refused));
    return {};
  }
  if (read_only && !is_read(request.method) && !route->options.only_reads) {
    responder.send(problem(403, "read_only", "this address is for reading only: make changes over the unix socket"));
    return route->pattern;
  }
  request.captures = route->captures(parts);
  try {
    route->handler(request, responder);
  } catch (const std::exception& thrown) {
    log::error("{} {}: {}", request.method, route->pattern, thrown.what());
    responder.send(
        problem(500, name(Errc::Internal), "the request failed because of a fault in the server; see its log"));
  }
  return route->pattern;
}

}  // namespace kiboko::net
