// Linked against the driver, as an engine's own libraries are.
#include "shim/abi.h"

extern "C" __attribute__((visibility("default"))) unsigned long long deep_total() {
  std::size_t bytes = 0;
  return cuInit(0) == CUDA_SUCCESS && cuDeviceTotalMem_v2(&bytes, 0) == CUDA_SUCCESS ? bytes : 0;
}
