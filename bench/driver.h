// The driver functions that the benchmarks' programs call, found by name: no benchmark needs the vendor's headers.
#pragma once

#include <dlfcn.h>

#include <cstddef>

namespace kiboko::bench {

struct Driver {
  using Pointer = unsigned long long;

  void* library = nullptr;
  int (*init)(unsigned) = nullptr;
  int (*device_uuid)(unsigned char*, int) = nullptr;
  int (*context_create)(void**, unsigned, int) = nullptr;
  int (*synchronize)() = nullptr;
  int (*memory_info)(std::size_t*, std::size_t*) = nullptr;
  int (*allocate)(Pointer*, std::size_t) = nullptr;
  int (*release)(Pointer) = nullptr;
  int (*module_load)(void**, const void*) = nullptr;
  int (*module_function)(void**, void*, const char*) = nullptr;
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                void**) = nullptr;
  int (*get_proc)(const char*, void**, int, unsigned long long, int*) = nullptr;
  int (*stream_create)(void**, unsigned) = nullptr;
  int (*stream_synchronize)(void*) = nullptr;
  int (*begin_capture)(void*, int) = nullptr;
  int (*end_capture)(void*, void**) = nullptr;
  int (*graph_instantiate)(void**, void*, unsigned long long) = nullptr;
  int (*graph_launch)(void*, void*) = nullptr;

  // False: there is no driver, or it lacks one of these.
  bool open() {
    library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    return find(init, "cuInit") && find(device_uuid, "cuDeviceGetUuid_v2") && find(context_create, "cuCtxCreate_v2") &&
           find(synchronize, "cuCtxSynchronize") && find(memory_info, "cuMemGetInfo_v2") &&
           find(allocate, "cuMemAlloc_v2") && find(release, "cuMemFree_v2") && find(module_load, "cuModuleLoadData") &&
           find(module_function, "cuModuleGetFunction") && find(launch, "cuLaunchKernel") &&
           find(get_proc, "cuGetProcAddress_v2") && find(stream_create, "cuStreamCreate") &&
           find(stream_synchronize, "cuStreamSynchronize") && find(begin_capture, "cuStreamBeginCapture_v2") &&
           find(end_capture, "cuStreamEndCapture") && find(graph_instantiate, "cuGraphInstantiateWithFlags") &&
           find(graph_launch, "cuGraphLaunch");
  }

 private:
  template <class F>
  bool find(F& target, const char* name) const {
    target = reinterpret_cast<F>(dlsym(library, name));
    return target != nullptr;
  }
};

}  // namespace kiboko::bench
