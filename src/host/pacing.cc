// The replay follows what a time-slicing device does: the holder keeps the device for its slice (one per process) while
// it has work, then the next busy grant in the round gets it; without work the device passes on at once. In which order
// the round goes only the device knows; but whoever is busy and has waited longest is next in any. A grant's first
// event after idleness is stamped when it gets the device, so a grant whose timeline begins to be busy holds it from
// there.
#include "host/pacing.h"

#include <algorithm>
#include <set>
#include <utility>

#include "region/layout.h"

namespace kiboko::host {
namespace {

constexpr double kBudget = 10400;  // a little over the whole device: nobody idles it while another is being refilled
constexpr double kNotLent = 500;   // that little, and a little more, so that a lender still reaches its own

// `busy` is not empty.
int next_in_round(std::uint64_t busy, const TurnState& state) {
  const auto held_until = [&](int grant) { return state.held_until[static_cast<std::size_t>(grant)]; };
  int next = __builtin_ctzll(busy);
  for (std::uint64_t rest = busy & (busy - 1); rest != 0; rest &= rest - 1) {
    const int candidate = __builtin_ctzll(rest);
    if (held_until(candidate) < held_until(next)) next = candidate;
  }
  return next;
}

}  // namespace

namespace {

void rates_within(std::span<const GrantDemand> grants, std::uint32_t priority, std::vector<std::uint32_t>& result) {
  std::vector<std::size_t> open;  // who may have more than its own percentage, not yet decided
  double left = kBudget;
  for (std::size_t i = 0; i < grants.size(); ++i) {
    const GrantDemand& grant = grants[i];
    if (!grant.active || grant.priority != priority) continue;
    if (grant.core_percent == 0) {
      open.push_back(i);
    } else {
      const double asked = grant.core_percent * 100.0;
      const double expected = grant.used_percent * 100.0 + 500;
      left -= grant.hungry ? asked : std::min(asked, expected);
      if (grant.elastic && (grant.hungry || expected > asked)) open.push_back(i);
    }
  }
  const auto floor = [&](std::size_t i) { return grants[i].core_percent * 100.0; };
  const auto wants = [&](std::size_t i) { return std::max(grants[i].used_percent * 120.0 + 500 - floor(i), 0.0); };
  // Smallest demands first: each gets what it uses if that is less than an equal part of what is left.
  std::sort(open.begin(), open.end(), [&](std::size_t a, std::size_t b) {
    return (grants[a].hungry ? 1e9 : wants(a)) < (grants[b].hungry ? 1e9 : wants(b));
  });
  for (std::size_t k = 0; k < open.size(); ++k) {
    const double reserve = grants[open[k]].elastic ? kNotLent : 0;
    const double part = std::max(left - reserve, 0.0) / static_cast<double>(open.size() - k);
    const double mine = grants[open[k]].hungry ? part : std::min(part, wants(open[k]));
    left -= mine;
    // A grant that is content may still grow to an equal part at once; the others give way in the next round.
    const double rate =
        std::clamp(floor(open[k]) + std::max(mine, part), static_cast<double>(kLeastPermyriad), 10000.0);
    result[open[k]] = static_cast<std::uint32_t>(rate);
  }
}

bool at_work(const Standing& grant, std::uint64_t now) {
  constexpr std::uint64_t kBeyondBelief = 60'000'000'000;  // the word is the tenant's
  return grant.busy_until_ns + grant.pause_ns > now && grant.busy_until_ns < now + kBeyondBelief;
}

}  // namespace

void Pauses::look(std::uint64_t busy_until, std::uint64_t now) {
  if (open_since_ != 0 && busy_until != open_since_) {
    if (now - looked_ <= 2 * kPauseNs) judge(true);
    open_since_ = 0;
  }
  if (busy_until <= now && busy_until != judged_since_) {
    open_since_ = busy_until;
    if (now - busy_until > kPauseNs) {
      judge(false);
      judged_since_ = std::exchange(open_since_, 0);
    }
  }
  looked_ = now;
}

void Pauses::judge(bool was_short) {
  constexpr double kWeight = 1.0 / 16;
  short_part_ += kWeight * ((was_short ? 1 : 0) - short_part_);
}

std::uint64_t Pauses::worth_waiting_ns() const {
  constexpr double kFew = 0.25;
  return short_part_ < kFew ? 0 : kPauseNs;
}

std::vector<std::uint32_t> rates(std::span<const GrantDemand> grants) {
  std::vector<std::uint32_t> result(grants.size(), 0);
  std::set<std::uint32_t> priorities;
  for (const GrantDemand& grant : grants) priorities.insert(grant.priority);
  for (const std::uint32_t priority : priorities) rates_within(grants, priority, result);
  return result;
}

std::vector<Precedence> precedence(std::span<const Standing> grants, std::uint64_t now) {
  std::vector<Precedence> result(grants.size());
  std::vector<bool> below(grants.size());  // somebody who may come at any moment
  std::uint32_t shy = 0;
  for (std::size_t i = 0; i < grants.size(); ++i) {
    for (const Standing& other : grants) {
      const bool higher = other.priority<grants[i].priority, lower = other.priority> grants[i].priority;
      if (higher && at_work(other, now)) result[i].blocked = true;
      if (higher && other.has_processes) below[i] = true;
      if (lower && other.active && grants[i].has_processes) result[i].watched = true;
    }
    if (below[i] && grants[i].active) ++shy;
  }
  for (std::size_t i = 0; i < grants.size(); ++i)
    if (below[i]) result[i].in_flight_us = kShyInFlightUs / std::max(shy, 1U);
  return result;
}

TurnState reordered(const TurnState& state, std::span<const int> was) {
  TurnState next{.left_ns = state.left_ns, .bits = state.bits};
  for (std::size_t i = 0; i < std::min(was.size(), kMostInTurn); ++i) {
    if (was[i] < 0 || was[i] >= static_cast<int>(kMostInTurn)) continue;
    if (was[i] == state.holder) next.holder = static_cast<int>(i);
    next.was_busy |= (state.was_busy >> was[i] & 1) << i;
    next.held_until[i] = state.held_until[static_cast<std::size_t>(was[i])];
  }
  return next;
}

std::vector<std::uint64_t> attribute(std::span<const Timeline> timelines, TurnState& state) {
  const int count = static_cast<int>(std::min(timelines.size(), kMostInTurn));
  std::vector<std::uint64_t> others(timelines.size(), 0);
  const std::size_t words = count == 0 ? 0 : timelines[0].words.size();
  for (std::size_t word = 0; word < words; ++word) {
    for (unsigned bit = 0; bit < region::kCoverBits; ++bit) {
      std::uint64_t busy = 0;
      for (int i = 0; i < count; ++i) busy |= (timelines[static_cast<std::size_t>(i)].words[word] >> bit & 1) << i;
      const std::uint64_t began = busy & ~state.was_busy;
      state.was_busy = busy;
      ++state.bits;
      if (busy == 0) {
        state.holder = -1;
        continue;
      }
      const bool holder_busy = state.holder >= 0 && (busy >> state.holder & 1) != 0;
      int holder = state.holder;
      if (began != 0 && (!holder_busy || state.left_ns < kSliceNs))
        holder = __builtin_ctzll(began);
      else if (!holder_busy || state.left_ns < region::kCoverBitNs)
        holder = next_in_round(busy, state);
      if (holder != state.holder || state.left_ns < region::kCoverBitNs) {
        state.holder = holder;
        state.left_ns =
            static_cast<std::uint64_t>(static_cast<double>(kSliceNs) *
                                       std::clamp(timelines[static_cast<std::size_t>(holder)].processes, 1.0, 1024.0));
      }
      state.left_ns -= std::min(state.left_ns, region::kCoverBitNs);
      state.held_until[static_cast<std::size_t>(holder)] = state.bits;
      for (int i = 0; i < count; ++i)
        if ((busy >> i & 1) != 0 && i != holder) others[static_cast<std::size_t>(i)] += region::kCoverBitNs;
    }
  }
  return others;
}

}  // namespace kiboko::host
