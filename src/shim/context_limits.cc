// What a context keeps for its limits: a stack for each thread that the device can hold at once, the heap of the
// device's malloc and the buffer of its printf. Raising one takes memory at once or at the next launch, as the driver
// likes: what it takes at once is measured, and where nothing is seen the whole of it is charged.
#include "shim/charge.h"
#include "shim/context.h"

using namespace kiboko::shim;
using kiboko::region::ChargeKind;

namespace {

constexpr int kStack = 0, kLimits = 3;  // stack, printf, heap; those beyond take nothing to speak of
constexpr int kAttributeMultiprocessors = 16, kAttributeThreadsPerMultiprocessor = 39;

std::uint64_t attribute(int which, CUdevice ordinal) {
  int value = 0;
  if (real.cuDeviceGetAttribute == nullptr || real.cuDeviceGetAttribute(&value, which, ordinal) != CUDA_SUCCESS)
    return 0;
  return value > 0 ? static_cast<std::uint64_t>(value) : 0;
}

std::uint64_t memory_of(int limit, std::size_t more, CUdevice ordinal) {
  const std::uint64_t each = limit == kStack ? attribute(kAttributeMultiprocessors, ordinal) *
                                                   attribute(kAttributeThreadsPerMultiprocessor, ordinal)
                                             : 1;
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(each, more, &bytes)) return UINT64_MAX / 2;
  return kiboko::region::rounded(bytes);
}

bool free_memory(std::size_t* bytes) {
  std::size_t total = 0;
  return real.cuMemGetInfo_v2 != nullptr && real.cuMemGetInfo_v2(bytes, &total) == CUDA_SUCCESS;
}

CUresult raise(const Place& place, int limit, std::size_t before, std::size_t value) {
  const auto device = static_cast<unsigned>(place.device);
  const std::uint64_t estimate = memory_of(limit, value - before, place.ordinal);
  Overhead overhead(device, place.ordinal, ChargeKind::Context, estimate);
  if (!overhead) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = real.cuCtxSetLimit(limit, value);
  if (result != CUDA_SUCCESS) return result;
  std::uint64_t bytes = 0;
  const bool fits = overhead.finish(&bytes) && (bytes != 0 || admit(device, estimate, ChargeKind::Context));
  if (!fits) {
    real.cuCtxSetLimit(limit, before);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  charge_to_limit(place.owner, limit, bytes != 0 ? bytes : estimate);
  return result;
}

// What the driver keeps in spite of the lower limit stays charged until the context ends.
CUresult lower(const Place& place, int limit, std::size_t value) {
  std::size_t before = 0, after = 0;
  const bool seen = !is_unified(static_cast<unsigned>(place.device)) && free_memory(&before);
  const CUresult result = real.cuCtxSetLimit(limit, value);
  if (result == CUDA_SUCCESS && seen && free_memory(&after) && after > before)
    refund_of_limit(place.owner, limit, after - before);
  return result;
}

}  // namespace

SHIM_EXPORT CUresult cuCtxSetLimit(int limit, std::size_t value) {
  KIBOKO_DRIVER(cuCtxSetLimit);
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  std::size_t before = 0;
  if (gate == Gate::Pass || limit < 0 || limit >= kLimits || real.cuCtxGetLimit == nullptr ||
      real.cuCtxGetLimit(&before, limit) != CUDA_SUCCESS || value == before)
    return real.cuCtxSetLimit(limit, value);
  const Place place = current_place();
  if (place.device < 0 || place.owner == 0) return real.cuCtxSetLimit(limit, value);
  return value > before ? raise(place, limit, before, value) : lower(place, limit, value);
}
