// Process lists, in every shape that clients ask for.
//
// Which pids a caller sees depends on drivers and pid namespaces. By default a process is shown by its pid in the
// caller's namespace, and one that the caller cannot see is left out. KIBOKO_SIM_NVML_PIDS changes that as some
// drivers do: "host" shows everybody, outsiders by the pid that their own namespace knows; "none" shows nobody.
#include "nvml_processes.h"

#include <stdlib.h>
#include <string.h>

#include "nvml_pids.h"

using namespace nvml;

namespace nvml {

unsigned visible_pid(const sim::ProcessUse& use) {
  const char* view = getenv("KIBOKO_SIM_NVML_PIDS");
  if (view != nullptr && strcmp(view, "none") == 0) return 0;
  const int pid = sim::pid_for_caller(use);
  if (pid == 0 && view != nullptr && strcmp(view, "host") == 0) return static_cast<unsigned>(use.pid);
  return static_cast<unsigned>(pid);
}

std::vector<VisibleProcess> visible_processes(const Gpu& gpu, bool with_dead) {
  std::vector<VisibleProcess> all;
  for (const sim::ProcessUse& use : sim::processes_of(gpu.shared, gpu.index, with_dead)) {
    if (const unsigned pid = visible_pid(use); pid != 0) all.push_back({pid, use});
  }
  return all;
}

}  // namespace nvml

namespace {

template <class Info>
std::vector<Info> compute_processes(const Gpu& gpu) {
  std::vector<Info> list;
  for (const VisibleProcess& process : visible_processes(gpu)) {
    Info info{};
    info.pid = process.pid;
    info.usedGpuMemory = process.use.memory_used;
    if constexpr (requires { info.gpuInstanceId; }) info.gpuInstanceId = info.computeInstanceId = kNoInstance;
    list.push_back(info);
  }
  return list;
}

template <class Info>
Return put_processes(const char* function, Handle handle, unsigned* count, Info* out) {
  return for_gpu(function, handle, [&](const Gpu& gpu) { return put_array(compute_processes<Info>(gpu), count, out); });
}

// No simulated process draws, and none runs under the multi-process service.
Return put_none(const char* function, Handle handle, unsigned* count) { return constant(function, handle, count, 0U); }

}  // namespace

NVML_API nvmlDeviceGetComputeRunningProcesses(Handle handle, unsigned* count, ProcessInfoV1* out) {
  return put_processes(__func__, handle, count, out);
}
NVML_API nvmlDeviceGetComputeRunningProcesses_v2(Handle handle, unsigned* count, ProcessInfoV2* out) {
  return put_processes(__func__, handle, count, out);
}
NVML_API nvmlDeviceGetComputeRunningProcesses_v3(Handle handle, unsigned* count, ProcessInfoV2* out) {
  return put_processes(__func__, handle, count, out);
}

#define NVML_NO_PROCESSES(name) \
  NVML_API name(Handle handle, unsigned* count, void*) { return put_none(__func__, handle, count); }
NVML_NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses)
NVML_NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2)
NVML_NO_PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3)
NVML_NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses)
NVML_NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2)
NVML_NO_PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3)
#undef NVML_NO_PROCESSES

NVML_API nvmlDeviceGetRunningProcessDetailList(Handle handle, ProcessDetailList* list) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    constexpr unsigned kCompute = 0, kAllModes = 3;
    if (list == nullptr || list->mode > kAllModes) return kInvalidArgument;
    if (list->version != version_of<ProcessDetailList>(1)) return kVersionMismatch;
    std::vector<ProcessDetail> found;
    if (list->mode == kCompute || list->mode == kAllModes) found = compute_processes<ProcessDetail>(gpu);
    return put_array(found, &list->numProcArrayEntries, list->procArray);
  });
}

// Accounting is off, as it is after a reboot; KIBOKO_SIM_NVML_ACCOUNTING=1 has it on, for processes that work.
namespace {
bool accounts() {
  const char* on = getenv("KIBOKO_SIM_NVML_ACCOUNTING");
  return on != nullptr && strcmp(on, "1") == 0;
}
}  // namespace

NVML_API nvmlDeviceGetAccountingMode(Handle handle, unsigned* mode) {
  return constant(__func__, handle, mode, accounts() ? 1U : 0U);
}
NVML_API nvmlDeviceGetAccountingPids(Handle handle, unsigned* count, unsigned* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    std::vector<unsigned> pids;
    for (const VisibleProcess& process : visible_processes(gpu))
      if (accounts()) pids.push_back(process.pid);
    return put_array(pids, count, out);
  });
}
NVML_API nvmlDeviceGetAccountingBufferSize(Handle handle, unsigned* size) {
  return constant(__func__, handle, size, 4000U);
}
NVML_API nvmlDeviceGetAccountingStats(Handle handle, unsigned pid, AccountingStats* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (out == nullptr) return kInvalidArgument;
    for (const VisibleProcess& process : visible_processes(gpu)) {
      if (!accounts() || process.pid != pid) continue;
      *out = {};
      out->maxMemoryUsage = process.use.memory_used;
      out->isRunning = 1;
      return kSuccess;
    }
    return kNotFound;
  });
}
