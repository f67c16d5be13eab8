// Which of the devices that passed every test a container gets: one function for each strategy that profiles may name.
//
// Pure functions over the survivors, which the caller has put in the order that the policy likes. They work by index
// and group, never by place in that order, and ties are broken by it: the same input gives the same choice.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/pair_scores.h"
#include "vendors/family.h"

namespace kiboko::vendors {

struct Candidate {
  unsigned index = 0;
  DeviceUuid uuid;
  const CustomInfo* custom = nullptr;
  bool idle = true;                  // nobody has a share of it
  unsigned online = 0, offline = 0;  // containers of an application class on it
};

struct PickInput {
  std::span<const Candidate> candidates;  // best first
  std::size_t wanted = 1;
  const Selection& selection;
  const PairScores* pair_scores = nullptr;
  bool exclusive = false;  // whole devices are asked for
  bool online = false;     // the pod's application class
};

// Positions in `candidates`, or nothing: no choice is allowed although there may be enough devices.
using Picked = std::optional<std::vector<std::size_t>>;
Picked pick(std::string_view strategy, const PickInput& input);

std::vector<std::string_view> strategies();
bool is_strategy(std::string_view name);

// How well a choice keeps to one group: the largest group's part of it. Nothing where a device has no group.
std::optional<double> concentration(std::span<const CustomInfo* const> chosen, std::string_view group);

}  // namespace kiboko::vendors
