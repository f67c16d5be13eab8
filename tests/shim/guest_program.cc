// A program that makes life hard for a library in it: `guest_program scenario [numbers …]`. It finds the driver by
// dlopen and dlsym, so that nothing of the driver is looked up before a scenario does. Exit 0 = all was well.
#include "guest_program.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

namespace guest_program {
namespace {
void* cuda = nullptr;
void* nvml = nullptr;
std::vector<unsigned long> numbers;
}  // namespace

unsigned long number(std::size_t index) { return index < numbers.size() ? numbers[index] : 0; }

void load_driver() {
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  CHECK(cuda != nullptr && nvml != nullptr, "%s", dlerror());
}

void* find(const char* name) {
  void* found = dlsym(strncmp(name, "nvml", 4) == 0 ? nvml : cuda, name);
  CHECK(found != nullptr, "%s", dlerror());
  return found;
}

std::uint64_t total_by_nvml() {
  CHECK_OK(CALL(nvmlInit_v2));
  nvmlDevice_t device = nullptr;
  CHECK_OK(CALL(nvmlDeviceGetHandleByIndex_v2, 0, &device));
  nvmlMemory_t memory{};
  CHECK_OK(CALL(nvmlDeviceGetMemoryInfo, device, &memory));
  return memory.total;
}

}  // namespace guest_program

int main(int count, char** arguments) {
  using namespace guest_program;
  if (count < 2) return 2;
  for (int i = 2; i < count; ++i) numbers.push_back(strtoul(arguments[i], nullptr, 0));
  for (const Scenario& scenario : kScenarios)
    if (strcmp(scenario.name, arguments[1]) == 0) return scenario.run(), 0;
  fprintf(stderr, "unknown scenario '%s'\n", arguments[1]);
  return 2;
}
