// A set of nodes, 64 to a word: what a query of the cluster intersects, and how a caller names its candidates.
//
// Plain value, one thread. A set may be shorter or longer than the cluster: what it has no word for is not in it.
#pragma once

#include <bit>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <vector>

namespace kiboko {

using NodeIndex = std::uint32_t;
inline constexpr NodeIndex kNoNode = std::numeric_limits<NodeIndex>::max();

class NodeSet {
 public:
  NodeSet() = default;
  explicit NodeSet(std::span<const NodeIndex> nodes) {
    for (const NodeIndex node : nodes) add(node);
  }
  NodeSet(std::initializer_list<NodeIndex> nodes) : NodeSet(std::span{nodes.begin(), nodes.size()}) {}

  void add(NodeIndex node) {
    if (node / kBits >= words_.size()) words_.resize(node / kBits + 1, 0);
    words_[node / kBits] |= bit(node);
  }
  void remove(NodeIndex node) {
    if (node / kBits < words_.size()) words_[node / kBits] &= ~bit(node);
  }
  bool contains(NodeIndex node) const { return (word(node / kBits) & bit(node)) != 0; }
  void clear() { words_.assign(words_.size(), 0); }  // keeps its room
  std::size_t count() const {
    std::size_t nodes = 0;
    for (const std::uint64_t one : words_) nodes += static_cast<std::size_t>(std::popcount(one));
    return nodes;
  }

  std::size_t words() const { return words_.size(); }
  std::uint64_t word(std::size_t index) const { return index < words_.size() ? words_[index] : 0; }

  // Lowest first.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t index = 0; index < words_.size(); ++index) for_each_of_word(index, words_[index], visit);
  }
  template <class Visit>
  static void for_each_of_word(std::size_t index, std::uint64_t bits, Visit& visit) {
    for (; bits != 0; bits &= bits - 1)
      visit(static_cast<NodeIndex>(index * kBits + static_cast<std::size_t>(std::countr_zero(bits))));
  }

 private:
  static constexpr std::size_t kBits = 64;
  static std::uint64_t bit(NodeIndex node) { return std::uint64_t{1} << node % kBits; }

  std::vector<std::uint64_t> words_;
};

}  // namespace kiboko
