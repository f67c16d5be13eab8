#include "vendors/mig.h"

#include <algorithm>
#include <tuple>
#include <vector>

namespace kiboko::vendors {
namespace {

std::optional<MigPlacement> free_place(const MigProfile& profile, std::span<const MigPlacement> live) {
  std::vector<MigPlacement> places = profile.placements;
  std::ranges::sort(places);
  if (profile.name.starts_with("1g.") || profile.name.starts_with("3g.")) std::ranges::reverse(places);
  for (const MigPlacement& place : places)
    if (place.size > 0 && std::ranges::none_of(live, [&](const MigPlacement& other) { return overlap(place, other); }))
      return place;
  return std::nullopt;
}

}  // namespace

bool overlap(const MigPlacement& a, const MigPlacement& b) {
  const std::uint64_t a_end = std::uint64_t{a.start} + a.size, b_end = std::uint64_t{b.start} + b.size;
  return a.start < b_end && b.start < a_end;
}

std::optional<MigChoice> mig_choice(std::span<const MigProfile> profiles, std::span<const MigPlacement> live,
                                    MiB memory, CoreUnits cores, bool whole) {
  std::vector<const MigProfile*> order;
  for (const MigProfile& profile : profiles) order.push_back(&profile);
  std::ranges::stable_sort(order, {}, [](const MigProfile* p) { return std::tuple(p->memory, p->slices); });
  if (order.empty()) return std::nullopt;
  CoreUnits most_cores;
  for (const MigProfile* profile : order) most_cores = std::max(most_cores, profile->cores);
  for (const MigProfile* profile : order) {
    const bool large_enough = whole ? profile->memory == order.back()->memory
                                    : profile->memory >= memory && profile->cores >= std::min(cores, most_cores);
    if (!large_enough) continue;
    if (const auto place = free_place(*profile, live)) return MigChoice{profile, *place};
  }
  return std::nullopt;
}

}  // namespace kiboko::vendors
