// A library between the program and the driver that looks names up itself, as other interposers do.
#include <dlfcn.h>

extern "C" __attribute__((visibility("default"))) void* other_next(const char* name) { return dlsym(RTLD_NEXT, name); }
extern "C" __attribute__((visibility("default"))) void* other_default(const char* name) {
  return dlsym(RTLD_DEFAULT, name);
}
