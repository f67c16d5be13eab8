// What the library costs the process in memory of its own: the sum of Private_Dirty over private mappings, printed at
// each stage. The test compares it with the same program without the library.
#include <string.h>
#include <sys/wait.h>

#include "guest_program.h"

namespace guest_program {
namespace {

void print_private(const char* stage) {
  FILE* maps = fopen("/proc/self/smaps", "re");
  CHECK(maps != nullptr, "no /proc/self/smaps");
  char line[512], permissions[8] = "";
  unsigned long sum = 0, kib = 0, begin = 0, end = 0;
  while (fgets(line, sizeof line, maps) != nullptr) {
    sscanf(line, "%lx-%lx %7s", &begin, &end, permissions);
    if (permissions[3] == 'p' && sscanf(line, "Private_Dirty: %lu kB", &kib) == 1) sum += kib;
  }
  fclose(maps);
  printf("%s %lu\n", stage, sum);
  fflush(stdout);
}

void allocate(unsigned count) {
  const auto one = reinterpret_cast<decltype(&cuMemAlloc_v2)>(find("cuMemAlloc_v2"));
  for (unsigned i = 0; i < count; ++i) {
    CUdeviceptr pointer = 0;
    CHECK_OK(one(&pointer, 4096));
  }
}

void launch() {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  CHECK_OK(CALL(cuModuleLoadData, &module, ""));
  CHECK_OK(CALL(cuModuleGetFunction, &function, module, "kiboko_spin_ns"));
  unsigned long long ns = 1000;
  void* parameters[] = {&ns};
  for (int i = 0; i < 100; ++i)
    CHECK_OK(CALL(cuLaunchKernel, function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
  CHECK_OK(CALL(cuCtxSynchronize));
}

}  // namespace

void private_memory() {
  print_private("start");
  load_driver();
  CHECK_OK(CALL(cuInit, 0));
  CUcontext context = nullptr;
  CHECK_OK(CALL(cuCtxCreate_v2, &context, 0, 0));
  allocate(1);
  print_private("one");
  launch();
  allocate(999);
  print_private("thousand");
  const pid_t child = fork();
  if (child == 0) {
    total_by_nvml();
    print_private("child");
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0, "the child ended with status %x", static_cast<unsigned>(status));
}

}  // namespace guest_program
