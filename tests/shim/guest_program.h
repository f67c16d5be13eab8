// What the scenarios of guest_program.cc share.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "shim/abi.h"

extern "C" {
nvmlReturn_t nvmlInit_v2();
CUresult cuCtxSetCurrent(CUcontext context);
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name);
}

namespace guest_program {

#define CHECK(condition, ...)                                       \
  do {                                                              \
    if (condition) break;                                           \
    fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                 \
    fprintf(stderr, __VA_ARGS__);                                   \
    fprintf(stderr, " (process %d)\n", static_cast<int>(getpid())); \
    _exit(1);                                                       \
  } while (false)

#define CHECK_OK(call)                                    \
  do {                                                    \
    const int answer_ = static_cast<int>(call);           \
    CHECK(answer_ == 0, "%s answers %d", #call, answer_); \
  } while (false)

// Looks the function up and calls it.
#define CALL(name, ...) reinterpret_cast<decltype(&::name)>(::guest_program::find(#name))(__VA_ARGS__)

unsigned long number(std::size_t index);  // of the command line, behind the scenario
void load_driver();
void* find(const char* name);
std::uint64_t total_by_nvml();  // of device 0

struct Scenario {
  const char* name;
  void (*run)();
};

void fork_storm();
void exit_busy();
void private_memory();
void no_membarrier();
void no_futex();
void no_more_files();
void no_files();
void shared_memory();
void vfork_and_exec();
void headless();
void deep_binding();
void another_namespace();
void kill_storm();

inline constexpr Scenario kScenarios[] = {
    {"fork-storm", fork_storm},
    {"exit-busy", exit_busy},
    {"private-memory", private_memory},
    {"no-membarrier", no_membarrier},
    {"no-futex", no_futex},
    {"no-more-files", no_more_files},
    {"no-files", no_files},
    {"shared-memory", shared_memory},
    {"vfork", vfork_and_exec},
    {"headless", headless},
    {"deep-binding", deep_binding},
    {"another-namespace", another_namespace},
    {"storm", kill_storm},
};

}  // namespace guest_program
