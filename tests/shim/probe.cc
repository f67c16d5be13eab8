// The program under test: a list of words on the command line, done one after another, each answered by one line on
// standard output. Linked against libcuda.so.1 as an engine would be; NVML by dlopen, as tools do.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "shim/abi.h"

extern "C" {
CUresult cuDeviceGetCount(int* count);
CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device);
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuStreamCreate(CUstream* stream, unsigned flags);
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name);
}

namespace {

std::vector<std::string> words;
std::size_t next_word = 0;
std::vector<CUdeviceptr> pointers;
CUcontext context = nullptr;
std::string self;

std::string word() { return next_word < words.size() ? words[next_word++] : ""; }
unsigned long long number() { return strtoull(word().c_str(), nullptr, 0); }

void say(const std::string& line) {
  printf("%s\n", line.c_str());
  fflush(stdout);
}
void say(const char* what, CUresult result) { say(std::string(what) + " " + std::to_string(result)); }

void print_devices() {
  int count = 0;
  cuDeviceGetCount(&count);
  for (int i = 0; i < count; ++i) {
    CUuuid u{};
    std::size_t bytes = 0;
    cuDeviceGetUuid_v2(&u, i);
    cuDeviceTotalMem_v2(&bytes, i);
    std::string text = "device GPU-";
    for (int b = 0; b < 16; ++b) {
      char hex[4];
      snprintf(hex, sizeof hex, "%02x", u.bytes[b]);
      text += (b == 4 || b == 6 || b == 8 || b == 10 ? "-" : "") + std::string(hex);
    }
    say(text + " " + std::to_string(bytes));
  }
}

void print_info() {
  std::size_t free = 0, total = 0;
  const CUresult result = cuMemGetInfo_v2(&free, &total);
  say("info " + std::to_string(result) + " " + std::to_string(free) + " " + std::to_string(total));
}

void allocate() {
  CUdeviceptr pointer = 0;
  const CUresult result = cuMemAlloc_v2(&pointer, number());
  if (result == CUDA_SUCCESS) pointers.push_back(pointer);
  say("alloc", result);
}

void fill() {
  const unsigned long long unit = number();
  std::size_t count = 0;
  CUdeviceptr pointer = 0;
  CUresult result;
  while ((result = cuMemAlloc_v2(&pointer, unit)) == CUDA_SUCCESS) {
    pointers.push_back(pointer);
    ++count;
  }
  say("fill " + std::to_string(result) + " " + std::to_string(count));
}

void free_all() {
  CUresult result = CUDA_SUCCESS;
  for (const CUdeviceptr pointer : pointers)
    if (const CUresult one = cuMemFree_v2(pointer); one != CUDA_SUCCESS) result = one;
  pointers.clear();
  say("free-all", result);
}

void launch() {
  const unsigned long long times = number();
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  CUresult result = cuModuleLoadData(&module, "");
  if (result == CUDA_SUCCESS) result = cuModuleGetFunction(&function, module, "kiboko_spin_ns");
  unsigned long long ns = 1000;
  void* parameters[] = {&ns};
  for (unsigned long long i = 0; i < times && result == CUDA_SUCCESS; ++i)
    result = cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr);
  if (result == CUDA_SUCCESS) result = cuCtxSynchronize();
  say("launch", result);
}

// ---- NVML

void* nvml = nullptr;
template <class F>
F* nvml_function(const char* name) {
  return reinterpret_cast<F*>(dlsym(nvml, name));
}

nvmlDevice_t nvml_device() {
  nvmlDevice_t device = nullptr;
  nvml_function<nvmlReturn_t(unsigned, nvmlDevice_t*)>("nvmlDeviceGetHandleByIndex_v2")(static_cast<unsigned>(number()),
                                                                                        &device);
  return device;
}

void nvml_start() {
  nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  say("nvml-init", nvml == nullptr ? -1 : nvml_function<nvmlReturn_t()>("nvmlInit_v2")());
}

void nvml_memory() {
  nvmlMemory_t m{};
  const auto result = nvml_function<decltype(nvmlDeviceGetMemoryInfo)>("nvmlDeviceGetMemoryInfo")(nvml_device(), &m);
  say("nvml-memory " + std::to_string(result) + " " + std::to_string(m.total) + " " + std::to_string(m.used) + " " +
      std::to_string(m.free));
}

void nvml_memory2() {
  nvmlMemory_v2_t m{};
  const std::string version = word();
  m.version = version == "2" ? nvmlMemory_v2 : 0x03000030;
  const auto result =
      nvml_function<decltype(nvmlDeviceGetMemoryInfo_v2)>("nvmlDeviceGetMemoryInfo_v2")(nvml_device(), &m);
  say("nvml-memory2 " + std::to_string(result) + " " + std::to_string(m.total) + " " + std::to_string(m.used) + " " +
      std::to_string(m.free) + " " + std::to_string(m.reserved));
}

// "name room device": asks with that room, prints the answer, the count, and pid:bytes of each; own pid as "self".
template <class Entry>
void nvml_list(const std::string& name) {
  unsigned count = static_cast<unsigned>(number());
  std::vector<Entry> entries(count);
  const auto list = nvml_function<nvmlReturn_t(nvmlDevice_t, unsigned*, Entry*)>(name.c_str());
  const auto result = list(nvml_device(), &count, count == 0 ? nullptr : entries.data());
  std::string text = "nvml-list " + std::to_string(result) + " " + std::to_string(count);
  for (unsigned i = 0; result == 0 && i < count; ++i)
    text += " " + (entries[i].pid == static_cast<unsigned>(getpid()) ? "self" : std::to_string(entries[i].pid)) + ":" +
            std::to_string(entries[i].used);
  say(text);
}

void nvml_details() {
  nvmlProcessDetail_v1_t entries[8];
  nvmlProcessDetailList_v1_t list{nvmlProcessDetailList_v1, 3, static_cast<unsigned>(number()), entries};
  if (list.count == 99) list.version = 7, list.count = 8;
  const auto result = nvml_function<decltype(nvmlDeviceGetRunningProcessDetailList)>(
      "nvmlDeviceGetRunningProcessDetailList")(nvml_device(), &list);
  std::string text = "nvml-details " + std::to_string(result) + " " + std::to_string(list.count);
  for (unsigned i = 0; result == 0 && i < list.count; ++i)
    text += " " + (entries[i].pid == static_cast<unsigned>(getpid()) ? "self" : std::to_string(entries[i].pid)) + ":" +
            std::to_string(entries[i].used);
  say(text);
}

void nvml_utilization() {
  nvmlProcessUtilizationSample_t samples[16];
  unsigned count = 16;
  const auto result = nvml_function<decltype(nvmlDeviceGetProcessUtilization)>("nvmlDeviceGetProcessUtilization")(
      nvml_device(), samples, &count, 0);
  std::string text = "nvml-utilization " + std::to_string(result);
  for (unsigned i = 0; result == 0 && i < count; ++i)
    text += " " + (samples[i].pid == static_cast<unsigned>(getpid()) ? "self" : std::to_string(samples[i].pid));
  say(text);
}

void nvml_utilization_info() {
  nvmlProcessUtilizationInfo_v1_t items[16];
  nvmlProcessesUtilizationInfo_v1_t list{nvmlProcessesUtilizationInfo_v1, 16, 0, items};
  const auto result = nvml_function<decltype(nvmlDeviceGetProcessesUtilizationInfo)>(
      "nvmlDeviceGetProcessesUtilizationInfo")(nvml_device(), &list);
  std::string text = "nvml-utilization-info " + std::to_string(result);
  for (unsigned i = 0; result == 0 && i < list.count; ++i)
    text += " " + (items[i].pid == static_cast<unsigned>(getpid()) ? "self" : std::to_string(items[i].pid));
  say(text);
}

void nvml_rates() {
  nvmlUtilization_t rates{};
  const auto result =
      nvml_function<decltype(nvmlDeviceGetUtilizationRates)>("nvmlDeviceGetUtilizationRates")(nvml_device(), &rates);
  say("nvml-rates " + std::to_string(result) + " " + std::to_string(rates.gpu));
}

// "room pid device": the accounted processes, and what there is about `pid` (0: this one).
void nvml_accounting() {
  unsigned count = static_cast<unsigned>(number()), pids[64] = {};
  const auto pid = static_cast<unsigned>(number());
  nvmlAccountingStats_t stats{};
  const auto device = nvml_device();
  const auto listed = nvml_function<decltype(nvmlDeviceGetAccountingPids)>("nvmlDeviceGetAccountingPids")(
      device, &count, count == 0 ? nullptr : pids);
  const auto known = nvml_function<decltype(nvmlDeviceGetAccountingStats)>("nvmlDeviceGetAccountingStats")(
      device, pid == 0 ? static_cast<unsigned>(getpid()) : pid, &stats);
  std::string text = "nvml-accounting " + std::to_string(listed) + " " + std::to_string(count);
  for (unsigned i = 0; listed == 0 && i < count; ++i)
    text += " " + (pids[i] == static_cast<unsigned>(getpid()) ? "self" : std::to_string(pids[i]));
  say(text + " stats " + std::to_string(known));
}

void nvml_devices() {
  unsigned count = 0;
  const auto result = nvml_function<nvmlReturn_t(unsigned*)>("nvmlDeviceGetCount_v2")(&count);
  std::string text = "nvml-devices " + std::to_string(result) + " " + std::to_string(count);
  for (unsigned i = 0; i < count; ++i) {
    nvmlDevice_t device = nullptr;
    char uuid[96] = "";
    unsigned index = 99;
    nvml_function<nvmlReturn_t(unsigned, nvmlDevice_t*)>("nvmlDeviceGetHandleByIndex_v2")(i, &device);
    nvml_function<nvmlReturn_t(nvmlDevice_t, char*, unsigned)>("nvmlDeviceGetUUID")(device, uuid, sizeof uuid);
    nvml_function<nvmlReturn_t(nvmlDevice_t, unsigned*)>("nvmlDeviceGetIndex")(device, &index);
    text += " " + std::to_string(index) + "=" + uuid;
  }
  nvmlDevice_t beyond = nullptr;
  text += " beyond=" + std::to_string(nvml_function<nvmlReturn_t(unsigned, nvmlDevice_t*)>(
                           "nvmlDeviceGetHandleByIndex_v2")(count, &beyond));
  say(text);
}

// ---- processes

// "fork 2 a b": the child does the next two words and ends, the parent goes on after them.
void fork_here() {
  const auto mine = next_word + 1 + strtoull(words.at(next_word).c_str(), nullptr, 10);
  ++next_word;
  const pid_t child = fork();
  if (child == 0) {
    words.resize(mine);
    return;
  }
  int status = 0;
  waitpid(child, &status, 0);
  say("child " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
  next_word = mine;
}

void exec_here() {
  std::vector<char*> arguments{self.data()};
  for (; next_word < words.size(); ++next_word) arguments.push_back(words[next_word].data());
  arguments.push_back(nullptr);
  execv(self.c_str(), arguments.data());
  say("exec failed");
}

void close_all() {
  for (int fd = 3; fd < 1024; ++fd) close(fd);
  say("closed");
}

// What a library must leave alone: signals, umask, environment, working directory.
void print_surroundings() {
  std::string text = "surroundings";
  FILE* status = fopen("/proc/self/status", "re");
  char line[256];
  while (status != nullptr && fgets(line, sizeof line, status) != nullptr)
    if (strncmp(line, "Sig", 3) == 0 && strncmp(line, "SigQ", 4) != 0) text += " " + std::string(line + 8, 16);
  if (status != nullptr) fclose(status);
  const mode_t mask = umask(0);
  umask(mask);
  unsigned long long sum = 0;
  for (char** variable = environ; *variable != nullptr; ++variable)
    for (const char* c = *variable; *c != 0; ++c) sum = sum * 31 + static_cast<unsigned char>(*c);
  char folder[512] = "";
  if (getcwd(folder, sizeof folder) == nullptr) folder[0] = 0;
  say(text + " " + std::to_string(mask) + " " + std::to_string(sum) + " " + folder);
}

void print_maps() {
  std::string text = "maps";
  FILE* maps = fopen("/proc/self/maps", "re");
  char line[512];
  bool driver = false, shim = false;
  while (maps != nullptr && fgets(line, sizeof line, maps) != nullptr) {
    driver = driver || strstr(line, "/libcuda") != nullptr || strstr(line, "/libnvidia") != nullptr;
    shim = shim || strstr(line, "/libkiboko.so") != nullptr;
  }
  if (maps != nullptr) fclose(maps);
  say(text + (driver ? " driver" : "") + (shim ? " shim" : ""));
}

void check_errno() {
  bool kept = true;
  CUdeviceptr pointer = 0;
  std::size_t free = 0, total = 0;
  errno = 77;
  cuMemGetInfo_v2(&free, &total);
  kept = kept && errno == 77;
  const CUresult result = cuMemAlloc_v2(&pointer, 1 << 20);
  kept = kept && errno == 77;
  cuMemAlloc_v2(&pointer, 1ULL << 55);
  kept = kept && errno == 77;
  cuMemFree_v2(pointer);
  kept = kept && errno == 77;
  say("errno", result == CUDA_SUCCESS && kept ? 0 : 1);
}

// Exits 9 if one of the three standard descriptors is open: somebody took its place.
void check_closed() {
  for (int fd = 0; fd < 3; ++fd)
    if (fcntl(fd, F_GETFD) != -1) exit(9);
}

struct Verb {
  const char* name;
  void (*act)();
};
const Verb kVerbs[] = {
    {"init", [] { say("init", cuInit(0)); }},
    {"devices", print_devices},
    {"context", [] { say("context", cuCtxCreate_v2(&context, 0, static_cast<CUdevice>(number()))); }},
    {"context-end", [] { say("context-end", cuCtxDestroy_v2(context)); }},
    {"primary",
     [] {
       const CUresult result = cuDevicePrimaryCtxRetain(&context, static_cast<CUdevice>(number()));
       say("primary", result != CUDA_SUCCESS ? result : cuCtxSetCurrent(context));
     }},
    {"alloc", allocate},
    {"fill", fill},
    {"free-all", free_all},
    {"info", print_info},
    {"total",
     [] {
       std::size_t bytes = 0;
       const CUresult result = cuDeviceTotalMem_v2(&bytes, static_cast<CUdevice>(number()));
       say("total " + std::to_string(result) + " " + std::to_string(bytes));
     }},
    {"launch", launch},
    {"nvml-open", [] { say("nvml-open", (nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW)) == nullptr); }},
    {"nvml-init", nvml_start},
    {"nvml-devices", nvml_devices},
    {"nvml-memory", nvml_memory},
    {"nvml-memory2", nvml_memory2},
    {"nvml-list1", [] { nvml_list<nvmlProcessInfo_v1_t>(word()); }},
    {"nvml-list2", [] { nvml_list<nvmlProcessInfo_v2_t>(word()); }},
    {"nvml-details", nvml_details},
    {"nvml-rates", nvml_rates},
    {"nvml-accounting", nvml_accounting},
    {"nvml-utilization", nvml_utilization},
    {"nvml-utilization-info", nvml_utilization_info},
    {"await",
     [] {
       char line[64];
       say("await");
       if (fgets(line, sizeof line, stdin) == nullptr) exit(3);
     }},
    {"fork", fork_here},
    {"exec", exec_here},
    {"close-all", close_all},
    {"surroundings", print_surroundings},
    {"maps", print_maps},
    {"errno", check_errno},
    {"still-closed", check_closed},
    {"unset", [] { unsetenv(word().c_str()); }},
    {"pid", [] { say("pid " + std::to_string(getpid())); }},
};

}  // namespace

int main(int count, char** arguments) {
  self = arguments[0];
  for (int i = 1; i < count; ++i) words.emplace_back(arguments[i]);
  while (next_word < words.size()) {
    const std::string name = word();
    bool known = false;
    for (const Verb& verb : kVerbs)
      if (name == verb.name) known = true, verb.act();
    if (!known) return fprintf(stderr, "unknown word '%s'\n", name.c_str()), 2;
  }
  return 0;
}
