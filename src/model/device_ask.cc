#include "model/device_ask.h"

#include <algorithm>

namespace kiboko {
namespace {

std::int64_t part(std::int64_t total, std::int64_t percent) {
  return total / 100 * percent + total % 100 * percent / 100;
}

}  // namespace

MiB memory_on(const DeviceAsk& ask, MiB total) {
  switch (ask.memory.kind) {
    case MemoryAsk::Kind::Amount:
      return MiB{ask.memory.value};
    case MemoryAsk::Kind::Percent:
      return MiB{part(total.count, std::clamp<std::int64_t>(ask.memory.value, 0, 100))};
    case MemoryAsk::Kind::Whole:
    case MemoryAsk::Kind::Slices:
    case MemoryAsk::Kind::Spec:
      return total;
  }
  return total;
}

CoreUnits cores_on(const DeviceAsk& ask, CoreUnits total) {
  switch (ask.cores.kind) {
    case CoresAsk::Kind::PercentOfDevice:
      return CoreUnits{std::clamp<std::int64_t>(part(total.count, std::clamp<std::int64_t>(ask.cores.value, 0, 100)), 1,
                                                std::max<std::int64_t>(total.count, 1))};
    case CoresAsk::Kind::All:
      return total;
    case CoresAsk::Kind::Units:
    case CoresAsk::Kind::Divided:
      return CoreUnits{ask.cores.value};
  }
  return total;
}

}  // namespace kiboko
