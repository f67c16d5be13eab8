// Waits for a grant in the agent's queue: shows place and reason, ends at once on Ctrl-C.
//
// Main thread; starts no other (a fork follows).
#pragma once

#include "cli/agent.h"
#include "cli/output.h"
#include "cli/signals.h"

namespace kiboko::cli {

struct Waited {
  std::optional<GrantView> grant;  // state "granted"
  int cancelled_by = 0;            // or this signal; the ask has been withdrawn
};

Result<Waited> wait_for_grant(Agent& agent, const GrantView& waiting, const Signals& signals, Output& err);

// "waiting, place 2 in the queue: device 0 (GPU-1): asked 10.0 GiB, 4.6 GiB free"
std::string waiting_sentence(const Waiting& waiting);

}  // namespace kiboko::cli
