// Which devices there are and what each one is: nothing here depends on load.
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "nvml_core.h"
#include "spec.h"

using namespace nvml;

namespace {

struct PciAddress {
  unsigned domain, bus, slot, function;
};

bool parse_pci(const char* text, PciAddress& out) {
  char rest = 0;
  out = {0, 0, 0, 0};
  if (sscanf(text, "%x:%x:%x.%x%c", &out.domain, &out.bus, &out.slot, &out.function, &rest) == 4) return true;
  if (sscanf(text, "%x:%x:%x%c", &out.domain, &out.bus, &out.slot, &rest) == 3) return true;
  out.domain = 0;
  return sscanf(text, "%x:%x.%x%c", &out.bus, &out.slot, &out.function, &rest) == 3;
}

void pci_text(const sim::Device& device, int domain_digits, char* out, std::size_t size) {
  snprintf(out, size, "%0*X:%02X:%02X.0", domain_digits, device.pci_domain, device.pci_bus, device.pci_slot);
}

// Something like a serial number, the same for the same device: 13 digits from the identifier.
std::string serial_of(const Gpu& gpu) {
  std::uint64_t number = 0;
  for (const unsigned char byte : gpu.device.uuid.bytes) number = number * 257 + byte;
  char text[24];
  snprintf(text, sizeof text, "16%011llu", static_cast<Ull>(number % 100'000'000'000));
  return text;
}

template <class Matches>
Return find_device(Handle* out, Matches&& matches) {
  if (out == nullptr) return kInvalidArgument;
  for (int i = 0; i < device_count(); ++i) {
    if (!matches(gpu_of(i))) continue;
    *out = handle_of(i);
    return kSuccess;
  }
  return kNotFound;
}

unsigned architecture(const sim::Product& spec) {
  if (spec.compute_major >= 10) return 10;                              // Blackwell
  if (spec.compute_major == 9) return 9;                                // Hopper
  if (spec.compute_major == 8) return spec.compute_minor == 9 ? 8 : 7;  // Ada, Ampere
  return spec.compute_minor == 5 ? 6 : 5;                               // Turing, Volta
}

unsigned cores_per_sm(const sim::Product& spec) {
  const bool wide = spec.compute_major >= 9 || (spec.compute_major == 8 && spec.compute_minor > 0);
  return wide ? 128 : 64;
}

unsigned brand(const Gpu& gpu) {
  if (is_geforce(gpu)) return 5;
  if (strncmp(gpu.device.name, "Tesla", 5) == 0) return 2;
  if (strstr(gpu.device.name, "RTX") != nullptr) return 13;
  return 14;
}

}  // namespace

NVML_API nvmlDeviceGetCount_v2(unsigned* count) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (count == nullptr) return kInvalidArgument;
  *count = static_cast<unsigned>(device_count());
  return kSuccess;
}
NVML_API nvmlDeviceGetCount(unsigned* count) { return nvmlDeviceGetCount_v2(count); }

NVML_API nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle* out) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (out == nullptr || index >= static_cast<unsigned>(device_count())) return kInvalidArgument;
  *out = handle_of(static_cast<int>(index));
  return kSuccess;
}
NVML_API nvmlDeviceGetHandleByIndex(unsigned index, Handle* out) { return nvmlDeviceGetHandleByIndex_v2(index, out); }

NVML_API nvmlDeviceGetHandleByUUID(const char* uuid, Handle* out) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (uuid == nullptr) return kInvalidArgument;
  return find_device(out,
                     [&](const Gpu& gpu) { return strcasecmp(sim::uuid_text(gpu.device.uuid).c_str(), uuid) == 0; });
}

NVML_API nvmlDeviceGetHandleByUUIDV(const UuidRequest* uuid, Handle* out) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (uuid == nullptr) return kInvalidArgument;
  if (uuid->version != version_of<UuidRequest>(1)) return kVersionMismatch;
  if (uuid->type == 1) return nvmlDeviceGetHandleByUUID(uuid->str, out);
  if (uuid->type != 2) return kInvalidArgument;
  return find_device(out, [&](const Gpu& gpu) { return memcmp(gpu.device.uuid.bytes, uuid->bytes, 16) == 0; });
}

NVML_API nvmlDeviceGetHandleBySerial(const char* serial, Handle* out) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (serial == nullptr) return kInvalidArgument;
  return find_device(out, [&](const Gpu& gpu) { return !is_geforce(gpu) && serial_of(gpu) == serial; });
}

NVML_API nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, Handle* out) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  PciAddress address;
  if (bus_id == nullptr || !parse_pci(bus_id, address)) return kInvalidArgument;
  return find_device(out, [&](const Gpu& gpu) {
    const sim::Device& d = gpu.device;
    return d.pci_domain == address.domain && d.pci_bus == address.bus && d.pci_slot == address.slot &&
           address.function == 0;
  });
}
NVML_API nvmlDeviceGetHandleByPciBusId(const char* bus_id, Handle* out) {
  return nvmlDeviceGetHandleByPciBusId_v2(bus_id, out);
}

NVML_API nvmlDeviceGetIndex(Handle handle, unsigned* index) {
  return for_card(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (index == nullptr) return kInvalidArgument;
    *index = static_cast<unsigned>(gpu.index);
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetMinorNumber(Handle handle, unsigned* minor) { return nvmlDeviceGetIndex(handle, minor); }
NVML_API nvmlDeviceGetModuleId(Handle handle, unsigned* module) { return nvmlDeviceGetIndex(handle, module); }

NVML_API nvmlDeviceGetName(Handle handle, char* name, unsigned length) {
  return for_card(__func__, handle, [&](const Gpu& gpu) { return put_text(gpu.device.name, name, length); });
}

NVML_API nvmlDeviceGetUUID(Handle handle, char* uuid, unsigned length) {
  return for_card(__func__, handle,
                  [&](const Gpu& gpu) { return put_text(sim::uuid_text(gpu.device.uuid), uuid, length); });
}

NVML_API nvmlDeviceGetSerial(Handle handle, char* serial, unsigned length) {
  return for_card(__func__, handle, [&](const Gpu& gpu) {
    return is_geforce(gpu) ? kNotSupported : put_text(serial_of(gpu), serial, length);
  });
}

NVML_API nvmlDeviceGetPciInfo_v3(Handle handle, PciInfo* pci) {
  return for_card(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (pci == nullptr) return kInvalidArgument;
    *pci = {};
    pci->domain = gpu.device.pci_domain;
    pci->bus = gpu.device.pci_bus;
    pci->device = gpu.device.pci_slot;
    pci->pciDeviceId = gpu.device.spec.pci_device;
    pci->pciSubSystemId = gpu.device.spec.pci_subsystem;
    pci_text(gpu.device, 4, pci->busIdLegacy, sizeof pci->busIdLegacy);
    pci_text(gpu.device, 8, pci->busId, sizeof pci->busId);
    return kSuccess;
  });
}

NVML_API nvmlDeviceGetPciInfo_v2(Handle handle, PciInfoV2* pci) {
  if (pci == nullptr) return kInvalidArgument;
  PciInfo full;
  const Return code = nvmlDeviceGetPciInfo_v3(handle, &full);
  if (code != kSuccess) return code;
  *pci = {};
  memcpy(pci->busId, full.busIdLegacy, sizeof pci->busId);
  pci->domain = full.domain;
  pci->bus = full.bus;
  pci->device = full.device;
  pci->pciDeviceId = full.pciDeviceId;
  pci->pciSubSystemId = full.pciSubSystemId;
  return kSuccess;
}
NVML_API nvmlDeviceGetPciInfo(Handle handle, PciInfoV2* pci) { return nvmlDeviceGetPciInfo_v2(handle, pci); }

NVML_API nvmlDeviceGetPciInfoExt(Handle handle, PciInfoExt* pci) {
  if (pci == nullptr) return kInvalidArgument;
  if (pci->version != version_of<PciInfoExt>(1)) return kVersionMismatch;
  PciInfo full;
  const Return code = nvmlDeviceGetPciInfo_v3(handle, &full);
  if (code != kSuccess) return code;
  pci->domain = full.domain;
  pci->bus = full.bus;
  pci->device = full.device;
  pci->pciDeviceId = full.pciDeviceId;
  pci->pciSubSystemId = full.pciSubSystemId;
  pci->baseClass = 3;  // display controller, 3D
  pci->subClass = 2;
  memcpy(pci->busId, full.busId, sizeof pci->busId);
  return kSuccess;
}

NVML_API nvmlDeviceGetCudaComputeCapability(Handle handle, int* major, int* minor) {
  return for_card(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (major == nullptr || minor == nullptr) return kInvalidArgument;
    *major = gpu.device.spec.compute_major;
    *minor = gpu.device.spec.compute_minor;
    return kSuccess;
  });
}

NVML_API nvmlDeviceGetArchitecture(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return architecture(gpu.device.spec); });
}
NVML_API nvmlDeviceGetBrand(Handle handle, unsigned* out) { return get(__func__, handle, out, brand); }
NVML_API nvmlDeviceGetNumGpuCores(Handle handle, unsigned* out) {
  return get(__func__, handle, out,
             [](const Gpu& gpu) { return gpu.device.spec.sm_count * cores_per_sm(gpu.device.spec); });
}
NVML_API nvmlDeviceGetMemoryBusWidth(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return gpu.device.spec.memory_bus_bits; });
}
NVML_API nvmlDeviceGetBoardId(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return gpu.device.pci_bus << 8; });
}
NVML_API nvmlDeviceGetVbiosVersion(Handle handle, char* out, unsigned length) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) {
    char text[32];
    snprintf(text, sizeof text, "%02X.00.%02X.00.01", 0x86 + architecture(gpu.device.spec), gpu.device.spec.sm_count);
    return put_text(text, out, length);
  });
}
NVML_API nvmlDeviceGetInforomImageVersion(Handle handle, char* out, unsigned length) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) {
    return is_geforce(gpu) ? kNotSupported : put_text("G500.0200.00.01", out, length);
  });
}
NVML_API nvmlDeviceGetGspFirmwareVersion(Handle handle, char* out) {
  return for_gpu(__func__, handle, [&](const Gpu&) { return put_text(driver_version(), out, 80); });
}
NVML_API nvmlDeviceGetGspFirmwareMode(Handle handle, unsigned* enabled, unsigned* by_default) {
  return for_gpu(__func__, handle, [&](const Gpu&) -> Return {
    if (enabled == nullptr || by_default == nullptr) return kInvalidArgument;
    *enabled = *by_default = 1;
    return kSuccess;
  });
}
NVML_API nvmlDeviceIsMigDeviceHandle(Handle handle, unsigned* out) {
  return for_card(__func__, handle, [&](const Gpu&) -> Return {
    if (out == nullptr) return kInvalidArgument;
    *out = 0;
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetMaxMigDeviceCount(Handle handle, unsigned* out) { return constant(__func__, handle, out, 0U); }
NVML_API nvmlDeviceGetMultiGpuBoard(Handle handle, unsigned* out) { return constant(__func__, handle, out, 0U); }
NVML_API nvmlDeviceGetVirtualizationMode(Handle handle, unsigned* out) { return constant(__func__, handle, out, 0U); }
