// Picks devices for an ask among those that fit, or says why it cannot.
//
// Pure. The policy is binpack: the fullest device that still fits, so that large asks find room on the others; ties go
// to the lower index.
#pragma once

#include <functional>
#include <span>
#include <tl/expected.hpp>
#include <vector>

#include "sched/fit.h"

namespace kiboko {

struct PlacedDevice {
  std::size_t position = 0;  // in the span of states
  Need need;
};

struct Placement {
  std::vector<PlacedDevice> devices;
  bool exclusive = false;
  bool default_applied = false;
};

// May this need be put on states[position]? The queue keeps room for whoever is next with it.
using MayUse = std::function<bool(std::size_t position, const Need& need)>;

tl::expected<Placement, Refusal> place(std::span<const DeviceState> states, const Ask& ask,
                                       const MayUse& may_use = nullptr);

// Would it fit if nothing else were granted?
bool could_ever_fit(std::span<const DeviceState> states, const Ask& ask);

// Takes the need off what is free on the device; `take_all` for every device of a placement.
void take(DeviceState& state, const Need& need);
void take_all(std::span<DeviceState> states, const Placement& placement);

// Checks a resize of a grant that holds `held` on the device: nothing, or why not.
std::optional<DeviceRefusal> resize_refusal(DeviceState state, const Need& held, const Need& wanted);

}  // namespace kiboko
