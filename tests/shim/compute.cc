// Launches work in every way there is, as its command line says: KIND COUNT NANOSECONDS …, each answered by one line
// "KIND RESULT"; `await` waits for a line on standard input; `capture` prints how many nodes a capture came to.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <initializer_list>

#include "shim/abi.h"

namespace {

void* driver = nullptr;
CUmodule module = nullptr;
CUfunction function = nullptr;
CUstream stream = nullptr;

template <class F>
F get(const char* name) {
  return reinterpret_cast<F>(dlsym(driver, name));
}

using Launch = CUresult (*)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                            void**, void**);
using LaunchCooperative = CUresult (*)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                       CUstream, void**);
using LaunchEx = CUresult (*)(const CUlaunchConfig*, CUfunction, void**, void**);

CUresult plain(const char* name, void** parameters, CUstream on) {
  return get<Launch>(name)(function, 1, 1, 1, 32, 1, 1, 0, on, parameters, nullptr);
}
CUresult cooperative(const char* name, void** parameters, CUstream on) {
  return get<LaunchCooperative>(name)(function, 1, 1, 1, 32, 1, 1, 0, on, parameters);
}
CUresult extended(const char* name, void** parameters, CUstream on) {
  CUlaunchConfig config{};
  config.grid_x = config.grid_y = config.grid_z = 1;
  config.block_x = 32;
  config.block_y = config.block_z = 1;
  config.stream = on;
  return get<LaunchEx>(name)(&config, function, parameters, nullptr);
}

struct Kind {
  const char* name;
  CUresult (*launch)(const char* name, void** parameters, CUstream on);
};
constexpr Kind kKinds[] = {
    {"cuLaunchKernel", plain},
    {"cuLaunchKernel_ptsz", plain},
    {"cuLaunchKernelEx", extended},
    {"cuLaunchKernelEx_ptsz", extended},
    {"cuLaunchCooperativeKernel", cooperative},
    {"cuLaunchCooperativeKernel_ptsz", cooperative},
};

CUresult begin_capture(CUstream on) { return get<CUresult (*)(CUstream, int)>("cuStreamBeginCapture_v2")(on, 0); }
CUresult end_capture(CUstream on, CUgraph* graph) {
  return get<CUresult (*)(CUstream, CUgraph*)>("cuStreamEndCapture")(on, graph);
}
CUresult synchronize() { return get<CUresult (*)()>("cuCtxSynchronize")(); }

// A graph of one kernel, launched `count` times.
CUresult graphs(unsigned long long count, void** parameters) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  if (const CUresult result = begin_capture(stream); result != CUDA_SUCCESS) return result;
  plain("cuLaunchKernel", parameters, stream);
  if (const CUresult result = end_capture(stream, &graph); result != CUDA_SUCCESS) return result;
  const auto instantiate = get<CUresult (*)(CUgraphExec*, CUgraph, unsigned long long)>("cuGraphInstantiateWithFlags");
  CUresult result = instantiate(&exec, graph, 0);
  for (unsigned long long i = 0; i < count && result == CUDA_SUCCESS; ++i)
    result = get<CUresult (*)(CUgraphExec, CUstream)>("cuGraphLaunch")(exec, stream);
  return result;
}

// Work goes before, a second stream joins by an event after work of its own, and somebody synchronises in between.
void capture(void** parameters) {
  CUstream other = nullptr;
  CUevent fork = nullptr, join = nullptr, outside = nullptr;
  get<CUresult (*)(CUstream*, unsigned)>("cuStreamCreate")(&other, 1);
  for (CUevent* event : {&fork, &join, &outside}) get<CUresult (*)(CUevent*, unsigned)>("cuEventCreate")(event, 0);
  const auto record = get<CUresult (*)(CUevent, CUstream)>("cuEventRecord");
  const auto wait = get<CUresult (*)(CUstream, CUevent, unsigned)>("cuStreamWaitEvent");
  for (int i = 0; i < 3; ++i) plain("cuLaunchKernel", parameters, stream);
  record(outside, stream);
  get<CUresult (*)(CUstream, int)>("cuStreamBeginCapture_v2")(stream, 2);  // relaxed: others may go on
  plain("cuLaunchKernel", parameters, other);
  record(fork, stream);
  wait(other, fork, 0);
  plain("cuLaunchKernel", parameters, stream);
  plain("cuLaunchKernel", parameters, other);
  get<CUresult (*)(CUevent)>("cuEventSynchronize")(outside);
  record(join, other);
  wait(stream, join, 0);
  CUgraph graph = nullptr;
  const CUresult result = end_capture(stream, &graph);
  std::size_t nodes = 0;
  if (result == CUDA_SUCCESS)
    get<CUresult (*)(CUgraph, void*, std::size_t*)>("cuGraphGetNodes")(graph, nullptr, &nodes);
  printf("capture %d nodes %zu\n", result, nodes);
}

// One launch on each of `count` streams.
CUresult streams(unsigned long long count, void** parameters) {
  CUresult result = CUDA_SUCCESS;
  for (unsigned long long i = 0; i < count && result == CUDA_SUCCESS; ++i) {
    CUstream one = nullptr;
    result = get<CUresult (*)(CUstream*, unsigned)>("cuStreamCreate")(&one, 1);
    if (result == CUDA_SUCCESS) result = plain("cuLaunchKernel", parameters, one);
  }
  return result;
}

// One copy or set of a stream, of 4 bytes.
CUresult copy(const char* kind) {
  const auto is = [kind](const char* name) { return strncmp(kind, name, strlen(name)) == 0; };
  static CUdeviceptr memory = 0;
  static unsigned word = 0;
  const auto here = reinterpret_cast<CUdeviceptr>(&word);
  if (memory == 0 && get<CUresult (*)(CUdeviceptr*, std::size_t)>("cuMemAlloc_v2")(&memory, 4096) != CUDA_SUCCESS)
    return CUDA_ERROR_OUT_OF_MEMORY;
  const CUstream on = strstr(kind, "_ptsz") != nullptr ? nullptr : stream;
  if (is("cuMemsetD8Async"))
    return get<CUresult (*)(CUdeviceptr, unsigned char, std::size_t, CUstream)>(kind)(memory, 1, 4, on);
  if (is("cuMemsetD2D32Async"))
    return get<CUresult (*)(CUdeviceptr, std::size_t, unsigned, std::size_t, std::size_t, CUstream)>(kind)(memory, 512,
                                                                                                           1, 1, 1, on);
  const CUdeviceptr to = is("cuMemcpyDtoH") ? here : memory, from = is("cuMemcpyHtoD") ? here : memory + 512;
  return get<CUresult (*)(CUdeviceptr, CUdeviceptr, std::size_t, CUstream)>(kind)(to, from, 4, on);
}

// One launch on each of two devices at a time; the thread stays in the context of the first.
CUresult multi_device(unsigned long long count, void** parameters) {
  CUcontext first = nullptr, second = nullptr;
  CUmodule there = nullptr;
  CUDA_LAUNCH_PARAMS launches[2] = {};
  const auto set_current = get<CUresult (*)(CUcontext)>("cuCtxSetCurrent");
  get<CUresult (*)(CUcontext*)>("cuCtxGetCurrent")(&first);
  launches[0].function = function;
  launches[0].stream = stream;
  CUresult result = get<CUresult (*)(CUcontext*, unsigned, CUdevice)>("cuCtxCreate_v2")(&second, 0, 1);
  if (result == CUDA_SUCCESS) result = get<CUresult (*)(CUmodule*, const void*)>("cuModuleLoadData")(&there, "");
  if (result == CUDA_SUCCESS)
    result = get<CUresult (*)(CUfunction*, CUmodule, const char*)>("cuModuleGetFunction")(&launches[1].function, there,
                                                                                          "kiboko_spin_ns");
  if (result == CUDA_SUCCESS) result = get<CUresult (*)(CUstream*, unsigned)>("cuStreamCreate")(&launches[1].stream, 1);
  set_current(first);
  for (CUDA_LAUNCH_PARAMS& one : launches) {
    one.grid_x = one.grid_y = one.grid_z = one.block_y = one.block_z = 1;
    one.block_x = 32;
    one.kernel_params = parameters;
  }
  const auto launch =
      get<CUresult (*)(CUDA_LAUNCH_PARAMS*, unsigned, unsigned)>("cuLaunchCooperativeKernelMultiDevice");
  for (unsigned long long i = 0; i < count && result == CUDA_SUCCESS; ++i) result = launch(launches, 2, 0);
  set_current(second);
  if (result == CUDA_SUCCESS) result = synchronize();
  set_current(first);
  return result;
}

CUresult run(const char* kind, unsigned long long count, void** parameters) {
  if (strcmp(kind, "multi-device") == 0) return multi_device(count, parameters);
  if (strcmp(kind, "graph") == 0) return graphs(count, parameters);
  if (strcmp(kind, "streams") == 0) return streams(count, parameters);
  for (const Kind& known : kKinds) {
    if (strcmp(kind, known.name) != 0) continue;
    CUresult result = CUDA_SUCCESS;
    for (unsigned long long i = 0; i < count && result == CUDA_SUCCESS; ++i)
      result = known.launch(kind, parameters, strstr(kind, "_ptsz") != nullptr ? nullptr : stream);
    return result;
  }
  if (strncmp(kind, "cuMemcpy", 8) == 0 || strncmp(kind, "cuMemset", 8) == 0) return copy(kind);
  fprintf(stderr, "unknown word '%s'\n", kind);
  exit(2);
}

}  // namespace

int main(int count, char** arguments) {
  driver = dlopen("libcuda.so.1", RTLD_NOW);
  CUcontext context = nullptr;
  if (driver == nullptr || get<CUresult (*)(unsigned)>("cuInit")(0) != CUDA_SUCCESS ||
      get<CUresult (*)(CUcontext*, unsigned, CUdevice)>("cuCtxCreate_v2")(&context, 0, 0) != CUDA_SUCCESS ||
      get<CUresult (*)(CUmodule*, const void*)>("cuModuleLoadData")(&module, "") != CUDA_SUCCESS ||
      get<CUresult (*)(CUfunction*, CUmodule, const char*)>("cuModuleGetFunction")(&function, module,
                                                                                   "kiboko_spin_ns") != CUDA_SUCCESS ||
      get<CUresult (*)(CUstream*, unsigned)>("cuStreamCreate")(&stream, 1) != CUDA_SUCCESS)
    return puts("CUDA does not start"), 1;
  for (int i = 1; i < count; ++i) {
    unsigned long long ns = 1000;
    void* parameters[] = {&ns};
    if (strcmp(arguments[i], "await") == 0) {
      char line[64];
      puts("await");
      fflush(stdout);
      if (fgets(line, sizeof line, stdin) == nullptr) return 3;
    } else if (strcmp(arguments[i], "capture") == 0) {
      capture(parameters);
    } else if (i + 2 < count) {
      const char* kind = arguments[i];
      ns = strtoull(arguments[i + 2], nullptr, 0);
      CUresult result = run(kind, strtoull(arguments[i + 1], nullptr, 0), parameters);
      if (result == CUDA_SUCCESS) result = synchronize();
      printf("%s %d\n", kind, result);
      i += 2;
    }
    fflush(stdout);
  }
  return 0;
}
