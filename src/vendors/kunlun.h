// Kunlun's boards: eight cards in two wings of four, 0-3 and 4-7, and a link from each card to its opposite.
//
// Pure functions over card indexes.
#pragma once

#include <optional>
#include <span>
#include <vector>

namespace kiboko::vendors {

// One, two, four or eight of the free cards, or nothing. A wing that is left with the fewest odd cards is used first;
// across wings only cards that are linked.
std::optional<std::vector<unsigned>> kunlun_cards(std::span<const unsigned> free, std::size_t wanted);

// How good it is for the node to go from one set of used cards to the other: the fewer odd cards it leaves, the better.
int kunlun_score(std::span<const unsigned> used_before, std::span<const unsigned> used_after);

}  // namespace kiboko::vendors
