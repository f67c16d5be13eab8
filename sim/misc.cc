// Versions, look-ups, names of errors, and functions that have nothing to do here.
#include "context.h"
#include "lookup.h"

using namespace sim;

namespace {

struct ErrorText {
  int code;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
#include "errors.def"
};

const ErrorText* find_error(int code) {
  for (const ErrorText& error : kErrors) {
    if (error.code == code) return &error;
  }
  return nullptr;
}

}  // namespace

SIM_EARLY_FN(cuDriverGetVersion, (int* version), (version)) { return get_driver_version(version); }
SIM_EARLY_FN(cuGetProcAddress, (const char* name, void** out, int version, std::uint64_t flags),
             (name, out, version, flags)) {
  return get_proc_address(name, out, version, flags, nullptr);
}
SIM_EARLY_FN(cuGetProcAddress_v2, (const char* name, void** out, int version, std::uint64_t flags, int* status),
             (name, out, version, flags, status)) {
  return get_proc_address(name, out, version, flags, status);
}
SIM_EARLY_FN(cuGetErrorName, (CUresult code, const char** out), (code, out)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ErrorText* error = find_error(code);
  *out = error == nullptr ? nullptr : error->name;
  return error == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
SIM_EARLY_FN(cuGetErrorString, (CUresult code, const char** out), (code, out)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ErrorText* error = find_error(code);
  *out = error == nullptr ? nullptr : error->text;
  return error == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
// Private tables are not simulated: every table is unknown.
SIM_EARLY_FN(cuGetExportTable, (const void** out, const CUuuid* id), (out, id)) {
  if (out == nullptr || id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = nullptr;
  return CUDA_ERROR_NOT_FOUND;
}

SIM_FN(cuProfilerInitialize, (const char* config, const char* output, int mode), (config, output, mode)) {
  return CUDA_ERROR_NOT_SUPPORTED;
}
SIM_FN(cuProfilerStart, (), ()) { return CUDA_SUCCESS; }
SIM_FN(cuProfilerStop, (), ()) { return CUDA_SUCCESS; }
SIM_FN(cuFlushGPUDirectRDMAWrites, (int target, int scope), (target, scope)) {
  Context* context = nullptr;
  return require_context(context);
}
