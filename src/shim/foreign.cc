// Memory that somebody else made and is charged for: opened IPC handles and external memory. No charge while its maker
// carries it (imports.h); an entry says whose it is, so that a later allocation at the same address is not taken for
// it.
#include "shim/charge.h"
#include "shim/context.h"

using namespace kiboko::shim;

namespace {

// Entries of kind Foreign carry no bytes, so that losing one (no memory for it) loses nothing. False: our own memory.
bool remember(CUdeviceptr pointer) {
  PointerEntry there;
  if (pointers.find(pointer, &there)) return there.what() == PointerKind::Foreign;  // opened twice
  pointers.put(pointer_entry(pointer, 0, 0, PointerKind::Foreign, 0), &there);
  return true;
}

CUresult opened(CUresult result, const CUdeviceptr* pointer) {
  if (result != CUDA_SUCCESS || pointer == nullptr || enter() != Gate::Account || !remember(*pointer)) return result;
  const Place place = current_place();
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  if (place.device < 0 || real.cuMemGetAddressRange_v2 == nullptr ||
      real.cuMemGetAddressRange_v2(&base, &bytes, *pointer) != CUDA_SUCCESS)
    return result;
  import_seen(ImportKind::Address, *pointer, static_cast<unsigned>(place.device), kiboko::region::rounded(bytes), 1);
  pools_used.store(true, std::memory_order_relaxed);  // synchronisations look after it
  return result;
}

}  // namespace

SHIM_EXPORT CUresult cuIpcOpenMemHandle(CUdeviceptr* pointer, CUipcMemHandle handle, unsigned flags) {
  if (!ready(real.cuIpcOpenMemHandle)) return CUDA_ERROR_NOT_INITIALIZED;
  if (enter() == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  return opened(real.cuIpcOpenMemHandle(pointer, handle, flags), pointer);
}

SHIM_EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* pointer, CUipcMemHandle handle, unsigned flags) {
  if (!ready(real.cuIpcOpenMemHandle_v2)) return CUDA_ERROR_NOT_INITIALIZED;
  if (enter() == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  return opened(real.cuIpcOpenMemHandle_v2(pointer, handle, flags), pointer);
}

SHIM_EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr pointer) {
  if (!ready(real.cuIpcCloseMemHandle)) return CUDA_ERROR_NOT_INITIALIZED;
  const CUresult result = real.cuIpcCloseMemHandle(pointer);
  if (result != CUDA_SUCCESS || enter() != Gate::Account) return result;
  import_closed(ImportKind::Address, pointer);
  pointers.change(pointer, [](const PointerEntry& entry) { return entry.what() != PointerKind::Foreign; });
  return result;
}

SHIM_EXPORT CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr* pointer, CUexternalMemory memory,
                                                     const CUDA_EXTERNAL_MEMORY_BUFFER_DESC* descriptor) {
  if (!ready(real.cuExternalMemoryGetMappedBuffer)) return CUDA_ERROR_NOT_INITIALIZED;
  if (enter() == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = real.cuExternalMemoryGetMappedBuffer(pointer, memory, descriptor);
  if (result == CUDA_SUCCESS && pointer != nullptr && enter() == Gate::Account) remember(*pointer);
  return result;
}
