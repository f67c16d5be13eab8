// Preloaded in front of everything else: writes down every look-up of a driver function, by dlsym and by
// cuGetProcAddress, and what it gave, to the file LOOK_UPS.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>

namespace {

using Dlsym = void* (*)(void*, const char*);
using GetProc = int (*)(const char*, void**, int, unsigned long long);
using GetProc2 = int (*)(const char*, void**, int, unsigned long long, int*);
GetProc get_proc = nullptr;
GetProc2 get_proc_2 = nullptr;

std::string name_of(void* address) {
  Dl_info info;
  if (address == nullptr) return "null";
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "unknown";
  const char* slash = strrchr(info.dli_fname, '/');
  const std::string file = slash != nullptr ? slash + 1 : info.dli_fname;
  return file + ":" + (info.dli_saddr == address && info.dli_sname != nullptr ? info.dli_sname : "inner");
}

FILE* file() {
  static FILE* const out = fopen(getenv("LOOK_UPS"), "w");
  return out;
}

void* wrapped(const char* symbol, int version, void* found);

int recorded(const char* symbol, void** function, int version, unsigned long long flags) {
  const int result = get_proc(symbol, function, version, flags);
  fprintf(file(), "cuGetProcAddress %s %d %llu = %d %s\n", symbol, version, flags, result,
          name_of(result == 0 ? *function : nullptr).c_str());
  if (result == 0) *function = wrapped(symbol, version, *function);
  return result;
}
int recorded_2(const char* symbol, void** function, int version, unsigned long long flags, int* status) {
  const int result = get_proc_2(symbol, function, version, flags, status);
  fprintf(file(), "cuGetProcAddress_v2 %s %d %llu = %d %d %s\n", symbol, version, flags, result,
          status != nullptr ? *status : -1, name_of(result == 0 ? *function : nullptr).c_str());
  if (result == 0) *function = wrapped(symbol, version, *function);
  return result;
}

// What is found may be used for further look-ups.
void* wrapped(const char* symbol, int version, void* found) {
  if (strcmp(symbol, "cuGetProcAddress") != 0 || found == nullptr) return found;
  if (version < 12000) return get_proc = reinterpret_cast<GetProc>(found), reinterpret_cast<void*>(recorded);
  return get_proc_2 = reinterpret_cast<GetProc2>(found), reinterpret_cast<void*>(recorded_2);
}

}  // namespace

extern "C" void* dlsym(void* handle, const char* name) {
  // The C library's by its version, and with it whoever comes after us, of any version.
  static const auto of_libc = reinterpret_cast<Dlsym>(dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5"));
  static const auto next = reinterpret_cast<Dlsym>(of_libc(RTLD_NEXT, "dlsym"));
  void* found = next(handle, name);
  if (strncmp(name, "cu", 2) != 0) return found;
  fprintf(file(), "dlsym %s = %s\n", name, name_of(found).c_str());
  if (strcmp(name, "cuGetProcAddress_v2") == 0) return wrapped("cuGetProcAddress", 12000, found);
  return wrapped(name, 11030, found);
}
