// Multicast objects: what is bound to one stays allocated after its handle was released and its mappings have gone,
// until it is unbound or the object ends.
#include "shim/charge.h"
#include "shim/context.h"
#include "shim/vmm.h"

using namespace kiboko::shim;

namespace {

// Devices bind memory of their own at the same offset.
std::uint64_t bind_key(std::uint64_t object, unsigned device, std::uint64_t offset) {
  return ((object ^ offset) * 0x9e3779b97f4a7c15ULL ^ device << 1) | 1;
}

HeldMemory held_by(const HandleEntry& bind) { return {bind.link, bind.link_serial, bind.device}; }

// `what` is a handle or an address; `holder` is the function of vmm.h that knows it.
template <class Call>
CUresult bind(std::uint64_t object, std::size_t object_offset, std::uint64_t what,
              bool (*holder)(std::uint64_t, HeldMemory*), Call call) {
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  HeldMemory held{};
  const bool known = gate == Gate::Account && holder(what, &held);
  const CUresult result = call();
  if (!known) return result;
  HandleEntry entry{}, displaced, owner{};
  if (result != CUDA_SUCCESS || !allocations.find(object, &owner)) {
    let_go(held);
    return result;
  }
  entry.key = bind_key(object, held.device, object_offset);
  entry.serial = owner.serial;
  entry.link = held.handle;
  entry.link_serial = held.serial;
  entry.device = held.device;
  if (!binds.put(entry, &displaced)) {  // charged for too short a time is all that comes of it
    let_go(held);
    return result;
  }
  if (displaced.key != 0) let_go(held_by(displaced));
  return result;
}

}  // namespace

void kiboko::shim::multicast_ended(std::uint32_t serial) {
  binds.sweep([=](const HandleEntry& entry) {
    if (entry.serial != serial) return false;
    let_go(held_by(entry));
    return true;
  });
}

SHIM_EXPORT CUresult cuMulticastCreate(CUmemGenericAllocationHandle* object, const void* properties) {
  if (!ready(real.cuMulticastCreate)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = real.cuMulticastCreate(object, properties);
  if (result == CUDA_SUCCESS && object != nullptr && gate == Gate::Account) remember_multicast(*object);
  return result;
}

SHIM_EXPORT CUresult cuMulticastBindMem(CUmemGenericAllocationHandle object, std::size_t object_offset,
                                        CUmemGenericAllocationHandle handle, std::size_t offset, std::size_t bytes,
                                        unsigned long long flags) {
  if (!ready(real.cuMulticastBindMem)) return CUDA_ERROR_NOT_INITIALIZED;
  return bind(object, object_offset, handle, hold,
              [=] { return real.cuMulticastBindMem(object, object_offset, handle, offset, bytes, flags); });
}

SHIM_EXPORT CUresult cuMulticastBindMem_v2(CUmemGenericAllocationHandle object, CUdevice device,
                                           std::size_t object_offset, CUmemGenericAllocationHandle handle,
                                           std::size_t offset, std::size_t bytes, unsigned long long flags) {
  if (!ready(real.cuMulticastBindMem_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return bind(object, object_offset, handle, hold,
              [=] { return real.cuMulticastBindMem_v2(object, device, object_offset, handle, offset, bytes, flags); });
}

SHIM_EXPORT CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle object, std::size_t object_offset,
                                         CUdeviceptr pointer, std::size_t bytes, unsigned long long flags) {
  if (!ready(real.cuMulticastBindAddr)) return CUDA_ERROR_NOT_INITIALIZED;
  return bind(object, object_offset, pointer, hold_mapped,
              [=] { return real.cuMulticastBindAddr(object, object_offset, pointer, bytes, flags); });
}

SHIM_EXPORT CUresult cuMulticastBindAddr_v2(CUmemGenericAllocationHandle object, CUdevice device,
                                            std::size_t object_offset, CUdeviceptr pointer, std::size_t bytes,
                                            unsigned long long flags) {
  if (!ready(real.cuMulticastBindAddr_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  return bind(object, object_offset, pointer, hold_mapped,
              [=] { return real.cuMulticastBindAddr_v2(object, device, object_offset, pointer, bytes, flags); });
}

SHIM_EXPORT CUresult cuMulticastUnbind(CUmemGenericAllocationHandle object, CUdevice device, std::size_t object_offset,
                                       std::size_t bytes) {
  if (!ready(real.cuMulticastUnbind)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = real.cuMulticastUnbind(object, device, object_offset, bytes);
  const int index = gate == Gate::Account ? index_of(device) : -1;
  if (result != CUDA_SUCCESS || index < 0) return result;
  const HandleEntry entry = binds.take(bind_key(object, static_cast<unsigned>(index), object_offset));
  if (entry.key != 0) let_go(held_by(entry));
  return result;
}
