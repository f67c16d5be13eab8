// Memory that the driver takes for a context's limits, and for code when it is first used.
#include <dlfcn.h>
#include <string.h>

#include <memory>

#include "memory_program.h"

namespace memory_program {
namespace {

constexpr int kStack = 0, kPrintf = 1, kHeap = 2;
constexpr const char* kImage =
    ".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry one() { ret; }\n.visible .entry two() { ret; }\n";

// As a program that links to the driver calls it; null: this driver has none.
template <class Function>
Function* called(const char* name) {
  if (find_past_the_interposer(name) == nullptr) return nullptr;
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

void limits() {
  start();
  const auto set = called<CUresult(int, std::size_t)>("cuCtxSetLimit");
  const auto get = called<CUresult(std::size_t*, int)>("cuCtxGetLimit");
  if (set == nullptr) return;
  const Balance balance;
  for (const int limit : {kStack, kPrintf, kHeap}) {
    std::size_t before = 0;
    CHECK_OK(get(&before, limit));
    CHECK_OK(set(limit, before * 4));
    balance.expect_same("a limit was raised");
    CHECK(charged() > balance.charge, "limit %d costs nothing", limit);
    CHECK_OK(set(limit, before * 16));
    balance.expect_same("it was raised more");
    CHECK_OK(set(limit, before * 2));
    balance.expect_same("it was lowered");
    CHECK_OK(set(limit, before));
    balance.expect_as_before("it is what it was");
  }
  CUcontext context = nullptr;
  CHECK_OK(cuCtxCreate_v2(&context, 0, ordinal));
  CHECK_OK(set(kHeap, 200 * kMiB));
  balance.expect_same("the limit of another context");
  CHECK_OK(cuCtxDestroy_v2(context));
  CHECK_OK(cuCtxSetCurrent(first_context));
  balance.expect_as_before("its end");
}

// number(0): the grant's limit.
void limits_beyond() {
  start();
  const auto set = called<CUresult(int, std::size_t)>("cuCtxSetLimit");
  const auto get = called<CUresult(std::size_t*, int)>("cuCtxGetLimit");
  if (set == nullptr) return;
  const Balance balance;
  for (const int limit : {kPrintf, kHeap}) {
    std::size_t before = 0, after = 0;
    CHECK_OK(get(&before, limit));
    CHECK(set(limit, number(0)) == CUDA_ERROR_OUT_OF_MEMORY, "limit %d beyond the grant", limit);
    CHECK_OK(get(&after, limit));
    CHECK(before == after, "limit %d was raised all the same", limit);
    balance.expect_as_before("a refusal");
  }
}

struct Loaded {
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
};
Loaded load_library() {
  Loaded loaded;
  using Get = CUresult(CUkernel*, CUlibrary, const char*);
  CHECK_OK(cuLibraryLoadData(&loaded.library, kImage, nullptr, nullptr, 0, nullptr, nullptr, 0));
  CHECK_OK(called<Get>("cuLibraryGetKernel")(&loaded.kernel, loaded.library, "one"));
  return loaded;
}

void lazy_libraries() {
  start();
  const auto function_of = called<decltype(cuKernelGetFunction)>("cuKernelGetFunction");
  const auto module_of = called<decltype(cuLibraryGetModule)>("cuLibraryGetModule");
  if (function_of == nullptr) return;
  const Balance balance;
  for (int round = 0; round < 3; ++round) {
    const Loaded loaded = load_library();
    balance.expect_as_before("a library was loaded and not used");
    CUfunction function = nullptr;
    CUmodule module = nullptr;
    CHECK_OK(function_of(&function, loaded.kernel));
    CHECK(charged() > balance.charge, "its code costs nothing");
    balance.expect_same("its first use");
    CHECK_OK(module_of(&module, loaded.library));
    balance.expect_same("its second use");
    CUcontext context = nullptr;
    CHECK_OK(cuCtxCreate_v2(&context, 0, ordinal));
    CHECK_OK(module_of(&module, loaded.library));
    balance.expect_same("its use in another context");
    if (round != 0) CHECK_OK(cuCtxDestroy_v2(context));
    CHECK_OK(cuCtxSetCurrent(first_context));
    CHECK_OK(cuLibraryUnload(loaded.library));
    balance.expect_same("its end");
    if (round == 0) {
      CHECK_OK(cuCtxDestroy_v2(context));
      CHECK_OK(cuCtxSetCurrent(first_context));
    }
    balance.expect_as_before("the end of both");
  }
}

// A kernel that is launched as it is loads its library then.
void first_launches() {
  start();
  if (called<CUresult(CUfunction*, CUkernel)>("cuKernelGetFunction") == nullptr) return;
  const Balance balance;
  CUcontext context = nullptr;
  CHECK_OK(cuCtxCreate_v2(&context, 0, ordinal));
  const Balance before;
  const Loaded loaded = load_library();
  for (int i = 0; i < 50; ++i)
    CHECK_OK(
        cuLaunchKernel(reinterpret_cast<CUfunction>(loaded.kernel), 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr));
  CHECK(charged() > before.charge, "its code costs nothing");
  before.expect_same("a first launch");
  CHECK_OK(cuCtxDestroy_v2(context));
  CHECK_OK(cuCtxSetCurrent(first_context));
  balance.expect_as_before("the end of its context");
}

}  // namespace

std::vector<Scenario> code_cases() {
  return {{"limits", limits},
          {"limits-beyond", limits_beyond},
          {"lazy-libraries", lazy_libraries},
          {"first-launches", first_launches}};
}

}  // namespace memory_program
