// The best linked of several GPUs, by branch and bound over the scores of pairs.
//
// Pure function.
#pragma once

#include <span>
#include <vector>

#include "model/pair_scores.h"

namespace kiboko::vendors {

// Positions of `wanted` of `gpus` (at least as many). One: the one that is linked least to the others, so that those
// stay together. Several: the largest sum of pair scores; the first such choice in order. A search that would take more
// than some 100,000 steps ends with the best found so far.
std::vector<std::size_t> best_linked(std::span<const DeviceUuid> gpus, const PairScores& scores, std::size_t wanted);

}  // namespace kiboko::vendors
