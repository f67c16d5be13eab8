// The two questions every server of ours answers: are you there, and can you do your work.
#pragma once

#include <functional>

#include "base/result.h"
#include "net/router.h"

namespace kiboko::net {

// GET /healthz: "ok" as long as the loop turns. GET /readyz: "ok", or 503 with the reason that `ready` gives.
void add_health_routes(Router& router, std::function<Result<void>()> ready);

}  // namespace kiboko::net
