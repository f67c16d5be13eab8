// Code on the device: modules and libraries. The driver tells no size, so the free memory around the load does; when
// that cannot be trusted (somebody else of the grant moved) nothing is charged here, and the agent's correction counts
// it. A module goes with its context, a library does not.
#include "shim/charge.h"
#include "shim/code.h"
#include "shim/context.h"

using namespace kiboko::shim;
using kiboko::region::ChargeKind;

namespace {

template <class Handle, class Call, class Undo>
CUresult load(HandleTable& table, Handle* out, Call&& call, Undo undo) {
  if (out == nullptr) return call();
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  const Place place = current_place();
  if (place.device < 0) return call();
  Overhead overhead(static_cast<unsigned>(place.device), place.ordinal, ChargeKind::Module, 0);
  const CUresult result = call();
  if (result != CUDA_SUCCESS || *out == nullptr) return result;
  HandleEntry entry{}, displaced{};
  entry.key = reinterpret_cast<std::uintptr_t>(*out);
  entry.owner = static_cast<std::uint16_t>(place.owner);
  entry.device = static_cast<std::uint16_t>(place.device);
  if (!overhead.finish(&entry.bytes)) {
    if (undo != nullptr) undo(*out);
    *out = nullptr;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (!table.put(entry, &displaced))
    displaced = entry;  // no memory for the entry: better uncharged than charged for ever
  if (displaced.key != 0) account().refund(displaced.device, displaced.bytes, ChargeKind::Module);
  return result;
}

template <class Handle, class Call>
CUresult unload(HandleTable& table, Handle handle, Call&& call) {
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  HandleEntry displaced;
  const HandleEntry entry = table.take(reinterpret_cast<std::uintptr_t>(handle));
  const CUresult result = call();
  if (entry.key == 0) return result;
  if (result == CUDA_SUCCESS)
    account().refund(entry.device, entry.bytes, ChargeKind::Module);
  else
    table.put(entry, &displaced);
  return result;
}

}  // namespace

SHIM_EXPORT CUresult cuModuleLoad(CUmodule* module, const char* path) {
  if (!ready(real.cuModuleLoad)) return CUDA_ERROR_NOT_INITIALIZED;
  return load(
      modules, module, [=] { return real.cuModuleLoad(module, path); }, real.cuModuleUnload);
}

SHIM_EXPORT CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  if (!ready(real.cuModuleLoadData)) return CUDA_ERROR_NOT_INITIALIZED;
  return load(
      modules, module, [=] { return real.cuModuleLoadData(module, image); }, real.cuModuleUnload);
}

SHIM_EXPORT CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned options, int* keys,
                                        void** values) {
  if (!ready(real.cuModuleLoadDataEx)) return CUDA_ERROR_NOT_INITIALIZED;
  return load(
      modules, module, [=] { return real.cuModuleLoadDataEx(module, image, options, keys, values); },
      real.cuModuleUnload);
}

SHIM_EXPORT CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  if (!ready(real.cuModuleLoadFatBinary)) return CUDA_ERROR_NOT_INITIALIZED;
  return load(
      modules, module, [=] { return real.cuModuleLoadFatBinary(module, image); }, real.cuModuleUnload);
}

SHIM_EXPORT CUresult cuModuleUnload(CUmodule module) {
  if (!ready(real.cuModuleUnload)) return CUDA_ERROR_NOT_INITIALIZED;
  return unload(modules, module, [=] { return real.cuModuleUnload(module); });
}

SHIM_EXPORT CUresult cuLibraryLoadData(CUlibrary* library, const void* code, int* jit_keys, void** jit_values,
                                       unsigned jit_count, int* keys, void** values, unsigned count) {
  if (!ready(real.cuLibraryLoadData)) return CUDA_ERROR_NOT_INITIALIZED;
  return load(
      libraries, library,
      [=] { return real.cuLibraryLoadData(library, code, jit_keys, jit_values, jit_count, keys, values, count); },
      real.cuLibraryUnload);
}

SHIM_EXPORT CUresult cuLibraryLoadFromFile(CUlibrary* library, const char* path, int* jit_keys, void** jit_values,
                                           unsigned jit_count, int* keys, void** values, unsigned count) {
  if (!ready(real.cuLibraryLoadFromFile)) return CUDA_ERROR_NOT_INITIALIZED;
  return load(
      libraries, library,
      [=] { return real.cuLibraryLoadFromFile(library, path, jit_keys, jit_values, jit_count, keys, values, count); },
      real.cuLibraryUnload);
}

SHIM_EXPORT CUresult cuLibraryUnload(CUlibrary library) {
  if (!ready(real.cuLibraryUnload)) return CUDA_ERROR_NOT_INITIALIZED;
  const CUresult result = unload(libraries, library, [=] { return real.cuLibraryUnload(library); });
  if (result == CUDA_SUCCESS && active()) drop_code(library);
  return result;
}
