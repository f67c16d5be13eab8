#include "sched/place.h"

#include <algorithm>

namespace kiboko {
namespace {

// Fuller first. Shares are compared in thousandths, so that devices of different sizes compare fairly.
bool fuller(const DeviceState& a, const DeviceState& b) {
  const auto share = [](const DeviceState& s) {
    const double grantable = static_cast<double>(std::max<std::uint64_t>(s.memory_grantable().count, 1));
    return static_cast<int>(1000.0 * static_cast<double>(s.memory_granted.count) / grantable);
  };
  if (share(a) != share(b)) return share(a) > share(b);
  if (a.cores_granted != b.cores_granted) return a.cores_granted > b.cores_granted;
  return a.device.index < b.device.index;
}

struct Candidates {
  std::vector<PlacedDevice> fitting;
  std::vector<DeviceRefusal> refused;
  const DeviceState* nearest_miss = nullptr;
  std::size_t held_back = 0;  // would fit, but the room is kept for whoever is next
};

Candidates candidates(std::span<const DeviceState> states, const Ask& ask, const MayUse& may_use) {
  Candidates found;
  unsigned most = 0;
  for (std::size_t i = 0; i < states.size(); ++i) {
    const DeviceState& state = states[i];
    if (auto refusal = refusal_on(state, ask)) {
      found.refused.push_back(std::move(*refusal));
      const unsigned passed = rules_passed(state, ask);
      if (found.nearest_miss == nullptr || passed > most) {
        found.nearest_miss = &state;
        most = passed;
      }
      continue;
    }
    const Need need = need_on(state, ask);
    if (may_use && !may_use(i, need)) {
      ++found.held_back;
      found.refused.push_back(
          {state.device.uuid, state.device.index, RefusalCode::Busy,
           fmt::format("device {} ({}): kept for an ask that came first", state.device.index, state.device.uuid.text),
           to_text(need.memory), to_text(state.memory_free())});
      continue;
    }
    found.fitting.push_back({i, need});
  }
  return found;
}

// How many devices a changed ask fits on.
std::size_t fits_on(std::span<const DeviceState> states, const Ask& ask) {
  return static_cast<std::size_t>(
      std::ranges::count_if(states, [&](const DeviceState& s) { return !refusal_on(s, ask); }));
}

// The most of one amount that `count` devices have free, among those where only that amount is missing.
template <class Amount, class Loosen, class Free>
std::pair<Amount, const DeviceState*> best_free(std::span<const DeviceState> states, const Ask& ask, Loosen loosen,
                                                Free free) {
  Ask loose = ask;
  loosen(loose);
  std::vector<std::pair<Amount, const DeviceState*>> amounts;
  for (const DeviceState& state : states)
    if (!refusal_on(state, loose)) amounts.emplace_back(free(state), &state);
  if (amounts.size() < ask.count) return {Amount{}, nullptr};
  std::ranges::stable_sort(amounts, [](const auto& a, const auto& b) { return a.first > b.first; });
  return amounts[ask.count - 1];
}

std::string on_device(const Ask& ask, const DeviceState& state) {
  return ask.count == 1 ? fmt::format("device {}", state.device.index) : fmt::format("{} devices", ask.count);
}

std::string nearest_change(std::span<const DeviceState> states, const Ask& ask) {
  const bool whole = wants_whole_device(ask);
  if (!whole) {
    const auto [memory, memory_on] = best_free<Bytes>(
        states, ask,
        [](Ask& a) {
          a.memory = Bytes{1};
          a.memory_percent.reset();
        },
        [](const DeviceState& s) { return s.memory_free(); });
    if (memory_on != nullptr && memory > Bytes{}) {
      const Bytes asked = need_on(*memory_on, ask).memory;
      return fmt::format("{} less memory would fit on {}", to_text(asked - memory), on_device(ask, *memory_on));
    }
    const auto [cores, cores_on] = best_free<CorePercent>(
        states, ask, [](Ask& a) { a.cores.reset(); }, [](const DeviceState& s) { return s.cores_free(); });
    if (ask.cores && cores_on != nullptr)
      return cores == CorePercent{}
                 ? fmt::format("no compute limit of its own would fit on {}", on_device(ask, *cores_on))
                 : fmt::format("{} % of compute instead of {} % would fit on {}", cores.count, ask.cores->count,
                               on_device(ask, *cores_on));
  }
  Ask one = ask;
  one.count = 1;
  if (const std::size_t count = fits_on(states, one); ask.count > 1 && count > 0)
    return count == 1 ? "1 device instead of " + std::to_string(ask.count) + " would fit"
                      : fmt::format("{} devices instead of {} would fit", count, ask.count);
  Ask anywhere = ask;
  anywhere.type.clear();
  anywhere.devices.clear();
  if (anywhere != ask && fits_on(states, anywhere) >= ask.count) return "it would fit without naming a type or devices";
  if (whole) {
    Ask share = ask;
    share.exclusive = false;
    share.memory_percent.reset();
    share.cores.reset();
    if (fits_on(states, share) >= ask.count)
      return fmt::format("a share of {} % of the memory would fit", kDefaultMemoryPercent);
  }
  return {};
}

Refusal refusal_of(std::span<const DeviceState> states, const Ask& ask, Candidates found) {
  Refusal refusal;
  refusal.devices = std::move(found.refused);
  refusal.fits_when_free = could_ever_fit(states, ask);
  if (states.empty()) {
    refusal.code = RefusalCode::NoDevices;
    refusal.sentence = "this host has no device";
    return refusal;
  }
  const std::string fits_now = fmt::format("asked for {} devices, {} fit now", ask.count, found.fitting.size());
  if (found.nearest_miss == nullptr && found.held_back == 0) {
    refusal.code = RefusalCode::Count;
    refusal.sentence = fmt::format("asked for {} devices, there are {}", ask.count, states.size());
  } else if (found.held_back > 0) {
    refusal.code = RefusalCode::Busy;
    refusal.sentence = "it would fit, but the room is kept for an ask that came first";
  } else {
    const DeviceRefusal nearest = *refusal_on(*found.nearest_miss, ask);
    refusal.code = found.fitting.empty() ? nearest.code : RefusalCode::Count;
    refusal.sentence = ask.count == 1 ? nearest.sentence : fits_now + "; " + nearest.sentence;
  }
  refusal.nearest = nearest_change(states, ask);
  return refusal;
}

}  // namespace

tl::expected<Placement, Refusal> place(std::span<const DeviceState> states, const Ask& ask, const MayUse& may_use) {
  Candidates found = candidates(states, ask, may_use);
  if (found.fitting.size() < ask.count || ask.count == 0)
    return tl::unexpected<Refusal>(refusal_of(states, ask, std::move(found)));
  std::ranges::stable_sort(found.fitting, [&](const PlacedDevice& a, const PlacedDevice& b) {
    return fuller(states[a.position], states[b.position]);
  });
  found.fitting.resize(ask.count);
  return Placement{std::move(found.fitting), wants_whole_device(ask), uses_default_share(ask)};
}

bool could_ever_fit(std::span<const DeviceState> states, const Ask& ask) {
  return static_cast<std::size_t>(std::ranges::count_if(
             states, [&](const DeviceState& s) { return !refusal_on(emptied(s), ask); })) >= std::max(ask.count, 1U);
}

void take(DeviceState& state, const Need& need) {
  state.memory_granted += need.memory;
  state.cores_granted += need.cores;
  state.exclusive = state.exclusive || need.whole;
  ++state.grants;
}

void take_all(std::span<DeviceState> states, const Placement& placement) {
  for (const PlacedDevice& placed : placement.devices) take(states[placed.position], placed.need);
}

std::optional<DeviceRefusal> resize_refusal(DeviceState state, const Need& held, const Need& wanted) {
  state.memory_granted = state.memory_granted - held.memory;
  state.cores_granted = state.cores_granted - held.cores;
  state.grants -= std::min(state.grants, 1U);
  Ask ask;
  ask.memory = wanted.memory;
  if (wanted.cores > CorePercent{}) ask.cores = wanted.cores;
  // A device in trouble still lets its grants shrink.
  state.device.healthy = state.device.healthy || wanted.memory <= held.memory;
  return refusal_on(state, ask);
}

}  // namespace kiboko
