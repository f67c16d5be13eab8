// The memory program under test: `memory_program REGION DEVICE scenario [numbers …]`. Each scenario drives the driver's
// allocation functions and compares, as it goes, what the region has charged with what the driver itself says is taken.
// Exit 0 = they agreed throughout.
#include "memory_program.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <memory>

#include "region/snapshot.h"
#include "shim/elf.h"

namespace memory_program {

namespace region = kiboko::region;

CUdevice ordinal;
CUcontext first_context;

namespace {
const char* region_path;
std::vector<unsigned long> numbers;
char** own_arguments;
decltype(&cuMemGetInfo_v2) driver_info;
}  // namespace

unsigned long number(std::size_t index) { return index < numbers.size() ? numbers[index] : 0; }

void* find_past_the_interposer(const char* name) {
  return kiboko::shim::find_symbol(kiboko::shim::find_library_by_soname("libcuda.so.1"), name);
}

void* past_the_interposer(const char* name) {
  void* found = find_past_the_interposer(name);
  CHECK(found != nullptr, "the driver has no %s", name);
  return found;
}

void start() {
  CHECK_OK(cuInit(0));
  CHECK_OK(cuCtxCreate_v2(&first_context, 0, ordinal));
  find_driver_info();
}

void find_driver_info() {
  void* found = past_the_interposer("cuMemGetInfo_v2");
  memcpy(&driver_info, &found, sizeof found);
}

void exec_again() {
  execv("/proc/self/exe", own_arguments);
  CHECK(false, "exec failed");
}

std::uint64_t driver_taken() {
  std::size_t free = 0, total = 0;
  CHECK_OK(driver_info(&free, &total));
  return total - free;
}

std::uint64_t charged(unsigned index) {
  static const auto snapshot = std::make_unique<region::RegionSnapshot>();
  static const int fd = open(region_path, O_RDONLY | O_CLOEXEC);
  region::PageError error{};
  CHECK(region::read_snapshot(fd, region::SnapshotCover::Skip, snapshot.get(), &error), "%s", error.text);
  return snapshot->devices[index].charged;
}

void Balance::expect_same(const char* when, unsigned long step) const {
  const auto more_charged = static_cast<long long>(charged() - charge);
  const auto more_taken = static_cast<long long>(driver_taken() - driver);
  CHECK(more_charged == more_taken, "after %s (step %lu): charged %+lld, taken %+lld", when, step, more_charged,
        more_taken);
}

void Balance::expect_as_before(const char* when) const {
  expect_same(when);
  CHECK(charged() == charge, "after %s: %+lld bytes are left", when, static_cast<long long>(charged() - charge));
}

}  // namespace memory_program

using namespace memory_program;

int main(int count, char** arguments) {
  if (count < 4) return 2;
  own_arguments = arguments;
  region_path = arguments[1];
  ordinal = atoi(arguments[2]);
  for (int i = 4; i < count; ++i) numbers.push_back(strtoul(arguments[i], nullptr, 0));
  for (const auto& list : {walks(), cases(), graph_cases(), fault_cases(), shared_cases(), code_cases(), crowds()})
    for (const Scenario& scenario : list)
      if (strcmp(scenario.name, arguments[3]) == 0) return scenario.run(), 0;
  fprintf(stderr, "unknown scenario '%s'\n", arguments[3]);
  return 2;
}
