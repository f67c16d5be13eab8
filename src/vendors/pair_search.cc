#include "vendors/pair_search.h"

#include <algorithm>
#include <numeric>

namespace kiboko::vendors {
namespace {

constexpr std::size_t kMostSteps = 100'000;

class Search {
 public:
  Search(std::span<const DeviceUuid> gpus, const PairScores& scores, std::size_t wanted)
      : count_(gpus.size()), wanted_(wanted), score_(count_ * count_, 0) {
    for (std::size_t a = 0; a < count_; ++a)
      for (std::size_t b = 0; b < count_; ++b) {
        if (a == b) continue;
        score_[a * count_ + b] = score_of(scores, gpus[a], gpus[b]);
        largest_ = std::max(largest_, at(a, b));
      }
  }

  std::vector<std::size_t> least_linked() const {
    std::size_t best = 0;
    for (std::size_t a = 1; a < count_; ++a)
      if (sum_of(a) < sum_of(best)) best = a;
    return {best};
  }

  std::vector<std::size_t> run() {
    std::vector<std::int64_t> gains(count_, 0);
    extend(0, 0, gains);
    return best_;
  }

 private:
  std::int64_t at(std::size_t a, std::size_t b) const { return score_[a * count_ + b]; }
  std::int64_t sum_of(std::size_t a) const {
    std::int64_t sum = 0;
    for (std::size_t b = 0; b < count_; ++b) sum += at(a, b);
    return sum;
  }

  // No choice of what is left from `next` on can be worth more: its best gains with what is chosen, and each pair of
  // the new ones as good as the best pair there is.
  std::int64_t bound(std::size_t next, std::int64_t sum, const std::vector<std::int64_t>& gains) const {
    const std::size_t missing = wanted_ - chosen_.size();
    std::vector<std::int64_t> rest(gains.begin() + static_cast<std::ptrdiff_t>(next), gains.end());
    std::ranges::partial_sort(rest, rest.begin() + static_cast<std::ptrdiff_t>(missing), std::greater{});
    const auto pairs = static_cast<std::int64_t>(missing * (missing - 1) / 2);
    return std::accumulate(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(missing), sum) + pairs * largest_;
  }

  void extend(std::size_t next, std::int64_t sum, const std::vector<std::int64_t>& gains) {
    ++steps_;
    if (chosen_.size() == wanted_) {
      if (best_.empty() || sum > best_sum_) {
        best_ = chosen_;
        best_sum_ = sum;
      }
      return;
    }
    for (std::size_t i = next; i + (wanted_ - chosen_.size()) <= count_; ++i) {
      if (!best_.empty() && (steps_ > kMostSteps || bound(i, sum, gains) <= best_sum_)) return;
      std::vector<std::int64_t> with = gains;
      for (std::size_t other = i + 1; other < count_; ++other) with[other] += at(i, other);
      chosen_.push_back(i);
      extend(i + 1, sum + gains[i], with);
      chosen_.pop_back();
    }
  }

  std::size_t count_, wanted_;
  std::vector<std::int64_t> score_;
  std::int64_t largest_ = 0, best_sum_ = 0;
  std::vector<std::size_t> chosen_, best_;
  std::size_t steps_ = 0;
};

}  // namespace

std::vector<std::size_t> best_linked(std::span<const DeviceUuid> gpus, const PairScores& scores, std::size_t wanted) {
  Search search(gpus, scores, wanted);
  if (wanted < gpus.size() && wanted == 1) return search.least_linked();
  return search.run();
}

}  // namespace kiboko::vendors
