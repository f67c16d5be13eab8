// Kernel launches of every kind: what a kernel costs and which stream it goes to.
#include <string.h>

#include "capture.h"
#include "context.h"
#include "launch.h"
#include "module.h"

namespace sim {

// The first parameter, from the array of pointers or from the packed buffer.
std::uint64_t first_parameter(void** parameters, void** extra) {
  std::uint64_t value = 0;
  if (parameters != nullptr && parameters[0] != nullptr) {
    memcpy(&value, parameters[0], sizeof value);
    return value;
  }
  void* const kEnd = nullptr;
  void* const kBuffer = reinterpret_cast<void*>(std::uintptr_t{1});
  for (int i = 0; extra != nullptr && extra[i] != kEnd; i += 2) {
    if (extra[i] == kBuffer && extra[i + 1] != nullptr) memcpy(&value, extra[i + 1], sizeof value);
  }
  return value;
}

CUresult cost_of(const Launch& launch, int ordinal, KernelCost& cost) {
  const Function* function = find_function(launch.function);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  for (int i = 0; i < 3; ++i) {
    if (launch.grid[i] == 0 || launch.block[i] == 0) return CUDA_ERROR_INVALID_VALUE;
  }
  const std::uint64_t threads = std::uint64_t{launch.block[0]} * launch.block[1] * launch.block[2];
  if (threads > 1024) return CUDA_ERROR_INVALID_VALUE;
  const std::uint64_t blocks = std::uint64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2];
  const std::uint64_t duration = function->spin ? first_parameter(launch.parameters, launch.extra) : 0;
  cost = kernel_cost(device_at(ordinal), function->spin, duration, blocks);
  return CUDA_SUCCESS;
}

namespace {

CUresult launch_on(Stream& stream, const Launch& launch) {
  KernelCost cost;
  if (const CUresult loaded = load_kernel(launch.function, *stream.context); loaded != CUDA_SUCCESS) return loaded;
  if (const CUresult result = cost_of(launch, stream.context->ordinal, cost); result != CUDA_SUCCESS) return result;
  if (stream.capture != nullptr) return capture_kernel(stream, launch, cost);
  submit_kernel(stream, cost.duration, cost.sms);
  return CUDA_SUCCESS;
}

CUresult launch_cooperative(Stream& stream, const Launch& launch) {
  const std::uint64_t blocks = std::uint64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2];
  const std::uint64_t room = driver.shared->constants.blocks_per_sm * device_at(stream.context->ordinal).spec.sm_count;
  if (blocks > room) return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
  return launch_on(stream, launch);
}

// Attributes with an effect here: cooperative launches must fit; events are recorded behind the kernel.
CUresult launch_with_attributes(Stream& stream, const Launch& launch, const CUlaunchConfig& config) {
  constexpr int kCooperative = 2, kProgrammaticEvent = 7, kCompletionEvent = 12;
  bool cooperative = false;
  CUevent event = nullptr;
  for (unsigned i = 0; i < config.attribute_count; ++i) {
    const CUlaunchAttribute& attribute = config.attributes[i];
    if (attribute.id == kCooperative) cooperative = attribute.value.cooperative != 0;
    if (attribute.id == kProgrammaticEvent) event = attribute.value.programmatic_event.event;
    if (attribute.id == kCompletionEvent) event = attribute.value.completion_event.event;
  }
  const CUresult result = cooperative ? launch_cooperative(stream, launch) : launch_on(stream, launch);
  if (result != CUDA_SUCCESS || event == nullptr) return result;
  return record_on(stream, event);
}

CUresult legacy_launch(CUfunction given, unsigned width, unsigned height, CUstream stream_handle) {
  Function* function = find_function(given);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(stream_handle, StreamMode::kLegacy, stream); found != CUDA_SUCCESS)
    return found;
  void* parameters[] = {function->parameters, nullptr};
  return launch_on(*stream, {given,
                             {width, height, 1},
                             {function->block[0], function->block[1], function->block[2]},
                             0,
                             parameters,
                             nullptr});
}

}  // namespace
}  // namespace sim

using namespace sim;

SIM_STREAM_FN(cuLaunchKernel,
              (CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
               unsigned shared_bytes, CUstream given, void** parameters, void** extra),
              (function, gx, gy, gz, bx, by, bz, shared_bytes, given, parameters, extra)) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  return launch_on(*stream, {function, {gx, gy, gz}, {bx, by, bz}, shared_bytes, parameters, extra});
}
SIM_STREAM_FN(cuLaunchCooperativeKernel,
              (CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
               unsigned shared_bytes, CUstream given, void** parameters),
              (function, gx, gy, gz, bx, by, bz, shared_bytes, given, parameters)) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  return launch_cooperative(*stream, {function, {gx, gy, gz}, {bx, by, bz}, shared_bytes, parameters, nullptr});
}
SIM_STREAM_FN(cuLaunchKernelEx, (const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra),
              (config, function, parameters, extra)) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(config->stream, mode, stream); found != CUDA_SUCCESS) return found;
  const Launch launch{function,
                      {config->grid_x, config->grid_y, config->grid_z},
                      {config->block_x, config->block_y, config->block_z},
                      config->shared_bytes,
                      parameters,
                      extra};
  return launch_with_attributes(*stream, launch, *config);
}
SIM_FN(cuLaunchCooperativeKernelMultiDevice, (CUDA_LAUNCH_PARAMS * list, unsigned count, unsigned flags),
       (list, count, flags)) {
  if (list == nullptr || count == 0 || flags > 3) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count; ++i) {
    const CUDA_LAUNCH_PARAMS& one = list[i];
    Stream* stream = nullptr;
    if (const CUresult found = find_stream(one.stream, StreamMode::kLegacy, stream); found != CUDA_SUCCESS)
      return found;
    const CUresult result = launch_cooperative(*stream, {one.function,
                                                         {one.grid_x, one.grid_y, one.grid_z},
                                                         {one.block_x, one.block_y, one.block_z},
                                                         one.shared_bytes,
                                                         one.kernel_params,
                                                         nullptr});
    if (result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

// --- the interface of old ---

SIM_FN(cuFuncSetBlockShape, (CUfunction given, int x, int y, int z), (given, x, y, z)) {
  Function* function = find_function(given);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (x <= 0 || y <= 0 || z <= 0) return CUDA_ERROR_INVALID_VALUE;
  function->block[0] = static_cast<unsigned>(x);
  function->block[1] = static_cast<unsigned>(y);
  function->block[2] = static_cast<unsigned>(z);
  return CUDA_SUCCESS;
}
static CUresult set_parameter(CUfunction given, int offset, const void* bytes, std::size_t size) {
  Function* function = find_function(given);
  if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (offset < 0 || bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto at = static_cast<std::size_t>(offset);
  constexpr std::size_t kKept = sizeof function->parameters;  // only the first ones can matter here
  if (at < kKept) memcpy(function->parameters + at, bytes, std::min(size, kKept - at));
  return CUDA_SUCCESS;
}
SIM_FN(cuFuncSetSharedSize, (CUfunction given, unsigned bytes), (given, bytes)) {
  return find_function(given) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
SIM_FN(cuParamSetSize, (CUfunction given, unsigned bytes), (given, bytes)) {
  return find_function(given) != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
SIM_FN(cuParamSeti, (CUfunction function, int offset, unsigned value), (function, offset, value)) {
  return set_parameter(function, offset, &value, sizeof value);
}
SIM_FN(cuParamSetf, (CUfunction function, int offset, float value), (function, offset, value)) {
  return set_parameter(function, offset, &value, sizeof value);
}
SIM_FN(cuParamSetv, (CUfunction function, int offset, void* bytes, unsigned size), (function, offset, bytes, size)) {
  return set_parameter(function, offset, bytes, size);
}
SIM_FN(cuLaunch, (CUfunction function), (function)) { return legacy_launch(function, 1, 1, nullptr); }
SIM_FN(cuLaunchGrid, (CUfunction function, int width, int height), (function, width, height)) {
  if (width <= 0 || height <= 0) return CUDA_ERROR_INVALID_VALUE;
  return legacy_launch(function, static_cast<unsigned>(width), static_cast<unsigned>(height), nullptr);
}
SIM_FN(cuLaunchGridAsync, (CUfunction function, int width, int height, CUstream stream),
       (function, width, height, stream)) {
  if (width <= 0 || height <= 0) return CUDA_ERROR_INVALID_VALUE;
  return legacy_launch(function, static_cast<unsigned>(width), static_cast<unsigned>(height), stream);
}
