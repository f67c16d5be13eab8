// The few functions of the CUDA driver interface that the examples use, declared here and found at run time.
//
// No header or library of the vendor is needed to build, and the same program runs on a real driver and on the
// simulated one: whichever `libcuda.so.1` the loader finds. One thread, one device, one context.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;

inline constexpr CUresult CUDA_SUCCESS = 0;
inline constexpr CUresult CUDA_ERROR_OUT_OF_MEMORY = 2;
inline constexpr unsigned CU_STREAM_NON_BLOCKING = 1;
inline constexpr unsigned CU_MEM_ATTACH_GLOBAL = 1;
inline constexpr unsigned CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1;

// Some functions exist in several versions under one name in the headers; what the headers call is the numbered one.
#define CUDA_FUNCTIONS(F)                                                                                        \
  F(cuInit, (unsigned flags))                                                                                    \
  F(cuGetErrorName, (CUresult error, const char** name))                                                         \
  F(cuDeviceGet, (CUdevice * device, int ordinal))                                                               \
  F(cuDeviceGetName, (char* name, int length, CUdevice device))                                                  \
  F(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                            \
  F(cuCtxSetCurrent, (CUcontext context))                                                                        \
  F(cuMemGetInfo_v2, (size_t * free, size_t * total))                                                            \
  F(cuMemAlloc_v2, (CUdeviceptr * out, size_t bytes))                                                            \
  F(cuMemAllocManaged, (CUdeviceptr * out, size_t bytes, unsigned flags))                                        \
  F(cuMemFree_v2, (CUdeviceptr address))                                                                         \
  F(cuMemsetD8_v2, (CUdeviceptr address, unsigned char value, size_t bytes))                                     \
  F(cuMemcpyHtoD_v2, (CUdeviceptr to, const void* from, size_t bytes))                                           \
  F(cuMemcpyDtoH_v2, (void* to, CUdeviceptr from, size_t bytes))                                                 \
  F(cuModuleLoadData, (CUmodule * module, const void* image))                                                    \
  F(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char* name))                             \
  F(cuLaunchKernel,                                                                                              \
    (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
     unsigned block_z, unsigned shared_bytes, CUstream stream, void** parameters, void** extra))                 \
  F(cuStreamCreate, (CUstream * stream, unsigned flags))                                                         \
  F(cuStreamSynchronize, (CUstream stream))                                                                      \
  F(cuStreamBeginCapture_v2, (CUstream stream, unsigned mode))                                                   \
  F(cuStreamEndCapture, (CUstream stream, CUgraph * graph))                                                      \
  F(cuGraphInstantiateWithFlags, (CUgraphExec * executable, CUgraph graph, unsigned long long flags))            \
  F(cuGraphLaunch, (CUgraphExec executable, CUstream stream))                                                    \
  F(cuEventCreate, (CUevent * event, unsigned flags))                                                            \
  F(cuEventRecord, (CUevent event, CUstream stream))                                                             \
  F(cuEventSynchronize, (CUevent event))                                                                         \
  F(cuEventElapsedTime, (float* milliseconds, CUevent start, CUevent end))

struct Cuda {
#define CUDA_DECLARE(name, arguments) CUresult(*name) arguments = nullptr;
  CUDA_FUNCTIONS(CUDA_DECLARE)
#undef CUDA_DECLARE
};

inline Cuda cuda;  // filled by cuda_open()

// A kernel that keeps the device busy for as many nanoseconds as its parameter says, by the device's own clock.
// The simulated driver knows it by its name and does not read the code.
inline constexpr const char* kSpinPtx = R"(
.version 6.0
.target sm_50
.address_size 64
.visible .entry kiboko_spin_ns(.param .u64 ns)
{
  .reg .u64 %start, %passed, %wanted;
  .reg .pred %again;
  ld.param.u64 %wanted, [ns];
  mov.u64 %start, %globaltimer;
spin:
  mov.u64 %passed, %globaltimer;
  sub.u64 %passed, %passed, %start;
  setp.lt.u64 %again, %passed, %wanted;
  @%again bra spin;
  ret;
}
)";

// Ends the program with one sentence when a call failed. CUDA_CHECK(cuMemFree_v2(p)) is the way to write it.
inline void cuda_check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  const char* name = "unknown error";
  if (cuda.cuGetErrorName != nullptr) cuda.cuGetErrorName(result, &name);
  std::fprintf(stderr, "%s: %s (%d)\n", call, name, result);
  std::exit(1);
}
#define CUDA_CHECK(call) cuda_check(cuda.call, #call)

// Loads the driver, and makes the first visible device and its primary context current. Returns the device's name.
inline const char* cuda_open() {
  static char name[128];
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "no CUDA driver here (%s); for the simulated one set LD_LIBRARY_PATH to lib/sim\n", dlerror());
    std::exit(1);
  }
#define CUDA_LOAD(function, arguments)                                                  \
  cuda.function = reinterpret_cast<CUresult(*) arguments>(dlsym(library, #function));   \
  if (cuda.function == nullptr) {                                                       \
    std::fprintf(stderr, "libcuda.so.1 has no %s: the driver is too old\n", #function); \
    std::exit(1);                                                                       \
  }
  CUDA_FUNCTIONS(CUDA_LOAD)
#undef CUDA_LOAD
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUDA_CHECK(cuInit(0));
  CUDA_CHECK(cuDeviceGet(&device, 0));
  CUDA_CHECK(cuDeviceGetName(name, sizeof name, device));
  CUDA_CHECK(cuDevicePrimaryCtxRetain(&context, device));
  CUDA_CHECK(cuCtxSetCurrent(context));
  return name;
}

// The spinning kernel, loaded; and its launch on a stream, not waited for.
inline CUfunction load_spin() {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  CUDA_CHECK(cuModuleLoadData(&module, kSpinPtx));
  CUDA_CHECK(cuModuleGetFunction(&function, module, "kiboko_spin_ns"));
  return function;
}

inline void launch_spin(CUfunction spin, CUstream stream, std::uint64_t ns) {
  void* parameters[] = {&ns};
  CUDA_CHECK(cuLaunchKernel(spin, 64, 1, 1, 128, 1, 1, 0, stream, parameters, nullptr));
}
