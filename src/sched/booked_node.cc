#include "sched/booked_node.h"

#include <algorithm>
#include <limits>

namespace kiboko {
namespace {

template <class T>
T added(T a, T b) {
  T result{};
  return __builtin_add_overflow(a, b, &result) ? std::numeric_limits<T>::max() : result;
}

template <class Combine>
DeviceUse combined(const DeviceUse& a, const DeviceUse& b, bool mask, Combine combine) {
  DeviceUse both{combine(a.memory, b.memory),
                 mask ? a.cores | b.cores : combine(a.cores, b.cores),
                 combine(a.slots, b.slots),
                 combine(a.cpus, b.cpus),
                 combine(a.online, b.online),
                 combine(a.offline, b.offline),
                 {}};
  for (std::size_t i = 0; i < kMaxQosPolicies; ++i) both.qos[i] = combine(a.qos[i], b.qos[i]);
  return both;
}

}  // namespace

DeviceUse sum_of(const DeviceUse& a, const DeviceUse& b, bool mask) {
  return combined(a, b, mask, []<class T>(T left, T right) { return added(left, right); });
}

DeviceUse most_of(const DeviceUse& a, const DeviceUse& b, bool mask) {
  return combined(a, b, mask, []<class T>(T left, T right) { return std::max(left, right); });
}

}  // namespace kiboko
