// AWS Neuron's cores: a device counts them as a mask, and a container has some of its bits.
//
// Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace kiboko::vendors {

struct NeuronShare {
  std::uint32_t devices = 0, cores = 0;  // cores of each
  bool operator==(const NeuronShare&) const = default;
};
// So many cores in all, on devices of `per_device` cores: part of one device, or several whole ones.
Result<NeuronShare> neuron_share(std::uint64_t cores, unsigned per_device);

// The lowest `wanted` free bits of the device, or nothing when fewer are free. Usage is the union of masks, never a
// sum.
std::optional<std::uint64_t> neuron_mask(std::uint64_t all, std::uint64_t used, unsigned wanted);

}  // namespace kiboko::vendors
