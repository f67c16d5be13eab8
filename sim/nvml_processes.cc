// Process lists, in every shape that clients ask for.
//
// Which pids a caller sees depends on drivers and pid namespaces. By default a process is shown by its pid in the
// caller's namespace, and one that the caller cannot see is left out. KIBOKO_SIM_NVML_PIDS changes that as some
// drivers do: "host" shows everybody, outsiders by the pid that their own namespace knows; "none" shows nobody.
#include "nvml_processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

using namespace nvml;

namespace nvml {
namespace {

std::uint64_t own_pid_namespace() {
  struct stat info;
  return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

std::string read_text(const char* path) {
  FILE* file = fopen(path, "re");
  if (file == nullptr) return {};
  char text[4096];
  const std::size_t size = fread(text, 1, sizeof text, file);
  fclose(file);
  return std::string(text, size);
}

// Field 22 of /proc/<pid>/stat, counted after the name, which may contain anything.
std::uint64_t start_time_of(const std::string& stat_text) {
  std::size_t at = stat_text.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat_text.find(' ', at + 1);
  return at == std::string::npos ? 0 : strtoull(stat_text.c_str() + at, nullptr, 10);
}

// The last pid of the NSpid line, if the process lives in a namespace below ours; 0 otherwise.
int innermost_pid(const std::string& status_text) {
  const std::size_t line = status_text.find("\nNSpid:");
  if (line == std::string::npos) return 0;
  const std::string pids = status_text.substr(line + 7, status_text.find('\n', line + 1) - line - 7);
  const std::size_t last = pids.find_last_of("\t ");
  const bool nested = pids.find_first_of("0123456789") < last;
  return nested ? atoi(pids.c_str() + last + 1) : 0;
}

// Our pid of a process that calls itself `use.pid` in a namespace below ours; 0 if there is none.
int find_nested(const sim::ProcessUse& use) {
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return 0;
  int found = 0;
  while (const dirent* entry = readdir(proc)) {
    const int pid = atoi(entry->d_name);
    if (pid <= 0) continue;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    if (innermost_pid(read_text(path)) != use.pid) continue;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (start_time_of(read_text(path)) != use.start_time) continue;
    found = pid;
    break;
  }
  closedir(proc);
  return found;
}

}  // namespace

unsigned visible_pid(const sim::ProcessUse& use) {
  const char* view = getenv("KIBOKO_SIM_NVML_PIDS");
  if (view != nullptr && strcmp(view, "none") == 0) return 0;
  if (use.pid_namespace == own_pid_namespace()) return static_cast<unsigned>(use.pid);
  const int pid = find_nested(use);
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

// Accounting is off, as it is after a reboot.
NVML_API nvmlDeviceGetAccountingMode(Handle handle, unsigned* mode) { return constant(__func__, handle, mode, 0U); }
NVML_API nvmlDeviceGetAccountingPids(Handle handle, unsigned* count, unsigned*) {
  return constant(__func__, handle, count, 0U);
}
NVML_API nvmlDeviceGetAccountingBufferSize(Handle handle, unsigned* size) {
  return constant(__func__, handle, size, 4000U);
}
NVML_API nvmlDeviceGetAccountingStats(Handle handle, unsigned, void*) {
  return for_gpu(__func__, handle, [](const Gpu&) { return kNotFound; });
}
