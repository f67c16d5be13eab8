// One grant that has not ended, with everything the Host holds for it.
//
// Owned by the Host and touched on its loop alone.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "host/grant_files.h"
#include "host/ledger.h"
#include "host/members.h"
#include "host/tampering.h"
#include "host/usage.h"

namespace kiboko {

struct LiveGrant {
  LiveGrant(net::Loop& loop, std::function<void()> on_change) : members(loop, std::move(on_change)) {}

  GrantRecord record;
  std::uint64_t serial = 0;  // order of arrival
  GrantPaths paths;
  std::optional<GrantPageFile> page;  // a share that is granted
  Members members;
  bool in_cgroup = false;
  UsageMeter meter;
  TamperWatch tampering;
  unsigned region_failures = 0;                             // looks in a row that could not read its region
  std::optional<Instant> suspended_at;                      // when it was last suspended, or taken up so
  bool drained = false;                                     // suspended, and nothing of it is in flight any more
  std::optional<Instant> kill_at;                           // Ending: when patience is over
  std::map<std::uint64_t, std::function<void()>> watchers;  // long polls
  std::string note;  // what keeps it from starting although it fits, for its waiting reason

  Grant& grant() { return record.grant; }
  const Grant& grant() const { return record.grant; }
};

}  // namespace kiboko
