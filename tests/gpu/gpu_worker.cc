// The part of the GPU checks (check.py) that talks to the driver: one command a line on standard input, one line of
// answer. Runs with and without the library; needs no compiler and no vendor's file where it runs.
//
//   open                       primary context of the first device   -> NAME
//   info                       -> FREE TOTAL, bytes as this program is told
//   take FAMILY BYTES COUNT    alloc, pitch, pool, vmm, array, context, module -> RESULT GIVEN, kept until `drop`
//   fill BYTES                 alloc until one is refused -> RESULT GIVEN
//   drop                       -> 0
//   rate MODE NS SECONDS       async, sync, graph, per-thread, cooperative: spinning kernels -> KERNELS SECONDS
//   share BYTES                -> HANDLE, of memory of its own
//   import HANDLE              -> RESULT, of another program's
//   look-ups                   -> a line each for every hooked function and version, then "."
//   times                      -> MILLISECONDS that cuInit took, which no other command came before
#include <chrono>
#include <cstring>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "../../examples/cuda_min.h"

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

template <class F>
F driver(const char* name) {
  static void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  const auto function = library == nullptr ? nullptr : reinterpret_cast<F>(dlsym(library, name));
  if (function == nullptr) std::fprintf(stderr, "this driver has no %s\n", name), std::exit(1);
  return function;
}

// ---- memory --------------------------------------------------------------------------------------------------------

struct Location {
  int type = 1, id = 0;  // a device
};
struct Properties {
  int type = 1, handle_types = 0;  // pinned
  Location location;
  void* windows = nullptr;
  unsigned char flags[8] = {};
};
struct Access {
  Location location;
  int flags = 3;  // read and write
};
struct ArrayDescriptor {
  std::size_t width, height;
  unsigned format, channels;
};

struct Taken {
  std::string family;
  unsigned long long handle = 0, address = 0;
  std::size_t bytes = 0;
};
std::vector<Taken> taken;

CUresult take_vmm(Taken& one) {
  const Properties properties;
  std::size_t unit = 0;
  driver<CUresult (*)(std::size_t*, const Properties*, int)>("cuMemGetAllocationGranularity")(&unit, &properties, 0);
  one.bytes = (one.bytes + unit - 1) / unit * unit;
  CUresult result = driver<CUresult (*)(unsigned long long*, std::size_t, const Properties*, unsigned long long)>(
      "cuMemCreate")(&one.handle, one.bytes, &properties, 0);
  if (result != CUDA_SUCCESS) return result;
  result = driver<CUresult (*)(CUdeviceptr*, std::size_t, std::size_t, CUdeviceptr, unsigned long long)>(
      "cuMemAddressReserve")(&one.address, one.bytes, 0, 0, 0);
  if (result != CUDA_SUCCESS) return result;
  result = driver<CUresult (*)(CUdeviceptr, std::size_t, std::size_t, unsigned long long, unsigned long long)>(
      "cuMemMap")(one.address, one.bytes, 0, one.handle, 0);
  if (result != CUDA_SUCCESS) return result;
  const Access access;
  return driver<CUresult (*)(CUdeviceptr, std::size_t, const Access*, std::size_t)>("cuMemSetAccess")(
      one.address, one.bytes, &access, 1);
}

CUresult take(Taken& one) {
  if (one.family == "alloc") return cuda.cuMemAlloc_v2(&one.address, one.bytes);
  if (one.family == "vmm") return take_vmm(one);
  if (one.family == "pitch") {
    std::size_t pitch = 0;
    return driver<CUresult (*)(CUdeviceptr*, std::size_t*, std::size_t, std::size_t, unsigned)>("cuMemAllocPitch_v2")(
        &one.address, &pitch, 1000, one.bytes / 1000, 4);
  }
  if (one.family == "pool") {
    const CUresult result =
        driver<CUresult (*)(CUdeviceptr*, std::size_t, CUstream)>("cuMemAllocAsync")(&one.address, one.bytes, nullptr);
    return result == CUDA_SUCCESS ? cuda.cuStreamSynchronize(nullptr) : result;
  }
  if (one.family == "array") {
    const ArrayDescriptor descriptor{1024, one.bytes / 4096, 0x20, 1};  // float
    return driver<CUresult (*)(unsigned long long*, const ArrayDescriptor*)>("cuArrayCreate_v2")(&one.handle,
                                                                                                 &descriptor);
  }
  if (one.family == "context") {
    CUcontext before = nullptr;
    driver<CUresult (*)(CUcontext*)>("cuCtxGetCurrent")(&before);
    const CUresult result =
        driver<CUresult (*)(unsigned long long*, unsigned, CUdevice)>("cuCtxCreate_v2")(&one.handle, 0, 0);
    cuda.cuCtxSetCurrent(before);
    return result;
  }
  if (one.family == "module") return cuda.cuModuleLoadData(reinterpret_cast<CUmodule*>(&one.handle), kSpinPtx);
  std::fprintf(stderr, "unknown family '%s'\n", one.family.c_str());
  std::exit(2);
}

void drop(const Taken& one) {
  if (one.family == "vmm") {
    driver<CUresult (*)(CUdeviceptr, std::size_t)>("cuMemUnmap")(one.address, one.bytes);
    driver<CUresult (*)(unsigned long long)>("cuMemRelease")(one.handle);
    driver<CUresult (*)(CUdeviceptr, std::size_t)>("cuMemAddressFree")(one.address, one.bytes);
  } else if (one.family == "pool") {
    driver<CUresult (*)(CUdeviceptr, CUstream)>("cuMemFreeAsync")(one.address, nullptr);
    cuda.cuStreamSynchronize(nullptr);
  } else if (one.family == "array") {
    driver<CUresult (*)(unsigned long long)>("cuArrayDestroy")(one.handle);
  } else if (one.family == "context") {
    driver<CUresult (*)(unsigned long long)>("cuCtxDestroy_v2")(one.handle);
  } else if (one.family == "module") {
    driver<CUresult (*)(unsigned long long)>("cuModuleUnload")(one.handle);
  } else {
    cuda.cuMemFree_v2(one.address);
  }
}

std::string take_many(const std::string& family, std::size_t bytes, unsigned long long count) {
  unsigned long long given = 0;
  CUresult result = CUDA_SUCCESS;
  for (; given < count; ++given) {
    Taken one{family, 0, 0, bytes};
    if ((result = take(one)) != CUDA_SUCCESS) break;
    taken.push_back(one);
  }
  return std::to_string(result) + " " + std::to_string(given);
}

// ---- work ----------------------------------------------------------------------------------------------------------

using Launch = CUresult (*)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                            void**, void**);

std::string rate(const std::string& mode, std::uint64_t ns, double seconds) {
  constexpr int kGraphKernels = 8;
  static const CUfunction spin = load_spin();
  CUstream stream = nullptr;
  CUDA_CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  if (mode == "per-thread") stream = nullptr;
  void* parameters[] = {&ns};
  const auto per_thread = mode == "per-thread" ? driver<Launch>("cuLaunchKernel_ptsz") : nullptr;
  using Cooperative =
      CUresult (*)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**);
  const auto cooperative = mode == "cooperative" ? driver<Cooperative>("cuLaunchCooperativeKernel") : nullptr;
  CUgraphExec graph = nullptr;
  if (mode == "graph") {
    CUgraph recorded = nullptr;
    CUDA_CHECK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    for (int i = 0; i < kGraphKernels; ++i) launch_spin(spin, stream, ns);
    CUDA_CHECK(cuStreamEndCapture(stream, &recorded));
    CUDA_CHECK(cuGraphInstantiateWithFlags(&graph, recorded, 0));
  }
  const auto go = [&] {
    if (graph != nullptr) return cuda.cuGraphLaunch(graph, stream);
    if (per_thread != nullptr) return per_thread(spin, 64, 1, 1, 128, 1, 1, 0, stream, parameters, nullptr);
    if (cooperative != nullptr) return cooperative(spin, 64, 1, 1, 128, 1, 1, 0, stream, parameters);
    return cuda.cuLaunchKernel(spin, 64, 1, 1, 128, 1, 1, 0, stream, parameters, nullptr);
  };
  const std::uint64_t each = graph != nullptr ? kGraphKernels : 1;
  // So many between two waits that a wait costs nothing beside them, and that the end is not missed by much.
  const std::uint64_t batch = mode == "sync" ? 1 : std::max<std::uint64_t>(1, 20'000'000 / (ns * each));
  const auto run = [&](double span, std::uint64_t* kernels) {
    const auto begin = Clock::now();
    while (since(begin) < span) {
      for (std::uint64_t i = 0; i < batch; ++i, *kernels += each)
        if (const CUresult result = go(); result != CUDA_SUCCESS) cuda_check(result, "launch");
      if (per_thread != nullptr)
        cuda_check(driver<CUresult (*)(CUstream)>("cuStreamSynchronize_ptsz")(stream), "wait");
      else
        CUDA_CHECK(cuStreamSynchronize(stream));
    }
    return since(begin);
  };
  std::uint64_t kernels = 0;
  run(0.5, &kernels);  // until the price of a kernel is known and saved credit is used up
  kernels = 0;
  const double took = run(seconds, &kernels);
  return std::to_string(kernels) + " " + std::to_string(took);
}

// ---- between programs ----------------------------------------------------------------------------------------------

struct Handle {
  unsigned char bytes[64];
};

std::string share(std::size_t bytes) {
  Taken one{"alloc", 0, 0, bytes};
  cuda_check(take(one), "cuMemAlloc");
  taken.push_back(one);
  Handle handle;
  cuda_check(driver<CUresult (*)(Handle*, CUdeviceptr)>("cuIpcGetMemHandle")(&handle, one.address),
             "cuIpcGetMemHandle");
  std::string text;
  for (const unsigned char byte : handle.bytes) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", byte);
    text += hex;
  }
  return text;
}

std::string import(const std::string& text) {
  Handle handle{};
  for (std::size_t i = 0; i < sizeof handle.bytes && 2 * i + 1 < text.size(); ++i)
    handle.bytes[i] = static_cast<unsigned char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  CUdeviceptr address = 0;
  return std::to_string(
      driver<CUresult (*)(CUdeviceptr*, Handle, unsigned)>("cuIpcOpenMemHandle_v2")(&address, handle, 1));
}

// ---- look-ups ------------------------------------------------------------------------------------------------------

const char* whose(void* address) {
  Dl_info info;
  if (address == nullptr) return "nobody's";
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "unknown";
  return std::strstr(info.dli_fname, "libkiboko") != nullptr ? "ours" : "driver's";
}

void look_up() {
  using GetProc = CUresult (*)(const char*, void**, int, unsigned long long, int*);
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  const auto get = driver<GetProc>("cuGetProcAddress_v2");
  struct Row {
    const char *symbol, *base;
  };
#define CUDA_HOOK(symbol, base, version, mode) {#symbol, #base},
#define NVML_HOOK(symbol)
  const Row rows[] = {
#include "shim/hooks.def"
  };
#undef CUDA_HOOK
#undef NVML_HOOK
  std::string last;
  for (const Row& row : rows) {
    std::cout << "dlsym " << row.symbol << " = " << whose(dlsym(library, row.symbol)) << "\n";
    if (row.base == last) continue;
    last = row.base;
    for (const int version : {2000, 3020, 4000, 7000, 9000, 10000, 11000, 11020, 11040, 12000, 12050, 13000, 13010})
      for (const unsigned long long flags : {0ULL, 2ULL}) {
        void* function = nullptr;
        int status = -1;
        const CUresult result = get(row.base, &function, version, flags, &status);
        std::cout << "get " << row.base << " " << version << " " << flags << " = " << result << " " << status << " "
                  << whose(function) << "\n";
      }
  }
  std::cout << "." << std::endl;
}

std::string answer(const std::string& line) {
  std::istringstream words(line);
  std::string command, text, third;
  words >> command;
  std::size_t bytes = 0;
  if (command == "open") return cuda_open();
  if (command == "info") {
    std::size_t free = 0, total = 0;
    CUDA_CHECK(cuMemGetInfo_v2(&free, &total));
    return std::to_string(free) + " " + std::to_string(total);
  }
  if (command == "take") {
    unsigned long long count = 0;
    words >> text >> bytes >> count;
    return take_many(text, bytes, count);
  }
  if (command == "fill") {
    words >> bytes;
    return take_many("alloc", bytes, 1'000'000);
  }
  if (command == "drop") {
    while (!taken.empty()) drop(taken.back()), taken.pop_back();
    return "0";
  }
  if (command == "rate") {
    std::uint64_t ns = 0;
    double seconds = 0;
    words >> text >> ns >> seconds;
    return rate(text, ns, seconds);
  }
  if (command == "share") {
    words >> bytes;
    return share(bytes);
  }
  if (command == "import") {
    words >> text;
    return import(text);
  }
  if (command == "times") {
    const auto begin = Clock::now();
    cuda_check(driver<CUresult (*)(unsigned)>("cuInit")(0), "cuInit");
    return std::to_string(since(begin) * 1000);
  }
  std::fprintf(stderr, "unknown command '%s'\n", command.c_str());
  std::exit(2);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "look-ups")
      look_up();
    else
      std::cout << answer(line) << std::endl;
  }
}
