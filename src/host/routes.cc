#include "host/routes.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "host/doctor.h"
#include "host/metrics.h"
#include "host/view.h"
#include "net/health.h"
#include "net/http.h"

namespace kiboko {
namespace {

using Json = nlohmann::json;
using net::Request;
using net::Response;
using std::chrono::milliseconds;

constexpr milliseconds kLongestPoll{30'000};
constexpr milliseconds kLongestGrace{3'600'000};
constexpr milliseconds kUsualGrace{10'000};
constexpr std::size_t kEventsPerAnswer = 1000;

Response answer(int status, const Json& json) { return net::json(status, dump(json)); }

// Most handlers are a Result; the error becomes the problem.
Response respond(const Result<Response>& result) { return result ? *result : net::problem(result.error()); }

template <class T>
Result<T> number_parameter(const Request& request, std::string_view key, T otherwise, T most) {
  const auto text = request.parameter(key);
  if (!text) return otherwise;
  const T number = TRY(parse_integer<T>(*text).map_error(about("parameter {}", key)));
  return std::min(number, most);
}

GrantId id_of(const Request& request) { return GrantId{std::string(request.capture("id"))}; }

// A refusal is a problem and carries its own members beside the usual ones.
Response refused(const Refusal& refusal) {
  Json json = to_json(refusal);
  json["type"] = "about:blank";
  json["title"] = "Conflict";
  json["status"] = 409;
  json["detail"] = refusal.sentence;
  Response response = answer(409, json);
  response.content_type = std::string(net::kProblem);
  return response;
}

class Routes {
 public:
  Routes(Host& host, net::Loop& loop, net::Metrics& metrics, AgentInfo info)
      : host_(host), loop_(loop), metrics_(metrics), info_(std::move(info)) {}

  static void add(net::Router& router, const std::shared_ptr<Routes>& self);

 private:
  using Method = Result<Response> (Routes::*)(const Request&);

  Result<Response> meta(const Request& request);
  Result<Response> metrics_text(const Request& request);
  Result<Response> devices(const Request& request);
  Result<Response> grants(const Request& request);
  Result<Response> ask(const Request& request);
  Result<Response> attach(const Request& request);
  Result<Response> resize(const Request& request);
  Result<Response> release(const Request& request);
  Result<Response> suspend(const Request& request);
  Result<Response> resume(const Request& request);
  Result<Response> explain(const Request& request);
  Result<Response> queue(const Request& request);
  Result<Response> events(const Request& request);
  Result<Response> doctor(const Request& request);

  Caller caller(const Request& request) const { return caller_of(request.peer, info_); }
  Result<Response> grant_now(const GrantId& id, const Caller& caller, int status = 200) const;
  void poll(const Request& request, const net::Responder& responder);

  Host& host_;
  net::Loop& loop_;
  net::Metrics& metrics_;
  const AgentInfo info_;
};

Result<Response> Routes::meta(const Request& request) {
  const Caller who = caller(request);
  const ProgramPaths& paths = host_.options().programs;
  Json you = {{"known", who.known}, {"manages_all", who.manages_all}};
  if (who.known) you.update({{"uid", who.uid}, {"user", user_name(who.uid)}});
  return answer(200,
                {{"product", "kiboko"},
                 {"version", info_.version},
                 {"host", info_.host_name},
                 {"home", "standalone"},
                 {"mode", host_.enforces() ? "enforced" : "cooperative"},
                 {"simulated", info_.simulated},
                 {"socket", info_.socket},
                 {"console", info_.console.empty() ? Json(nullptr) : Json(info_.console)},
                 {"library", paths.shim},
                 {"simulation_libraries", paths.simulation_name.empty() ? Json(nullptr) : Json(paths.simulation_dir)},
                 {"control_groups", host_.cgroups().available()},
                 {"default_memory_percent", kDefaultMemoryPercent},
                 {"pid", ::getpid()},
                 {"started_ms", host_.started_ms()},
                 {"you", std::move(you)}});
}

Result<Response> Routes::metrics_text(const Request&) {
  fill_metrics(host_, metrics_);
  return net::metrics_response(metrics_);
}

Result<Response> Routes::devices(const Request& request) {
  return answer(200, {{"devices", devices_view(host_, caller(request))}});
}

// ?state=all adds those that ended of late.
Result<Response> Routes::grants(const Request& request) {
  const Caller who = caller(request);
  Json list = Json::array();
  if (request.parameter("state") == "all")
    for (const Grant* grant : host_.ended()) list.push_back(ended_view(*grant, who));
  for (const LiveGrant* live : host_.live()) list.push_back(grant_view(host_, *live, who));
  return answer(200, {{"grants", std::move(list)}});
}

Result<Response> Routes::grant_now(const GrantId& id, const Caller& who, int status) const {
  if (const LiveGrant* live = host_.find(id)) return answer(status, grant_view(host_, *live, who));
  if (const Grant* grant = host_.find_ended(id)) return answer(status, ended_view(*grant, who));
  return fail(Errc::NotFound, "there is no grant {}", one_line(id.text.substr(0, 64)));
}

Result<Response> Routes::ask(const Request& request) {
  const Caller who = caller(request);
  Ask ask = TRY(parse_ask(request.body));
  const auto outcome = host_.ask(std::move(ask), who);
  // 409 is a refusal with its reasons; too many asks of one user are something else.
  if (!outcome && outcome.error().code == Errc::Conflict) return net::problem(429, "busy", outcome.error().message);
  if (!outcome) return tl::unexpected<Error>(outcome.error());
  if (outcome->refusal) return refused(*outcome->refusal);
  const bool waits = host_.find(outcome->id)->grant().state == GrantState::Waiting;
  Response response = TRY(grant_now(outcome->id, who, waits ? 202 : 201));
  response.headers.push_back({"Location", "/api/v1/grants/" + outcome->id.text});
  return response;
}

Result<Response> Routes::attach(const Request& request) {
  const Json body = TRY(parse_json(request.body));
  const bool shaped = body.is_object() && body.size() == 1 && body.contains("pid") && body["pid"].is_number_unsigned();
  if (!shaped || body["pid"].get<std::uint64_t>() > (1U << 22U))
    return fail(Errc::Invalid, "the body must be {{\"pid\": NUMBER}}");
  TRY(host_.attach(id_of(request), body["pid"].get<pid_t>(), caller(request)));
  return grant_now(id_of(request), caller(request));
}

Result<Response> Routes::resize(const Request& request) {
  TRY(host_.resize(id_of(request), TRY(parse_resize(request.body)), caller(request)));
  return grant_now(id_of(request), caller(request));
}

Result<Response> Routes::release(const Request& request) {
  const auto grace =
      TRY(number_parameter<std::uint32_t>(request, "grace_ms", kUsualGrace.count(), kLongestGrace.count()));
  TRY(host_.release(id_of(request), milliseconds(grace), caller(request)));
  const bool gone = host_.find(id_of(request)) == nullptr;
  return grant_now(id_of(request), caller(request), gone ? 200 : 202);
}

Result<Response> Routes::suspend(const Request& request) {
  TRY(host_.suspend(id_of(request), true, caller(request)));
  return grant_now(id_of(request), caller(request));
}

Result<Response> Routes::resume(const Request& request) {
  TRY(host_.suspend(id_of(request), false, caller(request)));
  return grant_now(id_of(request), caller(request));
}

Result<Response> Routes::explain(const Request& request) {
  const Ask ask = TRY(parse_ask(request.body));
  return answer(200, explanation_view(host_.explain(ask, caller(request))));
}

Result<Response> Routes::queue(const Request& request) {
  return answer(200, {{"queue", queue_view(host_, caller(request))}});
}

Result<Response> Routes::events(const Request& request) {
  const auto after = TRY(number_parameter<std::int64_t>(request, "after", 0, std::int64_t{1} << 62));
  const std::vector<Event> events = TRY(host_.events_after(after, kEventsPerAnswer));
  Json list = Json::array();
  for (const Event& event : events) list.push_back(event_view(event));
  return answer(200, {{"events", std::move(list)}, {"last", events.empty() ? after : events.back().id}});
}

Result<Response> Routes::doctor(const Request&) {
  constexpr const char* kHealth[] = {"well", "notice", "trouble"};
  Json checks = Json::array();
  bool well = true;
  for (const Check& check : examine(host_)) {
    well = well && check.health != Health::Trouble;
    checks.push_back({{"name", check.name},
                      {"health", kHealth[static_cast<std::size_t>(check.health)]},
                      {"sentence", check.sentence},
                      {"next_step", check.next_step.empty() ? Json(nullptr) : Json(check.next_step)}});
  }
  return answer(200, {{"well", well}, {"checks", std::move(checks)}});
}

// Answers when the grant changes, when the time is over, or at once if nothing can change any more.
void Routes::poll(const Request& request, const net::Responder& responder) {
  const GrantId id = id_of(request);
  const Caller who = caller(request);
  const auto wait = number_parameter<std::uint32_t>(request, "wait_ms", 0, kLongestPoll.count());
  if (!wait) return responder.send(wait.error());
  struct Pending {
    std::uint64_t watcher = 0;
    net::Subscription timer;
  };
  const auto pending = std::make_shared<Pending>();
  const auto finish = [this, id, who, responder, pending] {
    host_.unwatch(id, pending->watcher);
    responder.send(respond(grant_now(id, who)));
    pending->timer.reset();
  };
  if (*wait > 0) pending->watcher = host_.watch(id, finish);
  if (pending->watcher == 0) return finish();
  pending->timer = loop_.after(milliseconds(*wait), finish);
  responder.on_gone([this, id, pending] {
    host_.unwatch(id, pending->watcher);
    pending->timer.reset();
  });
}

void Routes::add(net::Router& router, const std::shared_ptr<Routes>& self) {
  struct Row {
    const char* method;
    const char* pattern;
    Method handler;
    bool only_reads = false;
  };
  constexpr Row kRows[] = {
      {"GET", "/metrics", &Routes::metrics_text},
      {"GET", "/api/v1/meta", &Routes::meta},
      {"GET", "/api/v1/devices", &Routes::devices},
      {"GET", "/api/v1/grants", &Routes::grants},
      {"POST", "/api/v1/grants", &Routes::ask},
      {"POST", "/api/v1/grants/{id}/attach", &Routes::attach},
      {"POST", "/api/v1/grants/{id}/suspend", &Routes::suspend},
      {"POST", "/api/v1/grants/{id}/resume", &Routes::resume},
      {"PATCH", "/api/v1/grants/{id}", &Routes::resize},
      {"DELETE", "/api/v1/grants/{id}", &Routes::release},
      {"POST", "/api/v1/explain", &Routes::explain, true},
      {"GET", "/api/v1/queue", &Routes::queue},
      {"GET", "/api/v1/events", &Routes::events},
      {"GET", "/api/v1/doctor", &Routes::doctor},
  };
  for (const Row& row : kRows)
    router.add(row.method, row.pattern,
               [self, handler = row.handler](const Request& request) { return respond((*self.*handler)(request)); },
               {.only_reads = row.only_reads});
  router.add_deferred("GET", "/api/v1/grants/{id}", [self](const Request& request, const net::Responder& responder) {
    self->poll(request, responder);
  });
}

}  // namespace

Caller caller_of(const net::Peer& peer, const AgentInfo& info) {
  Caller caller;
  caller.known = peer.known();
  if (!caller.known) return caller;
  caller.uid = peer.uid;
  caller.gid = peer.gid;
  caller.pid = peer.pid;
  caller.manages_all = peer.uid == 0 || peer.uid == ::geteuid() || (info.managers && peer.in_group(*info.managers));
  return caller;
}

void add_host_routes(net::Router& router, Host& host, net::Loop& loop, net::Metrics& metrics, const AgentInfo& info) {
  Routes::add(router, std::make_shared<Routes>(host, loop, metrics, info));
  net::add_health_routes(router, [&host]() -> Result<void> {
    if (const auto trouble = host.driver_trouble()) return fail(Errc::Unavailable, "{}", *trouble);
    if (host.ledger_trouble()) return fail(Errc::Unavailable, "{}", *host.ledger_trouble());
    return {};
  });
}

}  // namespace kiboko
