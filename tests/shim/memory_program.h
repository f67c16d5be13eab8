// What the parts of the memory program share: a figure from the region, one from the driver, and the wish that they
// agree.
//
// The driver's figure comes from its own cuMemGetInfo, found past the interposer. A failed CHECK prints one line and
// ends the process.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "shim/abi.h"

extern "C" {
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device);
CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool);
CUresult cuMemAddressReserve(CUdeviceptr* pointer, std::size_t bytes, std::size_t alignment, CUdeviceptr wanted,
                             unsigned long long flags);
CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void* value);
CUresult cuStreamCreate(CUstream* stream, unsigned flags);
}

#define CHECK(condition, ...)                                         \
  do {                                                                \
    if (!(condition)) {                                               \
      printf("%s:%d: %s is false; ", __FILE__, __LINE__, #condition); \
      printf(__VA_ARGS__);                                            \
      printf("\n");                                                   \
      fflush(stdout);                                                 \
      _exit(1);                                                       \
    }                                                                 \
  } while (false)
#define CHECK_OK(call)                                                \
  do {                                                                \
    const CUresult result_ = (call);                                  \
    CHECK(result_ == CUDA_SUCCESS, "%s answered %d", #call, result_); \
  } while (false)

namespace memory_program {

inline constexpr std::uint64_t kMiB = 1 << 20, kBlock = 2 * kMiB;
inline constexpr CUresult kNotSupported = 801;

extern CUdevice ordinal;  // the device under test, the first of the grant
extern CUcontext first_context;
unsigned long number(std::size_t index);  // arguments of the scenario

// cuInit, the first context, and the way to the driver's own functions.
void start();
void find_driver_info();         // the second half of start(), for those who make their own contexts
[[noreturn]] void exec_again();  // the same program with the same arguments
void* past_the_interposer(const char* name);
template <class Function>
Function* driver_function(const char* name) {
  void* found = past_the_interposer(name);
  Function* function = nullptr;
  memcpy(&function, &found, sizeof found);
  return function;
}
void* find_past_the_interposer(const char* name);  // null: this driver has none

std::uint64_t driver_taken();               // from the current context's device, by everybody
std::uint64_t charged(unsigned index = 0);  // to all processes of the grant, on its device of that index

struct Balance {
  std::uint64_t charge = charged(), driver = driver_taken();
  // Both have moved by the same since.
  void expect_same(const char* when, unsigned long step = 0) const;
  void expect_as_before(const char* when) const;
};

struct Scenario {
  const char* name;
  void (*run)();
};
std::vector<Scenario> walks();
std::vector<Scenario> cases();
std::vector<Scenario> graph_cases();
std::vector<Scenario> fault_cases();
std::vector<Scenario> shared_cases();
std::vector<Scenario> code_cases();
std::vector<Scenario> crowds();

}  // namespace memory_program
