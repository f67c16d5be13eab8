// cuDevice*: what a device says of itself.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "context.h"

using namespace sim;

namespace {

constexpr int kAttributes = 148;

bool at_least(const Product& spec, int major, int minor = 0) {
  return spec.compute_major * 10 + spec.compute_minor >= major * 10 + minor;
}

int shared_memory_per_sm(const Product& spec) {
  switch (spec.compute_major * 10 + spec.compute_minor) {
    case 70:
      return 96 * 1024;
    case 75:
      return 64 * 1024;
    case 80:
      return 164 * 1024;
    case 90:
    case 100:
      return 228 * 1024;
    default:
      return 100 * 1024;
  }
}

int shared_memory_optin(const Product& spec) {
  return spec.compute_major < 8 ? shared_memory_per_sm(spec) : shared_memory_per_sm(spec) - 1024;
}

struct Fixed {
  int attribute;
  int value;
};
// The same on every device simulated here.
constexpr Fixed kFixed[] = {
    {1, 1024},   {2, 1024},   {3, 1024},       {4, 64},          {5, 2147483647}, {6, 65535},       {7, 65535},
    {8, 49152},  {9, 65536},  {10, 32},        {11, 2147483647}, {12, 65536},     {14, 512},        {15, 1},
    {17, 0},     {19, 1},     {20, 0},         {21, 131072},     {22, 131072},    {23, 65536},      {24, 16384},
    {25, 16384}, {26, 16384}, {27, 32768},     {28, 32768},      {29, 2048},      {30, 512},        {31, 1},
    {32, 1},     {35, 0},     {40, 3},         {41, 1},          {42, 32768},     {43, 2048},       {44, 1},
    {45, 32768}, {46, 32768}, {47, 8192},      {48, 8192},       {49, 32768},     {51, 32},         {52, 32768},
    {53, 32768}, {54, 2046},  {55, 32768},     {56, 131072},     {57, 65536},     {58, 16384},      {59, 16384},
    {60, 16384}, {61, 32768}, {62, 2048},      {63, 32768},      {64, 32768},     {65, 2048},       {66, 32768},
    {67, 32768}, {68, 2046},  {69, 268435456}, {70, 131072},     {71, 65000},     {72, 2097120},    {73, 32768},
    {74, 32768}, {77, 32768}, {78, 1},         {79, 1},          {80, 1},         {82, 65536},      {83, 1},
    {84, 0},     {86, 0},     {87, 2},         {89, 1},          {90, 1},         {91, 1},          {92, 0},
    {93, 0},     {94, 0},     {95, 1},         {96, 0},          {98, 1},         {99, 1},          {101, 0},
    {102, 1},    {103, 1},    {104, 0},        {105, 0},         {107, 0},        {109, 134213632}, {110, 0},
    {112, 0},    {113, 1},    {114, 0},        {115, 1},         {116, 0},        {117, 1},         {118, 100},
    {119, 1},    {121, 0},    {122, 1},        {123, 1},         {124, 0},        {125, 1},         {128, 0},
    {129, 1},    {130, 0},    {131, -1},       {132, 0},         {133, 0},        {135, 0},         {136, 0},
    {137, 0},    {138, 0},    {141, 0},        {142, 0},         {143, 0},        {144, 0},         {145, 0},
    {146, 0},    {147, 0},
};

CUresult attribute_of(const Device& device, int ordinal, int attribute, int& value) {
  const Product& spec = device.spec;
  switch (attribute) {
    case 13:
      value = static_cast<int>(spec.sm_clock_mhz * 1000);
      return CUDA_SUCCESS;
    case 16:
      value = static_cast<int>(spec.sm_count);
      return CUDA_SUCCESS;
    case 18:   // integrated
    case 88:   // pageable memory access
    case 100:  // by the host's page tables
      value = spec.unified ? 1 : 0;
      return CUDA_SUCCESS;
    case 33:
      value = static_cast<int>(device.pci_bus);
      return CUDA_SUCCESS;
    case 34:
      value = static_cast<int>(device.pci_slot);
      return CUDA_SUCCESS;
    case 36:
      value = static_cast<int>(spec.memory_clock_mhz * 1000);
      return CUDA_SUCCESS;
    case 37:
      value = static_cast<int>(spec.memory_bus_bits);
      return CUDA_SUCCESS;
    case 38:
      value = static_cast<int>(spec.l2_kib * 1024);
      return CUDA_SUCCESS;
    case 39:
      value = static_cast<int>(threads_per_sm(spec));
      return CUDA_SUCCESS;
    case 50:
      value = static_cast<int>(device.pci_domain);
      return CUDA_SUCCESS;
    case 75:
      value = spec.compute_major;
      return CUDA_SUCCESS;
    case 76:
      value = spec.compute_minor;
      return CUDA_SUCCESS;
    case 81:
      value = shared_memory_per_sm(spec);
      return CUDA_SUCCESS;
    case 85:
      value = ordinal;
      return CUDA_SUCCESS;
    case 97:
      value = shared_memory_optin(spec);
      return CUDA_SUCCESS;
    case 106:
      value = at_least(spec, 8, 6) && !at_least(spec, 9) ? 24 : 32;
      return CUDA_SUCCESS;
    case 108:
      value = at_least(spec, 8) ? static_cast<int>(spec.l2_kib * 1024 / 8 * 5) : 0;
      return CUDA_SUCCESS;
    case 111:
      value = at_least(spec, 8) ? 1024 : 0;
      return CUDA_SUCCESS;
    case 120:
    case 127:
      value = at_least(spec, 9) ? 1 : 0;
      return CUDA_SUCCESS;
    case 126:
      value = at_least(spec, 9) ? 4 : 1;
      return CUDA_SUCCESS;
    case 134:
      value = static_cast<int>(device.numa_node);
      return CUDA_SUCCESS;
    case 139:
      value = static_cast<int>(spec.pci_device);
      return CUDA_SUCCESS;
    case 140:
      value = static_cast<int>(spec.pci_subsystem);
      return CUDA_SUCCESS;
    default:
      break;
  }
  for (const Fixed& fixed : kFixed) {
    if (fixed.attribute != attribute) continue;
    value = fixed.value;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult get_uuid(CUuuid* out, CUdevice device) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  memcpy(out->bytes, device_at(device).uuid.bytes, sizeof out->bytes);
  return CUDA_SUCCESS;
}

std::string pci_text(const Device& device) {
  char text[32];
  snprintf(text, sizeof text, "%04x:%02x:%02x.0", device.pci_domain, device.pci_bus, device.pci_slot);
  return text;
}

CUresult copy_text(char* out, int size, const std::string& text) {
  if (out == nullptr || size <= 0) return CUDA_ERROR_INVALID_VALUE;
  snprintf(out, static_cast<std::size_t>(size), "%s", text.c_str());
  return CUDA_SUCCESS;
}

}  // namespace

unsigned sim::threads_per_sm(const Product& spec) {
  if (spec.compute_major == 7 && spec.compute_minor == 5) return 1024;
  return at_least(spec, 8, 6) && !at_least(spec, 9) ? 1536 : 2048;
}

SIM_FN(cuDeviceGetCount, (int* count), (count)) {
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = driver.device_count;
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGet, (CUdevice * device, int ordinal), (device, ordinal)) {
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGetName, (char* name, int size, CUdevice device), (name, size, device)) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  return copy_text(name, size, device_at(device).name);
}
SIM_FN(cuDeviceGetUuid, (CUuuid * out, CUdevice device), (out, device)) { return get_uuid(out, device); }
SIM_FN(cuDeviceGetUuid_v2, (CUuuid * out, CUdevice device), (out, device)) { return get_uuid(out, device); }
SIM_FN(cuDeviceGetPCIBusId, (char* out, int size, CUdevice device), (out, size, device)) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  return copy_text(out, size, pci_text(device_at(device)));
}
SIM_FN(cuDeviceGetByPCIBusId, (CUdevice * out, const char* text), (out, text)) {
  if (out == nullptr || text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  unsigned domain = 0, bus = 0, slot = 0;
  if (sscanf(text, "%x:%x:%x", &domain, &bus, &slot) != 3) {
    domain = 0;
    if (sscanf(text, "%x:%x", &bus, &slot) != 2) return CUDA_ERROR_INVALID_VALUE;
  }
  for (int i = 0; i < driver.device_count; ++i) {
    const Device& device = device_at(i);
    if (device.pci_domain != domain || device.pci_bus != bus || device.pci_slot != slot) continue;
    *out = i;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_DEVICE;
}
SIM_FN(cuDeviceTotalMem_v2, (std::size_t * bytes, CUdevice device), (bytes, device)) {
  if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = device_at(device).memory_total - device_at(device).memory_reserved;
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGetAttribute, (int* out, int attribute, CUdevice device), (out, attribute, device)) {
  if (out == nullptr || attribute < 1 || attribute >= kAttributes) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  return attribute_of(device_at(device), device, attribute, *out);
}
SIM_FN(cuDeviceComputeCapability, (int* major, int* minor, CUdevice device), (major, minor, device)) {
  if (major == nullptr || minor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  *major = device_at(device).spec.compute_major;
  *minor = device_at(device).spec.compute_minor;
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGetProperties, (CUdevprop * out, CUdevice device), (out, device)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  const int clock = static_cast<int>(device_at(device).spec.sm_clock_mhz * 1000);
  *out = {1024, {1024, 1024, 64}, {2147483647, 65535, 65535}, 49152, 65536, 32, 2147483647, 65536, clock, 512};
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGetLuid, (char* luid, unsigned* mask, CUdevice device), (luid, mask, device)) {
  (void)luid;  // a Windows notion
  (void)mask;
  return valid_ordinal(device) ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_DEVICE;
}
SIM_FN(cuDeviceCanAccessPeer, (int* out, CUdevice device, CUdevice other), (out, device, other)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device) || !valid_ordinal(other)) return CUDA_ERROR_INVALID_DEVICE;
  *out = device != other ? 1 : 0;
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGetP2PAttribute, (int* out, int attribute, CUdevice device, CUdevice other),
       (out, attribute, device, other)) {
  if (out == nullptr || attribute < 1 || attribute > 5) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device) || !valid_ordinal(other) || device == other) return CUDA_ERROR_INVALID_DEVICE;
  constexpr int kPerformanceRank = 1;
  *out = attribute == kPerformanceRank ? 0 : 1;
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGetTexture1DLinearMaxWidth, (std::size_t * out, int format, unsigned channels, CUdevice device),
       (out, format, channels, device)) {
  (void)format;
  if (out == nullptr || channels == 0) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  *out = 268435456;
  return CUDA_SUCCESS;
}
SIM_FN(cuDeviceGetExecAffinitySupport, (int* out, int type, CUdevice device), (out, type, device)) {
  (void)type;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  *out = 0;
  return CUDA_SUCCESS;
}
