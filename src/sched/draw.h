// Random numbers for simulations: the same seed gives the same draws on every machine and with every standard library.
//
// Pure functions of a std::mt19937_64, which is defined to the bit; the library's distributions are not.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace kiboko {

// Below `bound`, each equally likely: the high half of a 128-bit product, drawn again in the few cases that would
// make the low numbers likelier.
inline std::uint64_t below(std::mt19937_64& generator, std::uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  const std::uint64_t unfair = (0 - bound) % bound;
  for (;;) {
    const Wide product = static_cast<Wide>(generator()) * bound;
    if (static_cast<std::uint64_t>(product) >= unfair) return static_cast<std::uint64_t>(product >> 64U);
  }
}

template <class T>
void shuffle(std::vector<T>& all, std::mt19937_64& generator) {
  for (std::size_t left = all.size(); left > 1; --left) std::swap(all[left - 1], all[below(generator, left)]);
}

}  // namespace kiboko
