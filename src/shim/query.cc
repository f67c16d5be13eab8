// Starting CUDA, and the two questions a program sizes itself by. Answers agree with NVML's (nvml.cc): total is the
// limit, free is what the limit leaves, or less when the device itself has less. Where the device's memory is the
// host's, free is what the limit leaves: what the host has free says little there (it could drop caches), and NVML has
// no figure.
#include "shim/route.h"
#include "shim/state.h"

using namespace kiboko::shim;

namespace {

struct MemoryAnswer {
  std::uint64_t free, total;
};

MemoryAnswer answer(unsigned device, std::uint64_t driver_free, std::uint64_t driver_total) {
  const kiboko::region::AccountView view = account_view(device);
  if (view.limit == 0 || view.limit > driver_total) return {driver_free, driver_total};
  std::uint64_t used = account().total(device);
  if (view.correction > 0) used += static_cast<std::uint64_t>(view.correction);
  const std::uint64_t left = used < view.limit ? view.limit - used : 0;
  return {left < driver_free || is_unified(device) ? left : driver_free, view.limit};
}

}  // namespace

SHIM_EXPORT CUresult cuInit(unsigned flags) {
  KIBOKO_DRIVER(cuInit);
  const CUresult result = real.cuInit(flags);
  if (result != CUDA_SUCCESS) return result;
  return activate() ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

namespace {

// A program that asks for one of the two only is answered by the driver first, which may refuse that; then both are
// needed here to answer with either.
template <class Size>
[[gnu::noinline, gnu::cold]] CUresult half_a_question(CUresult (*ask)(Size*, Size*), Size* free, Size* total) {
  Size driver_free = 0, driver_total = 0;
  const CUresult result = ask(&driver_free, &driver_total);
  const int device = current_device();
  if (result != CUDA_SUCCESS || device < 0) return result;
  const MemoryAnswer memory = answer(static_cast<unsigned>(device), driver_free, driver_total);
  if (free != nullptr) *free = static_cast<Size>(memory.free);
  if (total != nullptr) *total = static_cast<Size>(memory.total);
  return result;
}

template <class Size>
CUresult virtual_memory(CUresult (*ask)(Size*, Size*), Size* free, Size* total) {
  const CUresult result = ask(free, total);
  if (result != CUDA_SUCCESS || enter() != Gate::Account) return result;
  if (__builtin_expect(free == nullptr || total == nullptr, 0)) return half_a_question(ask, free, total);
  const int device = current_device();
  if (device < 0) return result;
  const MemoryAnswer memory = answer(static_cast<unsigned>(device), *free, *total);
  *free = static_cast<Size>(memory.free);
  *total = static_cast<Size>(memory.total);
  return result;
}

}  // namespace

SHIM_EXPORT CUresult cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  KIBOKO_DRIVER(cuMemGetInfo_v2);
  return virtual_memory(real.cuMemGetInfo_v2, free, total);
}

SHIM_EXPORT CUresult cuMemGetInfo(unsigned* free, unsigned* total) {
  KIBOKO_DRIVER(cuMemGetInfo);
  return virtual_memory(real.cuMemGetInfo, free, total);
}

namespace {

template <class Size>
CUresult virtual_total(CUresult result, Size* bytes, CUdevice device) {
  if (result != CUDA_SUCCESS || bytes == nullptr || enter() != Gate::Account) return result;
  const int index = index_of(device);
  if (index < 0) return result;
  const std::uint64_t limit = account_view(static_cast<unsigned>(index)).limit;
  if (limit != 0 && limit < *bytes) *bytes = static_cast<Size>(limit);
  return result;
}

}  // namespace

SHIM_EXPORT CUresult cuDeviceTotalMem_v2(std::size_t* bytes, CUdevice device) {
  KIBOKO_DRIVER(cuDeviceTotalMem_v2);
  return virtual_total(real.cuDeviceTotalMem_v2(bytes, device), bytes, device);
}

SHIM_EXPORT CUresult cuDeviceTotalMem(unsigned* bytes, CUdevice device) {
  KIBOKO_DRIVER(cuDeviceTotalMem);
  return virtual_total(real.cuDeviceTotalMem(bytes, device), bytes, device);
}
