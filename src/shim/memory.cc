// Allocations that the driver makes at once, and their end. Charge first, then allocate: two processes racing for the
// last megabyte must not both win. A free takes the entry out before it asks the driver, because from the moment the
// driver has freed an address another thread may be given it; the refund comes after, and only if the driver agreed.
#include <type_traits>

#include "shim/charge.h"
#include "shim/context.h"
#include "shim/graph_memory.h"

using namespace kiboko::shim;
using kiboko::region::rounded;

namespace {

// The driver never hands out an address twice: what we still held for it is gone.
void refund_displaced(PointerEntry displaced) {
  if (displaced.key == 0) return;
  if (displaced.what() == PointerKind::Plain)
    account().refund(static_cast<unsigned>(displaced.device), displaced.bytes(), kiboko::region::ChargeKind::Data);
  else if (displaced.what() == PointerKind::Pool)
    pool_pointer_freed(displaced);
}

bool keep(Charge& charge, std::uint64_t address, Place place) {
  PointerEntry displaced;
  const auto device = static_cast<unsigned>(place.device);
  if (!pointers.put(pointer_entry(address, charge.bytes(), device, PointerKind::Plain, place.owner), &displaced))
    return false;
  charge.keep();
  refund_displaced(displaced);
  return true;
}

struct AsAsked {};  // what the driver takes is what was asked, rounded

// `bytes` is what the driver is expected to take; `call` allocates, `actual` says what it took, `undo` frees again.
template <class Call, class Actual, class Undo, class Pointer>
CUresult allocate(std::uint64_t bytes, Pointer* out, Call call, [[maybe_unused]] Actual actual, Undo undo) {
  if (out == nullptr || bytes == 0) return call();  // the driver has its own words for these
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const Place place = current_place();
  if (place.context == nullptr) return call();
  if (place.device < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  Charge charge(static_cast<unsigned>(place.device), rounded(bytes));
  if (!charge) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call();
  if (result != CUDA_SUCCESS || *out == 0) return result;  // 0: a yes without memory stands for nothing
  bool fits = true;
  if constexpr (!std::is_same_v<Actual, AsAsked>) fits = charge.correct(rounded(actual()));
  if (fits && keep(charge, *out, place)) return CUDA_SUCCESS;
  undo(*out);
  *out = 0;
  return CUDA_ERROR_OUT_OF_MEMORY;
}

template <class Pointer, class Free>
CUresult release(Pointer pointer, Free&& call) {
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const PointerEntry entry = pointers.take(pointer);
  if (entry.key == 0) {
    const CUresult result = call();  // not ours to judge: another allocator's, a graph's, or nobody's
    if (result == CUDA_SUCCESS) {
      graph_memory_freed();
      pool_settle();
    }
    return result;
  }
  const CUresult result = call();
  if (result == CUDA_SUCCESS) {
    refund_displaced(entry);
    return result;
  }
  PointerEntry displaced;
  pointers.put(entry, &displaced);  // there is room: it was in there
  return result;
}

// Rows begin at multiples of 512 bytes on all devices so far; what the driver chose corrects it.
std::uint64_t pitched(std::uint64_t width, std::uint64_t height) {
  std::uint64_t bytes = 0;
  const std::uint64_t pitch = width > UINT64_MAX - 511 ? UINT64_MAX : (width + 511) / 512 * 512;
  return __builtin_mul_overflow(pitch, height, &bytes) ? UINT64_MAX : bytes;
}

}  // namespace

SHIM_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* out, std::size_t bytes) {
  if (!ready(real.cuMemAlloc_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return allocate(
      bytes, out, [=] { return real.cuMemAlloc_v2(out, bytes); }, AsAsked{},
      [](CUdeviceptr pointer) { real.cuMemFree_v2(pointer); });
}

SHIM_EXPORT CUresult cuMemAlloc(CUdeviceptr_v1* out, unsigned bytes) {
  if (!ready(real.cuMemAlloc)) return CUDA_ERROR_NOT_INITIALIZED;
  return allocate(
      bytes, out, [=] { return real.cuMemAlloc(out, bytes); }, AsAsked{},
      [](CUdeviceptr_v1 pointer) { real.cuMemFree(pointer); });
}

SHIM_EXPORT CUresult cuMemAllocManaged(CUdeviceptr* out, std::size_t bytes, unsigned flags) {
  if (!ready(real.cuMemAllocManaged)) return CUDA_ERROR_NOT_INITIALIZED;
  return allocate(
      bytes, out, [=] { return real.cuMemAllocManaged(out, bytes, flags); }, AsAsked{},
      [](CUdeviceptr pointer) { real.cuMemFree_v2(pointer); });
}

SHIM_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr* out, std::size_t* pitch, std::size_t width, std::size_t height,
                                        unsigned element) {
  if (!ready(real.cuMemAllocPitch_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return allocate(
      pitched(width, height), out, [=] { return real.cuMemAllocPitch_v2(out, pitch, width, height, element); },
      [=] { return pitch != nullptr ? *pitch * height : pitched(width, height); },
      [](CUdeviceptr pointer) { real.cuMemFree_v2(pointer); });
}

SHIM_EXPORT CUresult cuMemAllocPitch(CUdeviceptr_v1* out, unsigned* pitch, unsigned width, unsigned height,
                                     unsigned element) {
  if (!ready(real.cuMemAllocPitch)) return CUDA_ERROR_NOT_INITIALIZED;
  return allocate(
      pitched(width, height), out, [=] { return real.cuMemAllocPitch(out, pitch, width, height, element); },
      [=] { return pitch != nullptr ? std::uint64_t{*pitch} * height : pitched(width, height); },
      [](CUdeviceptr_v1 pointer) { real.cuMemFree(pointer); });
}

SHIM_EXPORT CUresult cuMemFree_v2(CUdeviceptr pointer) {
  if (!ready(real.cuMemFree_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return release(pointer, [=] { return real.cuMemFree_v2(pointer); });
}

SHIM_EXPORT CUresult cuMemFree(CUdeviceptr_v1 pointer) {
  if (!ready(real.cuMemFree)) return CUDA_ERROR_NOT_INITIALIZED;
  return release(pointer, [=] { return real.cuMemFree(pointer); });
}
