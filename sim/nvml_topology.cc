// Where devices sit: processors and memory nodes near them, and links among them.
//
// Devices of one memory node hang on one host bridge. Devices with NVLink are joined directly: a device's links are
// dealt out over the other devices of its kind, evenly, in order.
#include <stdio.h>
#include <stdlib.h>

#include <utility>
#include <vector>

#include "nvml_core.h"

using namespace nvml;

namespace {

constexpr unsigned kInternal = 0, kHostBridge = 30, kSystem = 50;
constexpr unsigned kBits = 8 * sizeof(unsigned long);

// "0-3,8" as a list of ranges; empty if the file is missing.
std::vector<std::pair<unsigned, unsigned>> read_ranges(const std::string& path) {
  std::vector<std::pair<unsigned, unsigned>> ranges;
  FILE* file = fopen(path.c_str(), "re");
  if (file == nullptr) return ranges;
  unsigned first = 0;
  while (fscanf(file, "%u", &first) == 1) {
    unsigned last = first;
    int next = fgetc(file);
    if (next == '-' && fscanf(file, "%u", &last) == 1) next = fgetc(file);
    ranges.emplace_back(first, last);
    if (next != ',') break;
  }
  fclose(file);
  return ranges;
}

std::vector<std::pair<unsigned, unsigned>> cpus_near(const Gpu& gpu) {
  auto ranges = read_ranges("/sys/devices/system/node/node" + std::to_string(gpu.device.numa_node) + "/cpulist");
  return ranges.empty() ? read_ranges("/sys/devices/system/cpu/online") : ranges;  // simulated nodes may outnumber real
}

Return put_bits(const std::vector<std::pair<unsigned, unsigned>>& ranges, unsigned words, unsigned long* out) {
  if (words == 0 || out == nullptr) return kInvalidArgument;
  for (unsigned i = 0; i < words; ++i) out[i] = 0;
  for (const auto& [first, last] : ranges) {
    for (unsigned bit = first; bit <= last && bit / kBits < words; ++bit) out[bit / kBits] |= 1UL << (bit % kBits);
  }
  return kSuccess;
}

std::vector<int> kin_of(const Gpu& gpu) {
  std::vector<int> kin;
  for (int i = 0; i < device_count(); ++i) {
    if (i != gpu.index && strcmp(gpu.shared.devices[i].product, gpu.device.product) == 0) kin.push_back(i);
  }
  return kin;
}

// The device at the other end of a link; -1 if there is nothing.
int peer_of(const Gpu& gpu, unsigned link) {
  const std::vector<int> kin = kin_of(gpu);
  return kin.empty() || link >= gpu.device.spec.nvlinks ? -1 : kin[link % kin.size()];
}

template <class Body>
Return for_link(const char* function, Handle handle, unsigned link, Body&& body) {
  return for_gpu(function, handle, [&](const Gpu& gpu) -> Return {
    if (gpu.device.spec.nvlinks == 0) return kNotSupported;
    return link >= gpu.device.spec.nvlinks ? kInvalidArgument : body(gpu);
  });
}

template <class Body>
Return for_pair(const char* function, Handle a, Handle b, unsigned* out, Body&& body) {
  return get(function, a, out, [&](const Gpu& first) { return body(first, index_of(b)); });
}

unsigned ancestor(const Gpu& gpu, int other) {
  if (gpu.index == other) return kInternal;
  return gpu.device.numa_node == gpu.shared.devices[other].numa_node ? kHostBridge : kSystem;
}

unsigned nvlink_version(const sim::Product& spec) {
  if (spec.compute_major >= 10) return 7;
  if (spec.compute_major == 9) return 6;
  return spec.compute_major == 8 ? 4 : 2;
}

}  // namespace

extern "C" Return nvmlDeviceGetPciInfo_v3(Handle handle, PciInfo* pci);

NVML_API nvmlDeviceGetNumaNodeId(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return gpu.device.numa_node; });
}
NVML_API nvmlDeviceGetCpuAffinity(Handle handle, unsigned words, unsigned long* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) { return put_bits(cpus_near(gpu), words, out); });
}
NVML_API nvmlDeviceGetCpuAffinityWithinScope(Handle handle, unsigned words, unsigned long* out, unsigned) {
  return nvmlDeviceGetCpuAffinity(handle, words, out);
}
NVML_API nvmlDeviceGetMemoryAffinity(Handle handle, unsigned words, unsigned long* out, unsigned) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) {
    return put_bits({{gpu.device.numa_node, gpu.device.numa_node}}, words, out);
  });
}

NVML_API nvmlDeviceGetTopologyCommonAncestor(Handle a, Handle b, unsigned* out) {
  return index_of(b) < 0 ? kInvalidArgument : for_pair(__func__, a, b, out, ancestor);
}

NVML_API nvmlDeviceGetTopologyNearestGpus(Handle handle, unsigned level, unsigned* count, Handle* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) {
    std::vector<Handle> near;
    for (int i = 0; i < device_count(); ++i) {
      if (i != gpu.index && ancestor(gpu, i) == level) near.push_back(handle_of(i));
    }
    return put_array(near, count, out);
  });
}

// The devices near a processor.
NVML_API nvmlSystemGetTopologyGpuSet(unsigned cpu, unsigned* count, Handle* out) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  std::vector<Handle> near;
  for (int i = 0; i < device_count(); ++i) {
    for (const auto& [first, last] : cpus_near(gpu_of(i))) {
      if (cpu >= first && cpu <= last) near.push_back(handle_of(i));
    }
  }
  return put_array(near, count, out);
}

NVML_API nvmlDeviceOnSameBoard(Handle a, Handle b, int* out) {
  return index_of(b) < 0 ? kInvalidArgument : get(__func__, a, out, [&](const Gpu&) { return a == b ? 1 : 0; });
}

NVML_API nvmlDeviceGetP2PStatus(Handle a, Handle b, unsigned capability, unsigned* out) {
  if (index_of(b) < 0) return kInvalidArgument;
  return for_pair(__func__, a, b, out, [&](const Gpu& gpu, int other) {
    constexpr unsigned kNvlink = 2, kOk = 0, kNo = 5;
    if (capability != kNvlink) return kOk;
    for (unsigned link = 0; link < gpu.device.spec.nvlinks; ++link) {
      if (peer_of(gpu, link) == other) return kOk;
    }
    return kNo;
  });
}

NVML_API nvmlDeviceGetNvLinkState(Handle handle, unsigned link, unsigned* active) {
  return for_link(__func__, handle, link, [&](const Gpu& gpu) -> Return {
    if (active == nullptr) return kInvalidArgument;
    *active = peer_of(gpu, link) >= 0 ? 1 : 0;
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetNvLinkVersion(Handle handle, unsigned link, unsigned* version) {
  return for_link(__func__, handle, link, [&](const Gpu& gpu) -> Return {
    if (version == nullptr) return kInvalidArgument;
    *version = nvlink_version(gpu.device.spec);
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetNvLinkCapability(Handle handle, unsigned link, unsigned, unsigned* out) {
  return for_link(__func__, handle, link, [&](const Gpu&) -> Return {
    if (out == nullptr) return kInvalidArgument;
    *out = 1;
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetNvLinkErrorCounter(Handle handle, unsigned link, unsigned, Ull* out) {
  return for_link(__func__, handle, link, [&](const Gpu&) -> Return {
    if (out == nullptr) return kInvalidArgument;
    *out = 0;
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetNvLinkRemotePciInfo_v2(Handle handle, unsigned link, PciInfo* pci) {
  return for_link(__func__, handle, link, [&](const Gpu& gpu) -> Return {
    const int peer = peer_of(gpu, link);
    return peer < 0 ? kNotSupported : nvmlDeviceGetPciInfo_v3(handle_of(peer), pci);
  });
}
NVML_API nvmlDeviceGetNvLinkRemotePciInfo(Handle handle, unsigned link, PciInfo* pci) {
  return nvmlDeviceGetNvLinkRemotePciInfo_v2(handle, link, pci);
}
NVML_API nvmlDeviceGetNvLinkRemoteDeviceType(Handle handle, unsigned link, unsigned* type) {
  return for_link(__func__, handle, link, [&](const Gpu& gpu) -> Return {
    if (type == nullptr) return kInvalidArgument;
    *type = peer_of(gpu, link) >= 0 ? 0 : 0xff;  // a device of the same kind, or unknown
    return kSuccess;
  });
}

// No fabric manager: not part of a fabric.
NVML_API nvmlDeviceGetGpuFabricInfo(Handle handle, FabricInfo* out) {
  return constant(__func__, handle, out, FabricInfo{});
}
NVML_API nvmlDeviceGetGpuFabricInfoV(Handle handle, FabricInfoV2* out) {
  return for_gpu(__func__, handle, [&](const Gpu&) -> Return {
    if (out == nullptr) return kInvalidArgument;
    if (out->version != version_of<FabricInfoV2>(2)) return kVersionMismatch;
    const unsigned version = out->version;
    *out = {};
    out->version = version;
    return kSuccess;
  });
}
