// The few best of many nodes, and the order among them.
//
// Plain value without an allocation. Of equal costs the lower index is the better one, in whatever order they came.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <tuple>

#include "sched/node_set.h"

namespace kiboko {

struct Ranked {
  NodeIndex node = kNoNode;
  double cost = 0;  // less is better; to be compared within one list only
  bool operator<(const Ranked& other) const { return std::tie(cost, node) < std::tie(other.cost, other.node); }
  bool operator==(const Ranked&) const = default;
};

template <std::size_t kSize>
class Best {
 public:
  static constexpr std::size_t kMost = kSize;

  void clear() { size_ = 0; }
  std::size_t size() const { return size_; }
  bool would_take(const Ranked& one) const { return size_ < kMost || one < all_[size_ - 1]; }
  void add(const Ranked& one) {
    if (!would_take(one)) return;
    if (size_ < kMost) ++size_;
    std::size_t at = size_ - 1;
    for (; at > 0 && one < all_[at - 1]; --at) all_[at] = all_[at - 1];
    all_[at] = one;
  }
  // With other costs.
  template <class CostOf>
  void judge_anew(CostOf cost_of) {
    for (Ranked& one : std::span{all_}.first(size_)) one.cost = cost_of(one.node);
    std::sort(all_.begin(), all_.begin() + static_cast<std::ptrdiff_t>(size_));
  }
  std::span<const Ranked> ranked() const { return std::span{all_}.first(size_); }

 private:
  std::array<Ranked, kMost> all_{};
  std::size_t size_ = 0;
};

// What a rank has, and with it a decision to choose from.
using Shortlist = Best<16>;

}  // namespace kiboko
