#include "sched/queue.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>

namespace kiboko {
namespace {

// The devices that the first waiting ask keeps: those that could hold it, nearest to doing so first.
struct Kept {
  const Ask* ask = nullptr;
  std::vector<std::size_t> positions;
};

Kept kept_for(std::span<const DeviceState> states, const Ask& ask) {
  struct Choice {
    std::size_t position;
    Shortage shortage;
  };
  std::vector<Choice> choices;
  for (std::size_t i = 0; i < states.size(); ++i)
    if (states[i].device.healthy && !refusal_on(emptied(states[i]), ask))
      choices.push_back({i, shortage_on(states[i], ask)});
  std::ranges::stable_sort(choices, [](const Choice& a, const Choice& b) {
    return std::tie(a.shortage.grants_in_the_way, a.shortage.memory, a.shortage.cores) <
           std::tie(b.shortage.grants_in_the_way, b.shortage.memory, b.shortage.cores);
  });
  Kept kept{&ask, {}};
  for (std::size_t i = 0; i < std::min<std::size_t>(choices.size(), ask.count); ++i)
    kept.positions.push_back(choices[i].position);
  return kept;
}

bool leaves_room(const Kept& kept, std::span<const DeviceState> states, std::size_t position, const Need& need) {
  if (kept.ask == nullptr || std::ranges::find(kept.positions, position) == kept.positions.end()) return true;
  DeviceState after = states[position];
  take(after, need);
  return !shortage_on(states[position], *kept.ask).worsened_by(shortage_on(after, *kept.ask));
}

// One walk through the queue: the first ask that may start now, or everybody's reason to wait.
struct Walk {
  std::optional<std::pair<std::size_t, Placement>> start;  // position in `waiting`
  std::vector<QueueStep::Delayed> delayed;
};

Walk walk(std::span<const DeviceState> states, std::span<const WaitingAsk> waiting,
          const std::map<uid_t, unsigned>& held) {
  Walk result;
  Kept kept;
  for (const std::size_t at : fair_order(waiting, held)) {
    const WaitingAsk& item = waiting[at];
    auto placed = place(states, item.ask, [&](std::size_t position, const Need& need) {
      return leaves_room(kept, states, position, need);
    });
    if (placed) {
      result.start.emplace(at, std::move(*placed));
      return result;
    }
    if (kept.ask == nullptr) kept = kept_for(states, item.ask);
    result.delayed.push_back({item.key, static_cast<unsigned>(result.delayed.size() + 1), std::move(placed.error())});
  }
  return result;
}

}  // namespace

std::vector<std::size_t> fair_order(std::span<const WaitingAsk> waiting, const std::map<uid_t, unsigned>& held) {
  std::vector<std::size_t> by_arrival(waiting.size());
  std::iota(by_arrival.begin(), by_arrival.end(), std::size_t{0});
  std::ranges::sort(by_arrival, [&](std::size_t a, std::size_t b) {
    return std::tie(waiting[a].since_ms, waiting[a].serial) < std::tie(waiting[b].since_ms, waiting[b].serial);
  });
  std::map<uid_t, unsigned> turns = held;
  std::vector<std::int64_t> due(waiting.size());
  for (const std::size_t at : by_arrival) due[at] = waiting[at].since_ms + kTurnMs * turns[waiting[at].uid]++;
  std::ranges::stable_sort(by_arrival, [&](std::size_t a, std::size_t b) { return due[a] < due[b]; });
  return by_arrival;
}

QueueStep step_queue(std::vector<DeviceState> states, std::vector<WaitingAsk> waiting, std::map<uid_t, unsigned> held) {
  QueueStep step;
  for (;;) {
    Walk next = walk(states, waiting, held);
    if (!next.start) {
      step.delayed = std::move(next.delayed);
      return step;
    }
    auto& [at, placement] = *next.start;
    take_all(states, placement);
    ++held[waiting[at].uid];
    step.started.push_back({waiting[at].key, std::move(placement)});
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

}  // namespace kiboko
