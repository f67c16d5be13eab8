// Asks for every hooked function, and some that are not, in every way a program can, and prints what each way
// gave. The test runs this with and without the interposer and compares line by line.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <string>

// A weak reference to each: null where this driver has no such function.
#define CUDA_HOOK(symbol, base, version, mode) extern "C" void symbol() __attribute__((weak));
#define NVML_HOOK(symbol) extern "C" void symbol() __attribute__((weak));
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK

namespace {

struct Name {
  const char* symbol;
  const char* base;
  void* linked;
};
const Name kNames[] = {
#define CUDA_HOOK(symbol, base, version, mode) {#symbol, #base, reinterpret_cast<void*>(&symbol)},
#define NVML_HOOK(symbol) {#symbol, nullptr, reinterpret_cast<void*>(&symbol)},
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
};
const char* const kOthers[] = {"cuMemAdvise",
                               "cuMemAdvise_v2",
                               "cuEventRecord",
                               "cuEventRecord_ptsz",
                               "cuMemAlloc_v3",
                               "cuMemFree_v3",
                               "cuDeviceGet",
                               "cuNoSuchThing",
                               "cublasCreate_v2",
                               "cu",
                               "",
                               "nvmlNoSuch",
                               "nvmlInit_v2",
                               "malloc",
                               "dlsym",
                               "dlopen",
                               "curl_easy_init",
                               "nv"};

void* cuda = nullptr;
void* nvml = nullptr;
const char* (*variant_at)(const void*) = nullptr;

std::string name_of(void* address) {
  if (address == nullptr) return "null";
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "unknown";
  const char* slash = strrchr(info.dli_fname, '/');
  std::string text = std::string(slash != nullptr ? slash + 1 : info.dli_fname) + ":";
  if (info.dli_saddr == address && info.dli_sname != nullptr) return text + info.dli_sname;
  const char* variant = variant_at != nullptr ? variant_at(address) : nullptr;
  if (variant != nullptr) return text + "inner " + variant;
  char offset[32];
  snprintf(offset, sizeof offset, "+%lx",
           static_cast<unsigned long>(static_cast<char*>(address) - static_cast<char*>(info.dli_fbase)));
  return text + offset;
}

void print(const char* route, const char* name, void* address) {
  const char* error = address == nullptr ? dlerror() : nullptr;
  const char* reason = error != nullptr ? strstr(error, "undefined symbol") : nullptr;
  printf("%s %s = %s%s%s\n", route, name, name_of(address).c_str(), reason != nullptr ? " " : "",
         reason != nullptr ? reason : "");
}

void by_dlsym(const char* name, bool ours) {
  dlerror();
  print("cuda-handle", name, dlsym(cuda, name));
  print("nvml-handle", name, dlsym(nvml, name));
  print("default", name, dlsym(RTLD_DEFAULT, name));
  print("default-again", name, dlsym(RTLD_DEFAULT, name));
  print("next", name, dlsym(RTLD_NEXT, name));
  print("next-again", name, dlsym(RTLD_NEXT, name));
  print("program-handle", name, dlsym(dlopen(nullptr, RTLD_NOW), name));
  if (ours) print("dlvsym", name, dlvsym(cuda, name, "GLIBC_2.2.5"));
}

using GetProc = int (*)(const char*, void**, int, unsigned long long);
using GetProc2 = int (*)(const char*, void**, int, unsigned long long, int*);

void by_version(const char* route, GetProc v1, GetProc2 v2, const char* base) {
  for (const int version : {2000,  3020,  4000,  6050,  7000,  8000,  9000,  10000, 10010, 10020, 11000, 11020, 11030,
                            11040, 11060, 12000, 12020, 12030, 12050, 12080, 13000, 13010, 13020, 14000, 20000})
    for (const unsigned long long flags : {0ULL, 1ULL, 2ULL}) {
      void *one = nullptr, *two = nullptr;
      int status = -1;
      const int first = v1(base, &one, version, flags), second = v2(base, &two, version, flags, &status);
      printf("%s v1 %s %d %llu = %d %s\n", route, base, version, flags, first, name_of(one).c_str());
      printf("%s v2 %s %d %llu = %d %d %s\n", route, base, version, flags, second, status, name_of(two).c_str());
    }
}

template <class F>
F function(void* pointer) {
  return reinterpret_cast<F>(pointer);
}

}  // namespace

extern "C" void* other_next(const char* name) __attribute__((weak));
extern "C" void* other_default(const char* name) __attribute__((weak));

int main() {
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (cuda == nullptr || nvml == nullptr) return fprintf(stderr, "%s\n", dlerror()), 2;
  variant_at = function<const char* (*)(const void*)>(dlsym(cuda, "standin_variant_at"));
  for (const Name& name : kNames) {
    print("link", name.symbol, name.linked);
    by_dlsym(name.symbol, true);
    print("other-next", name.symbol, other_next(name.symbol));
    print("other-default", name.symbol, other_default(name.symbol));
  }
  for (const char* name : kOthers) by_dlsym(name, false);

  const auto v1 = function<GetProc>(dlsym(cuda, "cuGetProcAddress"));
  const auto v2 = function<GetProc2>(dlsym(cuda, "cuGetProcAddress_v2"));
  void *inner1 = nullptr, *inner2 = nullptr;
  v1("cuGetProcAddress", &inner1, 11030, 0);
  v1("cuGetProcAddress", &inner2, 12000, 0);
  const char* last = "";
  for (const Name& name : kNames) {
    if (name.base == nullptr || strcmp(name.base, last) == 0) continue;
    last = name.base;
    by_version("dlsym", v1, v2, name.base);
    by_version("itself", function<GetProc>(inner1), function<GetProc2>(inner2), name.base);
  }
  for (const char* name : {"cuMemAdvise", "cuEventRecord", "cuEventElapsedTime", "cuNoSuchThing", "cublasCreate", ""})
    by_version("dlsym", v1, v2, name);
  return 0;
}
