// One-line values for the tests of this folder and of the host.
#pragma once

#include "sched/fit.h"

namespace kiboko::testing_values {

inline DeviceState gpu(unsigned index, Bytes total = 80_GiB, std::string model = "NVIDIA H100 80GB HBM3") {
  DeviceState state;
  state.device.uuid = {fmt::format("GPU-{}", index)};
  state.device.index = index;
  state.device.model = std::move(model);
  state.device.total = total;
  return state;
}

inline DeviceState holding(DeviceState state, Bytes memory, std::uint32_t cores = 0, unsigned grants = 1) {
  state.memory_granted = memory;
  state.cores_granted = CorePercent{cores};
  state.grants = grants;
  return state;
}

inline DeviceState held_whole(DeviceState state) {
  state = holding(state, state.device.total, 100);
  state.exclusive = true;
  return state;
}

inline Ask asking(Bytes memory, std::optional<std::uint32_t> cores = {}, unsigned count = 1) {
  Ask ask;
  ask.count = count;
  ask.memory = memory;
  if (cores) ask.cores = CorePercent{*cores};
  return ask;
}

inline Ask asking_whole(unsigned count = 1) {
  Ask ask;
  ask.count = count;
  ask.exclusive = true;
  return ask;
}

}  // namespace kiboko::testing_values
