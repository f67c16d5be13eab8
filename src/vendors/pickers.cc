#include "vendors/pickers.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/text.h"
#include "vendors/kunlun.h"
#include "vendors/pair_search.h"

namespace kiboko::vendors {
namespace {

using Positions = std::vector<std::size_t>;

Positions first_of(std::size_t count) {
  Positions positions(count);
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  return positions;
}

Picked first_fit(const PickInput& input) { return first_of(input.wanted); }

std::optional<std::int64_t> group_of(const CustomInfo* custom, std::string_view key) {
  return custom == nullptr || key.empty() ? std::nullopt : custom_number(*custom, key);
}

bool grouping_applies(const PickInput& input) {
  const Selection& selection = input.selection;
  if (selection.group.empty()) return false;
  if (!selection.group_when_key.empty()) {
    const CustomInfo* custom = input.candidates.front().custom;
    if (custom == nullptr || custom_text(*custom, selection.group_when_key) != selection.group_when_value) return false;
  }
  return std::ranges::all_of(input.candidates,
                             [&](const Candidate& c) { return group_of(c.custom, selection.group).has_value(); });
}

std::map<std::int64_t, Positions> by_group(const PickInput& input) {
  std::map<std::int64_t, Positions> groups;
  for (std::size_t i = 0; i < input.candidates.size(); ++i)
    groups[group_of(input.candidates[i].custom, input.selection.group).value_or(0)].push_back(i);
  return groups;
}

// Takes whole lists one after another until there are enough.
Positions fill_from(const std::vector<Positions>& lists, std::size_t wanted) {
  Positions taken;
  for (const Positions& list : lists)
    for (const std::size_t position : list)
      if (taken.size() < wanted) taken.push_back(position);
  return taken;
}

// The largest group first, so that as few as possible are crossed.
Picked group_pack(const PickInput& input) {
  if (input.wanted == 1 || !grouping_applies(input)) return first_fit(input);
  std::vector<Positions> lists;
  for (auto& [group, positions] : by_group(input)) lists.push_back(std::move(positions));
  std::ranges::stable_sort(lists, std::greater{}, &Positions::size);
  return fill_from(lists, input.wanted);
}

// Whole pairs of neighbours alone: 0 and 1, 2 and 3, …
Picked pair_pack(const PickInput& input) {
  std::map<unsigned, Positions> halves;
  for (std::size_t i = 0; i < input.candidates.size(); ++i)
    if (input.candidates[i].idle) halves[input.candidates[i].index / 2].push_back(i);
  std::vector<Positions> pairs;
  for (auto& [pair, positions] : halves)
    if (positions.size() == 2) pairs.push_back(std::move(positions));
  std::ranges::stable_sort(pairs, {}, [](const Positions& pair) { return std::ranges::min(pair); });
  const Positions taken = fill_from(pairs, input.wanted);
  if (taken.size() != input.wanted || input.wanted % 2 != 0) return std::nullopt;
  return taken;
}

// Several devices are a run of idle neighbours: anywhere on nodes of the wide kind, else of certain sizes at multiples
// of their size.
Picked aligned_run(const PickInput& input) {
  if (input.wanted == 1) return first_fit(input);
  std::map<unsigned, std::size_t> idle;
  bool wide = false;
  for (std::size_t i = 0; i < input.candidates.size(); ++i) {
    const Candidate& candidate = input.candidates[i];
    if (candidate.idle) idle.emplace(candidate.index, i);
    if (candidate.custom == nullptr || input.selection.wide_label.empty()) continue;
    const auto label = custom_text(*candidate.custom, input.selection.wide_label);
    wide = wide || (label && to_lower(*label).find(to_lower(input.selection.wide_word)) != std::string::npos);
  }
  const auto& sizes = input.selection.run_sizes;
  if (!wide && std::ranges::find(sizes, static_cast<std::int64_t>(input.wanted)) == sizes.end()) return std::nullopt;
  for (const auto& [start, position] : idle) {
    if (!wide && start % input.wanted != 0) continue;
    Positions run;
    for (auto at = idle.find(start);
         at != idle.end() && run.size() < input.wanted && at->first == start + static_cast<unsigned>(run.size()); ++at)
      run.push_back(at->second);
    if (run.size() == input.wanted) return run;
  }
  return std::nullopt;
}

// Where online work is: fewest online first, then fewest offline; devices with offline work alone come last.
Positions least_disturbed(const PickInput& input) {
  Positions order = first_of(input.candidates.size());
  std::ranges::stable_sort(order, {}, [&](std::size_t position) {
    const Candidate& c = input.candidates[position];
    return std::tuple(c.online == 0 && c.offline > 0, c.online, c.offline);
  });
  order.resize(input.wanted);
  return order;
}

// Whole devices from the smallest link zone that holds them all, else across zones, the smaller first. Zone 0 is none.
Picked link_zone(const PickInput& input) {
  if (input.online) return least_disturbed(input);
  if (!input.exclusive) return first_fit(input);
  std::vector<Positions> zones;
  Positions unzoned;
  for (auto& [zone, positions] : by_group(input)) {
    if (zone > 0)
      zones.push_back(std::move(positions));
    else
      unzoned.insert(unzoned.end(), positions.begin(), positions.end());
  }
  std::ranges::stable_sort(zones, {}, &Positions::size);
  for (const Positions& zone : zones)
    if (zone.size() >= input.wanted) return fill_from({zone}, input.wanted);
  zones.push_back(unzoned);
  return fill_from(zones, input.wanted);
}

Picked kunlun_wings(const PickInput& input) {
  std::map<unsigned, std::size_t> position_of;
  std::vector<unsigned> free;
  for (std::size_t i = 0; i < input.candidates.size(); ++i) {
    // Of cards that share an index (their plugin tells none) one is counted: nobody knows which wing the others are in.
    if (position_of.emplace(input.candidates[i].index, i).second) free.push_back(input.candidates[i].index);
  }
  const auto cards = kunlun_cards(free, input.wanted);
  if (!cards) return std::nullopt;
  Positions positions;
  for (const unsigned card : *cards) positions.push_back(position_of.at(card));
  return positions;
}

Picked pair_matrix(const PickInput& input) {
  if (input.pair_scores == nullptr) return first_fit(input);
  std::vector<DeviceUuid> uuids;
  for (const Candidate& candidate : input.candidates) uuids.push_back(candidate.uuid);
  return best_linked(uuids, *input.pair_scores, input.wanted);
}

struct Strategy {
  std::string_view name;
  Picked (*pick)(const PickInput&);
};
constexpr Strategy kStrategies[] = {
    {"firstFit", first_fit}, {"groupPack", group_pack},   {"pairPack", pair_pack},       {"alignedRun", aligned_run},
    {"linkZone", link_zone}, {"pairMatrix", pair_matrix}, {"kunlun.wings", kunlun_wings}};

}  // namespace

std::vector<std::string_view> strategies() {
  std::vector<std::string_view> names;
  for (const Strategy& strategy : kStrategies) names.push_back(strategy.name);
  return names;
}

bool is_strategy(std::string_view name) {
  return std::ranges::find(kStrategies, name, &Strategy::name) != std::end(kStrategies);
}

Picked pick(std::string_view strategy, const PickInput& input) {
  if (input.wanted == 0) return Positions{};
  if (input.candidates.size() < input.wanted) return std::nullopt;
  const auto found = std::ranges::find(kStrategies, strategy, &Strategy::name);
  return found == std::end(kStrategies) ? std::nullopt : found->pick(input);
}

std::optional<double> concentration(std::span<const CustomInfo* const> chosen, std::string_view group) {
  std::map<std::int64_t, std::size_t> sizes;
  for (const CustomInfo* custom : chosen) {
    const auto id = group_of(custom, group);
    if (!id) return std::nullopt;
    ++sizes[*id];
  }
  std::size_t largest = 0;
  for (const auto& [id, size] : sizes) largest = std::max(largest, size);
  if (chosen.empty()) return std::nullopt;
  return static_cast<double>(largest) / static_cast<double>(chosen.size());
}

}  // namespace kiboko::vendors
