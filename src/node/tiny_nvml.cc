// Two devices as an old management library would show them: no second version of anything but the process list.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "node/nvml_abi.h"

namespace nvml = kiboko::nvml;

namespace {
unsigned index_of(nvml::Device device) { return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(device)) - 1; }
bool lost(unsigned index) { return index == 1 && std::getenv("TINY_NVML_LOST") != nullptr; }
}  // namespace

extern "C" {
nvml::Return nvmlInit_v2() { return std::getenv("TINY_NVML_BROKEN") != nullptr ? 9 : nvml::kSuccess; }
const char* nvmlErrorString(nvml::Return code) { return code == 9 ? "Driver Not Loaded" : "GPU is lost"; }
nvml::Return nvmlSystemGetDriverVersion(char* text, unsigned size) {
  std::snprintf(text, size, "535.1");
  return nvml::kSuccess;
}
nvml::Return nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return nvml::kSuccess;
}
nvml::Return nvmlDeviceGetHandleByIndex_v2(unsigned index, nvml::Device* device) {
  *device = reinterpret_cast<nvml::Device>(static_cast<std::uintptr_t>(index) + 1);
  return nvml::kSuccess;
}
nvml::Return nvmlDeviceGetUUID(nvml::Device device, char* text, unsigned size) {
  std::snprintf(text, size, "GPU-tiny-%u", index_of(device));
  return nvml::kSuccess;
}
nvml::Return nvmlDeviceGetName(nvml::Device, char* text, unsigned size) {
  std::snprintf(text, size, "Tiny 16GB");
  return nvml::kSuccess;
}
nvml::Return nvmlDeviceGetMemoryInfo(nvml::Device device, nvml::MemoryV1* memory) {
  if (lost(index_of(device))) return nvml::kGpuIsLost;
  *memory = {16ULL << 30U, 12ULL << 30U, 4ULL << 30U};
  return nvml::kSuccess;
}
// 100 processes: more than are asked for at first. The last does not tell its memory.
nvml::Return nvmlDeviceGetComputeRunningProcesses_v2(nvml::Device, unsigned* count, nvml::ProcessV2* list) {
  if (*count < 100) {
    *count = 100;
    return nvml::kInsufficientSize;
  }
  *count = 100;
  for (unsigned i = 0; i < 100; ++i) list[i] = {1000 + i, i == 99 ? nvml::kMemoryNotAvailable : i * 1024ULL, 0, 0};
  return nvml::kSuccess;
}
nvml::Return nvmlDeviceGetProcessUtilization(nvml::Device, nvml::ProcessUtilization* list, unsigned* count,
                                             unsigned long long last_seen) {
  if (*count < 3) return nvml::kInsufficientSize;
  *count = 3;
  list[0] = {1000, last_seen + 1, 20, 0, 0, 0};
  list[1] = {1000, last_seen + 2, 40, 0, 0, 0};
  list[2] = {0, 0, 0, 0, 0, 0};
  return nvml::kSuccess;
}
}
