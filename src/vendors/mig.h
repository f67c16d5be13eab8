// MIG: which instance of a GPU an ask gets, and where it is put.
//
// Pure functions. Placements are half-open intervals of memory slices; live ones are never overlapped.
#pragma once

#include <optional>
#include <span>

#include "model/cluster_device.h"

namespace kiboko::vendors {

struct MigChoice {
  const MigProfile* profile = nullptr;  // of the span that was given
  MigPlacement placement;
};

// The smallest profile with that memory and compute that has a free place; `whole`: the largest profile. Small odd
// profiles (1g, 3g) are put as high as possible, so that the others find room below.
std::optional<MigChoice> mig_choice(std::span<const MigProfile> profiles, std::span<const MigPlacement> live,
                                    MiB memory, CoreUnits cores, bool whole);

bool overlap(const MigPlacement& a, const MigPlacement& b);

}  // namespace kiboko::vendors
