#include "sched/fit.h"

#include <algorithm>

#include "base/text.h"

namespace kiboko {
namespace {

struct Rule {
  RefusalCode code;
  bool (*allows)(const DeviceState&, const Ask&, const Need&);
  // Fills what was asked and what is free, and returns the sentence's second half.
  std::string (*explain)(const DeviceState&, const Ask&, const Need&, DeviceRefusal&);
};

bool names_device(const Ask& ask, const Device& device) {
  return std::ranges::any_of(ask.devices, [&](const std::string& wanted) {
    return wanted == device.uuid.text || wanted == std::to_string(device.index);
  });
}

std::string percent(CorePercent cores) { return fmt::format("{} %", cores.count); }

// Two amounts that differ must not read the same.
std::string amounts(Bytes asked, Bytes free, DeviceRefusal& refusal) {
  refusal.asked = to_text(asked);
  refusal.free = to_text(free);
  if (refusal.asked == refusal.free) {
    refusal.asked = fmt::format("{} B", asked.count);
    refusal.free = fmt::format("{} B", free.count);
  }
  return fmt::format("asked {}, {} free", refusal.asked, refusal.free);
}

// Static rules first: what waiting cannot change. The order decides which sentence a user reads.
constexpr Rule kRules[] = {
    {RefusalCode::Device,
     [](const DeviceState& s, const Ask& a, const Need&) { return a.devices.empty() || names_device(a, s.device); },
     [](const DeviceState&, const Ask& a, const Need&, DeviceRefusal& r) {
       r.asked = join(a.devices, ", ");
       return fmt::format("not one of the devices asked for ({})", r.asked);
     }},
    {RefusalCode::Type,
     [](const DeviceState& s, const Ask& a, const Need&) {
       return a.type.empty() || to_lower(s.device.model).find(to_lower(a.type)) != std::string::npos;
     },
     [](const DeviceState& s, const Ask& a, const Need&, DeviceRefusal& r) {
       r.asked = a.type;
       r.free = s.device.model;
       return fmt::format("is a {}, asked for type {}", s.device.model, a.type);
     }},
    {RefusalCode::Unhealthy, [](const DeviceState& s, const Ask&, const Need&) { return s.device.healthy; },
     [](const DeviceState& s, const Ask&, const Need&, DeviceRefusal&) {
       return fmt::format("is unhealthy: {}", s.device.trouble);
     }},
    {RefusalCode::Exclusive, [](const DeviceState& s, const Ask&, const Need&) { return !s.exclusive; },
     [](const DeviceState&, const Ask&, const Need&, DeviceRefusal& r) {
       r.free = "0 %";
       return std::string("is granted whole to somebody");
     }},
    {RefusalCode::Exclusive, [](const DeviceState& s, const Ask&, const Need& n) { return !n.whole || s.grants == 0; },
     [](const DeviceState& s, const Ask&, const Need&, DeviceRefusal& r) {
       r.asked = "the whole device";
       r.free = percent(s.cores_free());
       return fmt::format("asked whole, {} already share{} it",
                          s.grants == 1 ? "one grant" : fmt::format("{} grants", s.grants), s.grants == 1 ? "s" : "");
     }},
    {RefusalCode::Slots, [](const DeviceState& s, const Ask&, const Need&) { return s.grants < s.slots; },
     [](const DeviceState& s, const Ask&, const Need&, DeviceRefusal& r) {
       r.asked = "1";
       r.free = "0";
       return fmt::format("has {} grants, the most it may have", s.grants);
     }},
    {RefusalCode::Memory, [](const DeviceState& s, const Ask&, const Need& n) { return n.memory <= s.memory_free(); },
     [](const DeviceState& s, const Ask&, const Need& n, DeviceRefusal& r) {
       return amounts(n.memory, s.memory_free(), r);
     }},
    {RefusalCode::Cores, [](const DeviceState& s, const Ask&, const Need& n) { return n.cores <= s.cores_free(); },
     [](const DeviceState& s, const Ask&, const Need& n, DeviceRefusal& r) {
       r.asked = percent(n.cores);
       r.free = percent(s.cores_free());
       return fmt::format("asked {} of its compute, {} free", r.asked, r.free);
     }},
};

}  // namespace

bool uses_default_share(const Ask& ask) { return !ask.exclusive && !ask.memory && !ask.memory_percent; }

Need need_on(const DeviceState& state, const Ask& ask) {
  if (wants_whole_device(ask)) return {state.memory_grantable(), kAllCores, true};
  const Bytes memory =
      ask.memory ? *ask.memory : part_of(state.device.total, ask.memory_percent.value_or(kDefaultMemoryPercent));
  return {memory, ask.cores.value_or(CorePercent{0}), false};
}

std::optional<DeviceRefusal> refusal_on(const DeviceState& state, const Ask& ask) {
  const Need need = need_on(state, ask);
  for (const Rule& rule : kRules) {
    if (rule.allows(state, ask, need)) continue;
    DeviceRefusal refusal{state.device.uuid, state.device.index, rule.code, {}, {}, {}};
    const std::string reason = rule.explain(state, ask, need, refusal);
    refusal.sentence = fmt::format("device {} ({}): {}", state.device.index, state.device.uuid.text, reason);
    return refusal;
  }
  return std::nullopt;
}

unsigned rules_passed(const DeviceState& state, const Ask& ask) {
  const Need need = need_on(state, ask);
  unsigned passed = 0;
  for (const Rule& rule : kRules) {
    if (!rule.allows(state, ask, need)) break;
    ++passed;
  }
  return passed;
}

DeviceState emptied(const DeviceState& state) {
  DeviceState empty{state.device, state.reserve, state.slots, {}, {}, 0, false};
  empty.device.healthy = true;
  return empty;
}

Shortage shortage_on(const DeviceState& state, const Ask& ask) {
  const Need need = need_on(state, ask);
  unsigned in_the_way = 0;
  if (need.whole) in_the_way = state.grants;
  if (state.exclusive) in_the_way = 1;
  if (state.grants >= state.slots) in_the_way = std::max(in_the_way, state.grants - state.slots + 1);
  return {need.memory - state.memory_free(), need.cores - state.cores_free(), in_the_way};
}

}  // namespace kiboko
