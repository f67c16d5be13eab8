// What is charged when the driver refuses, fails, or answers with nothing. Which calls do is said by KIBOKO_SIM_FAULT
// (memory_test.cc): the first of each kind, unless a scenario says otherwise.
#include "memory_program.h"

namespace memory_program {
namespace {

constexpr CUmemAllocationProp kHere{1, 0, {CU_MEM_LOCATION_TYPE_DEVICE, 0}, nullptr, {}};
constexpr CUDA_ARRAY_DESCRIPTOR kFlat{1024, 1024, 0x20, 4};
constexpr CUDA_ARRAY3D_DESCRIPTOR kDeep{256, 256, 4, 0x20, 4, 0};

CUmemoryPool new_pool() {
  CUmemPoolProps properties{};
  properties.alloc_type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  CUmemoryPool pool = nullptr;
  CHECK_OK(cuMemPoolCreate(&pool, &properties));
  return pool;
}

// The first call is refused and leaves nothing behind; the second is not.
template <class Call>
void refused_once(const char* name, Call call) {
  const Balance balance;
  const CUresult first = call();
  CHECK(first == CUDA_ERROR_OUT_OF_MEMORY, "%s answered %d", name, first);
  balance.expect_as_before(name);
  const CUresult second = call();
  CHECK(second == CUDA_SUCCESS, "the second %s answered %d", name, second);
  balance.expect_same(name);
}

void refused() {
  start();
  CUdeviceptr pointer = 0;
  std::size_t pitch = 0;
  CUmemGenericAllocationHandle handle = 0;
  CUarray array = nullptr;
  CUmipmappedArray mipmap = nullptr;
  CUmodule module = nullptr;
  CUlibrary library = nullptr;
  CUcontext context = nullptr;
  const CUmemoryPool pool = new_pool();
  refused_once("cuMemAlloc", [&] { return cuMemAlloc_v2(&pointer, 3 * kMiB); });
  refused_once("cuMemAllocPitch", [&] { return cuMemAllocPitch_v2(&pointer, &pitch, 5000, 3000, 4); });
  refused_once("cuMemAllocManaged", [&] { return cuMemAllocManaged(&pointer, 3 * kMiB, 1); });
  refused_once("cuMemAllocAsync", [&] { return cuMemAllocAsync(&pointer, 3 * kMiB, nullptr); });
  refused_once("cuMemAllocFromPoolAsync", [&] { return cuMemAllocFromPoolAsync(&pointer, 3 * kMiB, pool, nullptr); });
  refused_once("cuMemCreate", [&] { return cuMemCreate(&handle, kBlock, &kHere, 0); });
  refused_once("cuArrayCreate", [&] { return cuArrayCreate_v2(&array, &kFlat); });
  refused_once("cuArray3DCreate", [&] { return cuArray3DCreate_v2(&array, &kDeep); });
  refused_once("cuMipmappedArrayCreate", [&] { return cuMipmappedArrayCreate(&mipmap, &kDeep, 3); });
  refused_once("cuModuleLoadData", [&] { return cuModuleLoadData(&module, ""); });
  refused_once("cuLibraryLoadData",
               [&] { return cuLibraryLoadData(&library, "", nullptr, nullptr, 0, nullptr, nullptr, 0); });
  refused_once("cuCtxCreate", [&] { return cuCtxCreate_v2(&context, 0, ordinal); });
  refused_once("cuDevicePrimaryCtxRetain", [&] { return cuDevicePrimaryCtxRetain(&context, ordinal); });
  CUstream stream = nullptr;
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CHECK_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CHECK_OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  CHECK_OK(cuMemAllocAsync(&pointer, 8 * kMiB, stream));
  CHECK_OK(cuStreamEndCapture(stream, &graph));
  CHECK_OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  refused_once("cuGraphLaunch", [&] { return cuGraphLaunch(exec, stream); });
}

// A driver that says yes and gives nothing.
template <class Output, class Call>
void nothing_once(const char* name, Output* out, Call call) {
  const Balance balance;
  CHECK_OK(call());
  CHECK(*out == Output{}, "%s gave something", name);
  balance.expect_as_before(name);
  CHECK_OK(call());
  balance.expect_same(name);
}

void nothing() {
  start();
  CUdeviceptr pointer = 0;
  std::size_t pitch = 0;
  CUmemGenericAllocationHandle handle = 0;
  CUarray array = nullptr;
  CUmodule module = nullptr;
  nothing_once("cuMemAlloc", &pointer, [&] { return cuMemAlloc_v2(&pointer, 3 * kMiB); });
  nothing_once("cuMemAllocPitch", &pointer, [&] { return cuMemAllocPitch_v2(&pointer, &pitch, 5000, 3000, 4); });
  nothing_once("cuMemAllocManaged", &pointer, [&] { return cuMemAllocManaged(&pointer, 3 * kMiB, 1); });
  nothing_once("cuMemAllocAsync", &pointer, [&] { return cuMemAllocAsync(&pointer, 3 * kMiB, nullptr); });
  nothing_once("cuMemCreate", &handle, [&] { return cuMemCreate(&handle, kBlock, &kHere, 0); });
  nothing_once("cuArrayCreate", &array, [&] { return cuArrayCreate_v2(&array, &kFlat); });
  nothing_once("cuModuleLoadData", &module, [&] { return cuModuleLoadData(&module, ""); });
}

// The first end fails, and what was to end stays charged; the second does not.
template <class Call>
void kept_once(const char* name, const Balance& before, Call call) {
  const Balance held;
  CHECK(call() == 999, "%s did not fail", name);
  held.expect_as_before(name);
  CHECK_OK(call());
  before.expect_as_before(name);
}

void kept() {
  start();
  CUdeviceptr pointer = 0, reserved = 0;
  CUmemGenericAllocationHandle handle = 0;
  CUarray array = nullptr;
  CUmodule module = nullptr;
  CUcontext context = nullptr;
  const Balance before;
  CHECK_OK(cuMemAlloc_v2(&pointer, 3 * kMiB));
  kept_once("cuMemFree", before, [&] { return cuMemFree_v2(pointer); });
  CHECK_OK(cuMemAlloc_v2(&pointer, 3 * kMiB));
  kept_once("cuMemFreeAsync", before, [&] { return cuMemFreeAsync(pointer, nullptr); });
  CHECK_OK(cuMemCreate(&handle, kBlock, &kHere, 0));
  kept_once("cuMemRelease", before, [&] { return cuMemRelease(handle); });
  CHECK_OK(cuMemAddressReserve(&reserved, kBlock, 0, 0, 0));
  CHECK_OK(cuMemCreate(&handle, kBlock, &kHere, 0));
  CHECK_OK(cuMemMap(reserved, kBlock, 0, handle, 0));
  CHECK_OK(cuMemRelease(handle));
  kept_once("cuMemUnmap", before, [&] { return cuMemUnmap(reserved, kBlock); });
  CHECK_OK(cuArrayCreate_v2(&array, &kFlat));
  kept_once("cuArrayDestroy", before, [&] { return cuArrayDestroy(array); });
  CHECK_OK(cuModuleLoadData(&module, ""));
  kept_once("cuModuleUnload", before, [&] { return cuModuleUnload(module); });
  const CUmemoryPool pool = new_pool();
  CHECK_OK(cuMemAllocFromPoolAsync(&pointer, 3 * kMiB, pool, nullptr));
  CHECK_OK(cuMemFree_v2(pointer));
  kept_once("cuMemPoolDestroy", before, [&] { return cuMemPoolDestroy(pool); });
  CHECK_OK(cuCtxCreate_v2(&context, 0, ordinal));
  CHECK_OK(cuMemAlloc_v2(&pointer, 3 * kMiB));
  CHECK_OK(cuCtxSetCurrent(first_context));
  kept_once("cuCtxDestroy", before, [&] { return cuCtxDestroy_v2(context); });
}

// What cannot be asked is not taken for nothing; the next answer puts it right.
void untold() {
  start();
  const CUmemoryPool pool = new_pool();
  const Balance before;
  CUdeviceptr first = 0, second = 0;
  CHECK_OK(cuMemAllocFromPoolAsync(&first, 3 * kMiB, pool, nullptr));
  CHECK(charged() >= before.charge + 3 * kMiB, "nothing is charged");
  CHECK_OK(cuMemAllocFromPoolAsync(&second, 3 * kMiB, pool, nullptr));
  before.expect_same("the next answer");
  CHECK_OK(cuMemFreeAsync(first, nullptr));
  CHECK_OK(cuMemFreeAsync(second, nullptr));
  CHECK_OK(cuMemPoolDestroy(pool));
  before.expect_as_before("the pool's end");
}

}  // namespace

std::vector<Scenario> fault_cases() {
  return {{"refused", refused}, {"nothing", nothing}, {"kept", kept}, {"untold", untold}};
}

}  // namespace memory_program
