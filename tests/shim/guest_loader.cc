// Ways of loading that go around a preloaded library: what they lose, and that nothing else suffers.
#include <dlfcn.h>
#include <string.h>

#include "guest_program.h"

namespace guest_program {
namespace {

std::uint64_t usual_total() {
  CHECK_OK(CALL(cuInit, 0));
  std::size_t bytes = 0;
  CHECK_OK(CALL(cuDeviceTotalMem_v2, &bytes, 0));
  return bytes;
}

}  // namespace

// A library that prefers its own dependencies finds the driver before it finds us.
void deep_binding() {
  load_driver();
  void* deep = dlopen(DEEP_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  CHECK(deep != nullptr, "%s", dlerror());
  const auto total = reinterpret_cast<unsigned long long (*)()>(dlsym(deep, "deep_total"));
  CHECK(total != nullptr, "%s", dlerror());
  CHECK(usual_total() == number(0), "the usual way shows %llu", static_cast<unsigned long long>(usual_total()));
  printf("%llu\n", total());
  CHECK(usual_total() == number(0), "the usual way shows %llu", static_cast<unsigned long long>(usual_total()));
}

// Another namespace has libraries of its own, libc included, and none that were preloaded.
void another_namespace() {
  load_driver();
  void* other = dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (other == nullptr) {
    printf("%s\n", dlerror());
    return;
  }
  const auto init = reinterpret_cast<decltype(&cuInit)>(dlsym(other, "cuInit"));
  CHECK(init != nullptr, "%s", dlerror());
  CHECK_OK(init(0));
  CHECK(usual_total() == number(0), "the usual way shows %llu", static_cast<unsigned long long>(usual_total()));
  printf("other\n");
}

}  // namespace guest_program
