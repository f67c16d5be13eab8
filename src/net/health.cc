#include "net/health.h"

#include <utility>

namespace kiboko::net {

void add_health_routes(Router& router, std::function<Result<void>()> ready) {
  router.add("GET", "/healthz", [](const Request&) { return text(200, "ok\n"); });
  router.add("GET", "/readyz", [ready = std::move(ready)](const Request&) {
    const Result<void> answer = ready();
    return answer ? text(200, "ok\n") : problem(503, "not_ready", answer.error().message);
  });
}

}  // namespace kiboko::net
