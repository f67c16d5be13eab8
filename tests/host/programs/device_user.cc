// A program that uses a GPU, one step at a time: each word of the command line, and then each line of standard input,
// is one step, answered by one line "NAME NUMBER…" on standard output. `hold` as the last word waits for ever.
//
// Like any engine's runtime it finds the driver with dlopen, at its first step that needs it.
#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Bytes = std::size_t;
using Pointer = unsigned long long;

// The driver's functions by their exported names, looked up at each call: nothing here is in a hurry.
template <class... Arguments>
int call(const char* library, const char* name, Arguments... arguments) {
  void* handle = dlopen(library, RTLD_NOW);
  void* found = handle == nullptr ? nullptr : dlsym(handle, name);
  if (found == nullptr) {
    std::fprintf(stderr, "%s: %s\n", name, dlerror());
    std::exit(3);
  }
  return reinterpret_cast<int (*)(Arguments...)>(found)(arguments...);
}
template <class... Arguments>
int cuda(const char* name, Arguments... arguments) {
  return call("libcuda.so.1", name, arguments...);
}
template <class... Arguments>
int nvml(const char* name, Arguments... arguments) {
  return call("libnvidia-ml.so.1", name, arguments...);
}

struct NvmlMemory {
  unsigned long long total, free, used;
};
struct NvmlMemory2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
struct NvmlProcess {
  unsigned pid;
  unsigned long long bytes;
  unsigned gpu_instance, compute_instance;
};
struct Uuid {
  unsigned char bytes[16];
};

std::vector<Pointer> held;
char* self = nullptr;

void answer(const std::string& text) {
  std::puts(text.c_str());
  std::fflush(stdout);
}
std::string text(unsigned long long number) { return " " + std::to_string(number); }

void* nvml_device() {
  void* device = nullptr;
  nvml("nvmlInit_v2");
  nvml("nvmlDeviceGetHandleByIndex_v2", 0U, &device);
  return device;
}

std::string uuid_text(const Uuid& uuid) {
  std::string out = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char hex[4];
    std::snprintf(hex, sizeof hex, "%02x", uuid.bytes[i]);
    out += (i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "") + std::string(hex);
  }
  return out;
}

// init: the device `ordinal` in a context that is current.
int open_device(int ordinal) {
  int device = 0;
  void* context = nullptr;
  if (const int error = cuda("cuInit", 0U)) return error;
  if (const int error = cuda("cuDeviceGet", &device, ordinal)) return error;
  if (const int error = cuda("cuDevicePrimaryCtxRetain", &context, device)) return error;
  return cuda("cuCtxSetCurrent", context);
}

// What the CUDA interface and each of NVML's say of the memory.
std::string memory() {
  Bytes free = 0, total = 0, device_total = 0;
  cuda("cuMemGetInfo_v2", &free, &total);
  cuda("cuDeviceTotalMem_v2", &device_total, 0);
  return text(free) + text(total) + text(device_total);
}
std::string nvml_memory() {
  NvmlMemory one{};
  NvmlMemory2 two{};
  two.version = sizeof two | 2U << 24U;
  void* device = nvml_device();
  nvml("nvmlDeviceGetMemoryInfo", device, &one);
  nvml("nvmlDeviceGetMemoryInfo_v2", device, &two);
  return text(one.total) + text(one.used) + text(two.total) + text(two.used);
}
std::string nvml_processes() {
  unsigned count = 64;
  NvmlProcess processes[64];
  if (const int error = nvml("nvmlDeviceGetComputeRunningProcesses_v3", nvml_device(), &count, processes))
    return " error" + text(static_cast<unsigned>(error));
  std::string out;
  for (unsigned i = 0; i < count; ++i) out += text(processes[i].pid) + text(processes[i].bytes);
  return out;
}
std::string devices() {
  int count = 0;
  std::string out;
  cuda("cuDeviceGetCount", &count);
  for (int i = 0; i < count; ++i) {
    Uuid uuid{};
    cuda("cuDeviceGetUuid", &uuid, i);
    out += " " + uuid_text(uuid);
  }
  return out;
}

int allocate(Bytes bytes) {
  Pointer pointer = 0;
  const int error = cuda("cuMemAlloc_v2", &pointer, bytes);
  if (error == 0) held.push_back(pointer);
  return error;
}
int release() {
  if (held.empty()) return -1;
  const Pointer pointer = held.back();
  held.pop_back();
  return cuda("cuMemFree_v2", pointer);
}
// As much as there is, in ever smaller parts: what an allocator that fills a device does.
std::string fill() {
  Bytes got = 0;
  int refused_with = 0;
  for (Bytes part = Bytes{1} << 34; part >= Bytes{1} << 21; part /= 2)
    while ((refused_with = allocate(part)) == 0) got += part;
  return text(got) + text(static_cast<unsigned>(refused_with));
}

// Launches without waiting, each kernel `ns` long, for so many seconds.
std::string spin(std::uint64_t ns, double seconds) {
  constexpr const char* kPtx =
      ".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry kiboko_spin_ns(.param .u64 ns) { ret; }\n";
  void *module = nullptr, *function = nullptr;
  if (cuda("cuModuleLoadData", &module, kPtx) != 0) return " -1";
  if (cuda("cuModuleGetFunction", &function, module, "kiboko_spin_ns") != 0) return " -1";
  void* parameters[] = {&ns};
  unsigned long long launched = 0;
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (; std::chrono::steady_clock::now() < until; ++launched) {
    const int error = cuda("cuLaunchKernel", function, 64U, 1U, 1U, 128U, 1U, 1U, 0U, static_cast<void*>(nullptr),
                           static_cast<void**>(parameters), static_cast<void**>(nullptr));
    if (error != 0) return " error" + text(static_cast<unsigned>(error));
  }
  return text(launched);
}

// Another process of the same program, which takes `bytes` and holds them. Before this one's own cuInit.
std::string child(const std::string& bytes) {
  int ends[2];
  if (pipe(ends) != 0) return " -1";
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], 1);
    close(ends[0]);
    const std::string step = "alloc " + bytes;
    execl(self, self, "open 0", step.c_str(), "hold", nullptr);
    _exit(127);
  }
  close(ends[1]);
  std::string said;
  char c = 0;
  while (said.find("alloc ") == std::string::npos || said.back() != '\n') {
    if (read(ends[0], &c, 1) != 1) break;
    said += c;
  }
  close(ends[0]);
  const std::size_t last = said.find("alloc ");
  return text(static_cast<unsigned>(pid)) + " " +
         (last == said.npos ? "ended" : said.substr(last, said.size() - last - 1));
}

// So many processes that begin at the same moment; how many of them failed.
std::string crowd(int size) {
  int gate[2];
  if (pipe(gate) != 0) return " -1";
  std::vector<pid_t> pids;
  for (int i = 0; i < size; ++i) {
    const pid_t pid = fork();
    if (pid < 0) break;
    if (pid == 0) {
      close(gate[1]);
      char c = 0;
      if (read(gate[0], &c, 1) != 0) _exit(9);  // the gate opens when its other end is closed
      dup2(2, 1);
      execl(self, self, "require open 0", "require alloc 4194304", "require free", nullptr);
      _exit(127);
    }
    pids.push_back(pid);
  }
  close(gate[0]);
  close(gate[1]);
  unsigned failed = static_cast<unsigned>(size) - static_cast<unsigned>(pids.size());
  for (const pid_t pid : pids) {
    int status = 0;
    waitpid(pid, &status, 0);
    if (status != 0) std::fprintf(stderr, "process %d of the crowd ended with status %d\n", pid, status);
    if (status != 0) ++failed;
  }
  return text(pids.size()) + text(failed);
}

std::string number(int result) { return " " + std::to_string(result); }

void do_step(const std::string& line) {
  const std::size_t space = line.find(' ');
  const std::string step = line.substr(0, space);
  const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
  const auto first = std::strtoull(argument.c_str(), nullptr, 0);
  if (step == "init") return answer("init" + number(cuda("cuInit", 0U)));
  if (step == "open") return answer("open" + number(open_device(static_cast<int>(first))));
  if (step == "memory") return answer("memory" + memory());
  if (step == "nvml") return answer("nvml" + nvml_memory());
  if (step == "processes") return answer("processes" + nvml_processes());
  if (step == "devices") return answer("devices" + devices());
  if (step == "alloc") return answer("alloc" + number(allocate(first)));
  if (step == "free") return answer("free" + number(release()));
  if (step == "fill") return answer("fill" + fill());
  if (step == "child") return answer("child" + child(argument));
  if (step == "crowd") return answer("crowd" + crowd(static_cast<int>(first)));
  if (step == "pid") return answer("pid" + number(getpid()));
  if (step == "variable") {
    const char* value = std::getenv(argument.c_str());
    return answer("variable" + std::string(value == nullptr ? "" : std::string(" ") + value));
  }
  if (step == "spin") {
    char* rest = nullptr;
    const auto ns = std::strtoull(argument.c_str(), &rest, 0);
    return answer("spin" + spin(ns, std::strtod(rest, nullptr)));
  }
  if (step == "become") {  // without the library, in the same process: "become STEP,STEP"
    std::vector<std::string> steps{self};
    for (std::size_t at = 0; at <= argument.size();) {
      const std::size_t comma = std::min(argument.find(',', at), argument.size());
      steps.push_back(argument.substr(at, comma - at));
      at = comma + 1;
    }
    std::vector<char*> words;
    for (std::string& word : steps) words.push_back(word.data());
    words.push_back(nullptr);
    unsetenv("LD_PRELOAD");
    unsetenv("KIBOKO_GRANT");
    execv(self, words.data());
    std::exit(127);
  }
  if (step == "deaf") return (void)signal(SIGTERM, SIG_IGN), answer("deaf");
  if (step == "hold")
    for (;;) pause();
  std::fprintf(stderr, "no such step: %s\n", line.c_str());
  std::exit(2);
}

// A step whose failure ends the program with status 1.
void require(const std::string& line) {
  const bool opens = line.starts_with("open");
  const int result = opens                        ? open_device(0)
                     : line.starts_with("alloc ") ? allocate(std::strtoull(line.c_str() + 6, nullptr, 0))
                                                  : release();
  if (result == 0) return;
  std::fprintf(stderr, "%s: %d\n", line.c_str(), result);
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  self = argv[0];
  for (int i = 1; i < argc; ++i) {
    const std::string step = argv[i];
    if (step.starts_with("require ")) {
      require(step.substr(8));
    } else if (step == "-") {
      char line[4096];
      while (std::fgets(line, sizeof line, stdin) != nullptr) {
        line[std::strcspn(line, "\n")] = 0;
        do_step(line);
      }
    } else {
      do_step(step);
    }
  }
  return 0;
}
