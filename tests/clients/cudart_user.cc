// Lets the real CUDA runtime library, named on the command line, find its driver, and prints what it says.
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

int main(int, char** arguments) {
  void* runtime = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (runtime == nullptr) return puts(dlerror()), 2;
  int version = 0, driver = 0, count = 0;
  size_t free_bytes = 0, total = 0;
  void* memory = nullptr;
  const auto get = [&](const char* name) { return dlsym(runtime, name); };
  const int versions[] = {reinterpret_cast<int (*)(int*)>(get("cudaRuntimeGetVersion"))(&version),
                          reinterpret_cast<int (*)(int*)>(get("cudaDriverGetVersion"))(&driver)};
  printf("versions %d %d: %d %d\n", versions[0], versions[1], version, driver);
  printf("devices %d", reinterpret_cast<int (*)(int*)>(get("cudaGetDeviceCount"))(&count));
  printf(": %d\n", count);
  printf("malloc %d\n", reinterpret_cast<int (*)(void**, size_t)>(get("cudaMalloc"))(&memory, 1 << 20));
  printf("memory %d", reinterpret_cast<int (*)(size_t*, size_t*)>(get("cudaMemGetInfo"))(&free_bytes, &total));
  printf(": %zu\n", total);
  return 0;
}
