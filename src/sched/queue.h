// Who is next when asks wait: order, and who may pass whom.
//
// Pure. Asks are served by arrival time plus a handicap: one turn for each grant that the user holds and each earlier
// ask that the user has waiting. So a user with a hundred asks does not shut out one with a single ask, and as the
// handicap does not grow with time, every ask is first sooner or later.
//
// The first ask that does not fit keeps the devices that it is nearest to fitting on. A later ask may start only where
// it does not add to what the first one lacks there: it never delays the first.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "sched/place.h"

namespace kiboko {

inline constexpr std::int64_t kTurnMs = 5 * 60 * 1000;

struct WaitingAsk {
  std::size_t key = 0;  // the caller's
  uid_t uid = 0;
  std::int64_t since_ms = 0;
  std::uint64_t serial = 0;  // order of arrival, breaks ties
  Ask ask;
};

// Positions in `waiting`, next first. `held` is the number of grants that each user has.
std::vector<std::size_t> fair_order(std::span<const WaitingAsk> waiting, const std::map<uid_t, unsigned>& held);

struct QueueStep {
  struct Started {
    std::size_t key;
    Placement placement;
  };
  struct Delayed {
    std::size_t key;
    unsigned position;  // 1 = next
    Refusal refusal;
  };
  std::vector<Started> started;  // in the order to start them
  std::vector<Delayed> delayed;  // in queue order
};

QueueStep step_queue(std::vector<DeviceState> states, std::vector<WaitingAsk> waiting, std::map<uid_t, unsigned> held);

}  // namespace kiboko
