#include "vendors/neuron.h"

#include <bit>

namespace kiboko::vendors {

Result<NeuronShare> neuron_share(std::uint64_t cores, unsigned per_device) {
  if (cores == 0 || per_device == 0) return fail(Errc::Invalid, "there are no cores to share");
  if (cores <= per_device) return NeuronShare{1, static_cast<std::uint32_t>(cores)};
  if (cores % per_device != 0 || cores / per_device > 0x7FFF'FFFF)
    return fail(Errc::Invalid, "{} cores are no multiple of the {} of a device: ask for {} or {}", cores, per_device,
                cores / per_device * per_device, (cores / per_device + 1) * per_device);
  return NeuronShare{static_cast<std::uint32_t>(cores / per_device), per_device};
}

std::optional<std::uint64_t> neuron_mask(std::uint64_t all, std::uint64_t used, unsigned wanted) {
  std::uint64_t mask = 0;
  for (std::uint64_t free = all & ~used; free != 0 && static_cast<unsigned>(std::popcount(mask)) < wanted;
       free &= free - 1)
    mask |= free & (~free + 1);
  if (wanted == 0 || static_cast<unsigned>(std::popcount(mask)) < wanted) return std::nullopt;
  return mask;
}

}  // namespace kiboko::vendors
