// One line of the host's event log. Plain value; the ledger keeps them, `GET /api/v1/events` shows them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "model/quantities.h"

namespace kiboko {

enum class Severity { Info, Warning };

struct Event {
  std::int64_t id = 0;  // given by the ledger, ever-growing
  std::int64_t time_ms = 0;
  Severity severity = Severity::Info;
  std::string kind;  // one of those below
  GrantId grant;     // empty when it concerns none
  DeviceUuid device;
  pid_t pid = 0;
  std::string sentence;
};

// What can happen. The same words in JSON and as the label of kiboko_events_total.
inline constexpr const char* kEventKinds[] = {
    "granted", "waiting", "withdrawn",    "refused",  "attached", "resized", "releasing", "ended",
    "adopted", "device",  "without_slot", "stranger", "region",   "started", "stopped",   "tampered"};

}  // namespace kiboko
