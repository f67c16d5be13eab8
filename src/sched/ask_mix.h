// What pods ask for and how often: the classes that the fragmentation-aware policies weigh a placement by.
//
// Plain value, one thread. Whoever owns it decides what counts: the scheduler the pods of the last day (ask_window.h),
// the simulator may know a whole trace beforehand.
#pragma once

#include <map>
#include <vector>

#include "sched/cluster.h"

namespace kiboko {

struct AskClass {
  PodAsk ask;
  double weight = 0;  // part of all asks in the list it came in; those of one list sum to 1
};

// Some order, for maps.
struct AskLess {
  bool operator()(const PodAsk& a, const PodAsk& b) const;
};

// From this many asks on a mix says something about what comes next. Before, there is only packing.
inline constexpr std::uint64_t kMixKnownFrom = 50;

class AskMix {
 public:
  void add(const PodAsk& ask, std::uint64_t times = 1);
  void remove(const PodAsk& ask, std::uint64_t times = 1);  // no more than were added are taken away
  std::uint64_t asks() const { return asks_; }
  bool known() const { return asks_ >= kMixKnownFrom; }
  // The part of the one mix that would have to be other asks to make it the other: of the asks or of the compute that
  // they ask for, whichever is more. From 0, the same, to 1.
  double unlike(const AskMix& other) const;

  // The classes of asks for devices, those that ask for most compute in sum first, at most `most` of them.
  std::vector<AskClass> device_classes(std::size_t most) const;
  // The most frequent classes, asks without a device included and host memory not told apart, until they are `part`
  // of all asks: the typical pods of "Beware of Fragmentation" (USENIX ATC'23).
  std::vector<AskClass> typical_classes(double part) const;

 private:
  template <class Amount>
  double unlike_by(const AskMix& other, Amount amount) const;

  std::map<PodAsk, std::uint64_t, AskLess> counts_;
  std::uint64_t asks_ = 0;
};

}  // namespace kiboko
