// Arrays: texture memory, laid out by the driver in blocks of 64 bytes × 8 rows. Their size is the formula's; a driver
// that tells the true one (it does for few kinds of array) corrects it.
#include "shim/charge.h"
#include "shim/context.h"

using namespace kiboko::shim;
using kiboko::region::rounded;

namespace {

constexpr unsigned kLayered = 1, kCubemap = 4, kSparse = 0x40, kDeferredMapping = 0x80;

// Bits of one element, all channels. An unknown format counts as 32 bits a channel.
struct Format {
  int first, last;
  unsigned bits;
  bool per_channel;
};
constexpr Format kFormats[] = {
    {0x01, 0x01, 8, true},    // unsigned 8, 16, 32
    {0x02, 0x02, 16, true},   //
    {0x03, 0x03, 32, true},   //
    {0x08, 0x08, 8, true},    // signed 8, 16, 32
    {0x09, 0x09, 16, true},   //
    {0x0a, 0x0a, 32, true},   //
    {0x10, 0x10, 16, true},   // half
    {0x20, 0x20, 32, true},   // float
    {0x91, 0x92, 4, false},   // BC1
    {0x93, 0x96, 8, false},   // BC2, BC3
    {0x97, 0x98, 4, false},   // BC4
    {0x99, 0x9e, 8, false},   // BC5, BC6H, BC7
    {0xb0, 0xb0, 12, false},  // NV12
    {0xc0, 0xc0, 8, false},   // normalised, 8 bits × 1, 2, 4
    {0xc1, 0xc1, 16, false},  //
    {0xc2, 0xc2, 32, false},  //
    {0xc3, 0xc3, 16, false},  // normalised, 16 bits × 1, 2, 4
    {0xc4, 0xc4, 32, false},  //
    {0xc5, 0xc5, 64, false},  //
    {0xc6, 0xc6, 8, false},   // the same, signed
    {0xc7, 0xc7, 16, false},  //
    {0xc8, 0xc8, 32, false},  //
    {0xc9, 0xc9, 16, false},  //
    {0xca, 0xca, 32, false},  //
    {0xcb, 0xcb, 64, false},
};

std::uint64_t element_bits(int format, unsigned channels) {
  const std::uint64_t count = channels == 0 ? 1 : channels;
  for (const Format& known : kFormats)
    if (format >= known.first && format <= known.last) return known.per_channel ? known.bits * count : known.bits;
  return 32 * count;
}

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}
std::uint64_t up_to_multiple(std::uint64_t a, std::uint64_t step) {
  return a > UINT64_MAX - step ? UINT64_MAX : (a + step - 1) / step * step;
}
std::uint64_t at_least_one(std::uint64_t a) { return a == 0 ? 1 : a; }

std::uint64_t level_bytes(std::uint64_t width, std::uint64_t height, std::uint64_t depth, std::uint64_t bits) {
  const std::uint64_t row = times(width, bits) / 8;
  if (height == 0 && depth == 0) return row;  // one-dimensional: plain memory
  return times(times(up_to_multiple(row, 64), up_to_multiple(at_least_one(height), 8)), at_least_one(depth));
}

std::uint64_t array_bytes(const CUDA_ARRAY3D_DESCRIPTOR& array, unsigned levels) {
  if ((array.flags & (kSparse | kDeferredMapping)) != 0) return 0;  // backed by VMM handles, charged there
  const std::uint64_t bits = element_bits(array.format, array.channels);
  const bool layers = (array.flags & (kLayered | kCubemap)) != 0;  // then depth counts them
  std::uint64_t width = array.width, height = array.height, depth = array.depth, sum = 0;
  for (unsigned level = 0; level < levels && level < 32; ++level) {
    const std::uint64_t bytes = level_bytes(width, height, depth, bits);
    sum = bytes > UINT64_MAX - sum ? UINT64_MAX : sum + bytes;
    width = at_least_one(width / 2);
    height = height == 0 ? 0 : at_least_one(height / 2);
    if (!layers) depth = depth == 0 ? 0 : at_least_one(depth / 2);
  }
  return sum;
}

CUDA_ARRAY3D_DESCRIPTOR wide(const CUDA_ARRAY_DESCRIPTOR_v1& a) {
  return {a.width, a.height, 0, a.format, a.channels, 0};
}
CUDA_ARRAY3D_DESCRIPTOR wide(const CUDA_ARRAY_DESCRIPTOR& a) { return {a.width, a.height, 0, a.format, a.channels, 0}; }
CUDA_ARRAY3D_DESCRIPTOR wide(const CUDA_ARRAY3D_DESCRIPTOR_v1& a) {
  return {a.width, a.height, a.depth, a.format, a.channels, a.flags};
}
CUDA_ARRAY3D_DESCRIPTOR wide(const CUDA_ARRAY3D_DESCRIPTOR& a) { return a; }

template <class Array, class Query>
std::uint64_t true_bytes(Query query, Array array, CUdevice ordinal, std::uint64_t formula) {
  CUDA_ARRAY_MEMORY_REQUIREMENTS needs{};
  if (formula == 0 || query == nullptr || query(&needs, array, ordinal) != CUDA_SUCCESS || needs.size == 0)
    return formula;
  return needs.size;
}

template <class Array>
bool keep(Charge& charge, Array array, Place place) {
  HandleEntry entry{}, displaced;
  entry.key = reinterpret_cast<std::uintptr_t>(array);
  entry.bytes = charge.bytes();
  entry.owner = static_cast<std::uint16_t>(place.owner);
  entry.device = static_cast<std::uint16_t>(place.device);
  if (!arrays.put(entry, &displaced)) return false;
  charge.keep();
  if (displaced.key != 0) account().refund(displaced.device, displaced.bytes, kiboko::region::ChargeKind::Data);
  return true;
}

template <class Array, class Descriptor, class Call, class Query, class Destroy>
CUresult create(Array* out, const Descriptor* descriptor, unsigned levels, Call&& call, Query query, Destroy destroy) {
  if (out == nullptr || descriptor == nullptr) return call();
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const Place place = current_place();
  if (place.context == nullptr) return call();
  if (place.device < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  const std::uint64_t formula = array_bytes(wide(*descriptor), levels);
  Charge charge(static_cast<unsigned>(place.device), rounded(formula));
  if (!charge) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call();
  if (result != CUDA_SUCCESS || *out == nullptr) return result;
  if (charge.correct(rounded(true_bytes(query, *out, place.ordinal, formula))) && keep(charge, *out, place))
    return CUDA_SUCCESS;
  if (destroy != nullptr) destroy(*out);
  *out = nullptr;
  return CUDA_ERROR_OUT_OF_MEMORY;
}

template <class Array, class Call>
CUresult destroy(Array array, Call&& call) {
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const HandleEntry entry = arrays.take(reinterpret_cast<std::uintptr_t>(array));
  const CUresult result = call();
  if (entry.key == 0) return result;
  HandleEntry displaced;
  if (result == CUDA_SUCCESS)
    account().refund(entry.device, entry.bytes, kiboko::region::ChargeKind::Data);
  else
    arrays.put(entry, &displaced);
  return result;
}

}  // namespace

#define KIBOKO_ARRAY_HOOK(name, descriptor_type)                                                               \
  SHIM_EXPORT CUresult name(CUarray* array, const descriptor_type* descriptor) {                               \
    if (!ready(real.name)) return CUDA_ERROR_NOT_INITIALIZED;                                                  \
    return create(                                                                                             \
        array, descriptor, 1, [=] { return real.name(array, descriptor); }, real.cuArrayGetMemoryRequirements, \
        real.cuArrayDestroy);                                                                                  \
  }
KIBOKO_ARRAY_HOOK(cuArrayCreate, CUDA_ARRAY_DESCRIPTOR_v1)
KIBOKO_ARRAY_HOOK(cuArrayCreate_v2, CUDA_ARRAY_DESCRIPTOR)
KIBOKO_ARRAY_HOOK(cuArray3DCreate, CUDA_ARRAY3D_DESCRIPTOR_v1)
KIBOKO_ARRAY_HOOK(cuArray3DCreate_v2, CUDA_ARRAY3D_DESCRIPTOR)
#undef KIBOKO_ARRAY_HOOK

SHIM_EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray* array, const CUDA_ARRAY3D_DESCRIPTOR* descriptor,
                                            unsigned levels) {
  if (!ready(real.cuMipmappedArrayCreate)) return CUDA_ERROR_NOT_INITIALIZED;
  return create(
      array, descriptor, levels, [=] { return real.cuMipmappedArrayCreate(array, descriptor, levels); },
      real.cuMipmappedArrayGetMemoryRequirements, real.cuMipmappedArrayDestroy);
}

SHIM_EXPORT CUresult cuArrayDestroy(CUarray array) {
  if (!ready(real.cuArrayDestroy)) return CUDA_ERROR_NOT_INITIALIZED;
  return destroy(array, [=] { return real.cuArrayDestroy(array); });
}

SHIM_EXPORT CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
  if (!ready(real.cuMipmappedArrayDestroy)) return CUDA_ERROR_NOT_INITIALIZED;
  return destroy(array, [=] { return real.cuMipmappedArrayDestroy(array); });
}
