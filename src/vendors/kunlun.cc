#include "vendors/kunlun.h"

#include <algorithm>
#include <array>
#include <map>

namespace kiboko::vendors {
namespace {

constexpr unsigned kBoard = 8, kWing = 4;
using Cards = std::vector<unsigned>;
using Quad = std::array<unsigned, 4>;

// Four cards across the wings that are linked in a ring, the best first.
constexpr Quad kQuads[] = {{0, 1, 4, 5}, {2, 3, 6, 7}, {0, 2, 4, 6}, {1, 3, 5, 7}, {0, 3, 4, 7}, {1, 2, 5, 6}};

bool has(const Cards& cards, unsigned card) { return std::ranges::find(cards, card) != cards.end(); }

bool linked(unsigned a, unsigned b) { return a / kWing == b / kWing || a % kWing == b % kWing; }

// Which number of free cards in a wing is best for this many: an exact fit, then what leaves a pair, then the rest.
std::vector<std::size_t> preferred_room(std::size_t wanted) {
  if (wanted == 1) return {1, 3, 2, 4};
  if (wanted == 2) return {2, 3, 4};
  return {4};
}

std::optional<Cards> within_a_wing(const Cards& free, std::size_t wanted) {
  std::array<Cards, 2> wings;
  for (const unsigned card : free) wings[card / kWing].push_back(card);
  for (const std::size_t room : preferred_room(wanted))
    for (const Cards& wing : wings)
      if (wing.size() == room) return Cards(wing.begin(), wing.begin() + static_cast<std::ptrdiff_t>(wanted));
  return std::nullopt;
}

std::optional<Cards> pair_across(const Cards& free) {
  for (unsigned card = 0; card < kWing; ++card)
    if (has(free, card) && has(free, card + kWing)) return Cards{card, card + kWing};
  return std::nullopt;
}

std::optional<Cards> quad_across(const Cards& free) {
  std::optional<Cards> found;
  for (const Quad& quad : kQuads) {
    if (!std::ranges::all_of(quad, [&](unsigned card) { return has(free, card); })) continue;
    Cards rest;
    std::ranges::copy_if(free, std::back_inserter(rest),
                         [&](unsigned card) { return std::ranges::find(quad, card) == quad.end(); });
    if (!found) found = Cards(quad.begin(), quad.end());
    if (rest.size() != 2 || linked(rest[0], rest[1])) return Cards(quad.begin(), quad.end());
  }
  return found;
}

std::optional<Cards> on_board(const Cards& free, std::size_t wanted) {
  if (wanted == kBoard) return free.size() == kBoard ? std::optional(free) : std::nullopt;
  if (auto cards = within_a_wing(free, wanted)) return cards;
  if (wanted == 2) return pair_across(free);
  if (wanted == 4) return quad_across(free);
  return std::nullopt;
}

// Of a wing with so many used cards, how many bubbles it has.
int bubbles_of(unsigned used) {
  constexpr int kBubbles[] = {1, 2, 1, 1, 0};
  return kBubbles[std::min(used, kWing)];
}

int bubbles(std::span<const unsigned> used) {
  std::map<unsigned, unsigned> wings;
  for (const unsigned card : used) {
    ++wings[card / kWing];
    wings.try_emplace((card / kWing) ^ 1U, 0U);
  }
  if (wings.empty()) return 1;
  int sum = 0;
  for (const auto& [wing, count] : wings) sum += bubbles_of(count);
  return sum;
}

}  // namespace

std::optional<std::vector<unsigned>> kunlun_cards(std::span<const unsigned> free, std::size_t wanted) {
  if (wanted != 1 && wanted != 2 && wanted != 4 && wanted != 8) return std::nullopt;
  std::map<unsigned, Cards> boards;
  for (const unsigned card : free) boards[card / kBoard].push_back(card % kBoard);
  for (auto& [board, cards] : boards) {
    std::ranges::sort(cards);
    auto chosen = on_board(cards, wanted);
    if (!chosen) continue;
    for (unsigned& card : *chosen) card += board * kBoard;
    return chosen;
  }
  return std::nullopt;
}

int kunlun_score(std::span<const unsigned> used_before, std::span<const unsigned> used_after) {
  switch (bubbles(used_after) - bubbles(used_before)) {
    case -1:
      return 3000;
    case 0:
      return 2000;
    case 2:
      return 0;
    default:
      return 1000;
  }
}

}  // namespace kiboko::vendors
