// Situations that a random walk does not reach: ends of contexts, pools and processes, and what happens unseen.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "memory_program.h"

namespace memory_program {
namespace {

// What is allocated in a context goes with it, and so does its own cost.
void contexts() {
  start();
  const Balance balance;
  for (int round = 0; round < 5; ++round) {
    CUcontext context = nullptr;
    CHECK_OK(cuCtxCreate_v2(&context, 0, ordinal));
    balance.expect_same("a context was made");
    CUdeviceptr pointer = 0;
    for (int i = 0; i < 300; ++i) CHECK_OK(cuMemAlloc_v2(&pointer, 1000));
    CHECK_OK(cuMemAlloc_v2(&pointer, 10 * kMiB));
    CUarray array = nullptr;
    const CUDA_ARRAY_DESCRIPTOR shape{1024, 1024, 0x20, 4};
    CHECK_OK(cuArrayCreate_v2(&array, &shape));
    balance.expect_same("memory in it");
    CHECK_OK(cuCtxSetCurrent(first_context));
    CHECK_OK(cuCtxDestroy_v2(context));
    CHECK_OK(cuCtxSetCurrent(first_context));
    balance.expect_as_before("its end");
  }
  CHECK(cuCtxDestroy_v2(nullptr) != CUDA_SUCCESS, "no context was destroyed");
  balance.expect_same("a refused cuCtxDestroy");
}

// The primary context is charged once however often it is retained, and refunded when the last one lets go.
void primary() {
  start();
  const std::uint64_t before = charged();
  for (int round = 0; round < 3; ++round) {
    CUcontext context = nullptr;
    CHECK_OK(cuDevicePrimaryCtxRetain(&context, ordinal));
    const std::uint64_t with = charged();
    CHECK_OK(cuDevicePrimaryCtxRetain(&context, ordinal));
    CHECK(charged() == with, "a second retain is charged");
    CHECK_OK(cuCtxSetCurrent(context));
    CUdeviceptr pointer = 0;
    CHECK_OK(cuMemAlloc_v2(&pointer, 5 * kMiB));
    CHECK(charged() == with + 6 * kMiB, "charged %llu", static_cast<unsigned long long>(charged() - with));
    CHECK_OK(cuCtxSetCurrent(first_context));
    CHECK_OK(cuDevicePrimaryCtxRelease_v2(ordinal));
    CHECK(charged() == with + 6 * kMiB, "refunded while it is retained");
    if (round == 1)
      CHECK_OK(cuDevicePrimaryCtxReset_v2(ordinal));
    else
      CHECK_OK(cuDevicePrimaryCtxRelease_v2(ordinal));
    CHECK(charged() == before, "%+lld bytes are left", static_cast<long long>(charged() - before));
  }
}

// A child may do what it likes with its copy: the parent's charge stays.
void forked() {
  start();
  std::vector<CUdeviceptr> pointers(100);
  for (CUdeviceptr& pointer : pointers) CHECK_OK(cuMemAlloc_v2(&pointer, kMiB));
  const Balance balance;
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    for (const CUdeviceptr pointer : pointers) cuMemFree_v2(pointer);
    CUdeviceptr pointer = 0;
    cuMemAlloc_v2(&pointer, kMiB);
    cuMemAllocAsync(&pointer, kMiB, nullptr);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status), "the child ended with %d", status);
  balance.expect_same("the child has ended");
  for (const CUdeviceptr pointer : pointers) CHECK_OK(cuMemFree_v2(pointer));
  balance.expect_same("the parent has freed its memory");
}

// crash BYTES: dies with memory, so that another one may look at what is left.
void crash() {
  start();
  CUdeviceptr pointer = 0;
  CHECK_OK(cuMemAlloc_v2(&pointer, number(0)));
  puts("allocated");
  fflush(stdout);
  kill(getpid(), SIGKILL);
}

// whole BYTES: that much is to be had in one piece.
void whole() {
  start();
  CUdeviceptr pointer = 0;
  CHECK_OK(cuMemAlloc_v2(&pointer, number(0)));
  CHECK_OK(cuMemFree_v2(pointer));
}

// A pool keeps what was freed; when the limit is reached, that is given back before anything is refused.
void reclaim() {
  start();
  CUmemoryPool pool = nullptr;
  CHECK_OK(cuDeviceGetDefaultMemPool(&pool, ordinal));
  std::uint64_t for_ever = UINT64_MAX;
  CHECK_OK(cuMemPoolSetAttribute(pool, 4, &for_ever));
  const std::uint64_t room = number(0) - charged();
  const std::uint64_t most = room / (32 * kMiB) * (32 * kMiB);
  CUdeviceptr pointer = 0;
  CHECK_OK(cuMemAllocAsync(&pointer, most, nullptr));
  CHECK_OK(cuMemFreeAsync(pointer, nullptr));
  CHECK_OK(cuStreamSynchronize(nullptr));
  CHECK(charged() >= most, "the pool gave its memory back by itself");
  CHECK_OK(cuMemAllocAsync(&pointer, most, nullptr));  // out of what it holds
  CUdeviceptr other = 0;
  CHECK(cuMemAlloc_v2(&other, most) == CUDA_ERROR_OUT_OF_MEMORY, "the limit does not hold");
  CHECK_OK(cuMemFreeAsync(pointer, nullptr));
  CHECK_OK(cuStreamSynchronize(nullptr));
  CHECK_OK(cuMemAlloc_v2(&pointer, most));  // out of what the pool no longer needs
  CHECK_OK(cuMemFree_v2(pointer));
}

// A device of the host that was not granted gives nothing.
void not_granted() {
  CHECK_OK(cuInit(0));
  CUdeviceptr pointer = 0;
  CHECK(cuMemAlloc_v2(&pointer, kMiB) == 201, "no context is the driver's to say");
  if (cuCtxCreate_v2(&first_context, 0, ordinal) != CUDA_SUCCESS) return;
  CHECK(cuMemAlloc_v2(&pointer, kMiB) == CUDA_ERROR_OUT_OF_MEMORY, "cuMemAlloc");
  CHECK(cuMemAllocManaged(&pointer, kMiB, 1) == CUDA_ERROR_OUT_OF_MEMORY, "cuMemAllocManaged");
  CHECK(cuMemAllocAsync(&pointer, kMiB, nullptr) == CUDA_ERROR_OUT_OF_MEMORY, "cuMemAllocAsync");
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  CUmemGenericAllocationHandle handle = 0;
  CHECK(cuMemCreate(&handle, kBlock, &properties, 0) == CUDA_ERROR_OUT_OF_MEMORY, "cuMemCreate");
  CUarray array = nullptr;
  const CUDA_ARRAY_DESCRIPTOR shape{64, 64, 0x20, 1};
  CHECK(cuArrayCreate_v2(&array, &shape) == CUDA_ERROR_OUT_OF_MEMORY, "cuArrayCreate");
}

// What a pool that was destroyed still owes goes with its last pointer.
void orphans() {
  start();
  const Balance balance;
  CUmemPoolProps properties{};
  properties.alloc_type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  for (int round = 0; round < 3; ++round) {
    CUmemoryPool pool = nullptr;
    CHECK_OK(cuMemPoolCreate(&pool, &properties));
    CUdeviceptr pointers[3];
    for (CUdeviceptr& pointer : pointers) CHECK_OK(cuMemAllocFromPoolAsync(&pointer, 5 * kMiB, pool, nullptr));
    balance.expect_same("three of its pointers");
    CHECK_OK(cuMemPoolDestroy(pool));
    CHECK(charged() >= balance.charge + 15 * kMiB, "refunded while the pointers live");
    CHECK_OK(cuMemFreeAsync(pointers[0], nullptr));
    CHECK_OK(cuMemFree_v2(pointers[1]));
    CHECK(charged() >= balance.charge + 5 * kMiB, "refunded while a pointer lives");
    CHECK_OK(cuMemFreeAsync(pointers[2], nullptr));
    CHECK_OK(cuCtxSynchronize());
    CHECK(charged() == balance.charge, "%+lld bytes are left", static_cast<long long>(charged() - balance.charge));
  }
}

// The primary context may become active behind our back, as the runtime does it; and go the same way.
void unseen() {
  start();
  const std::uint64_t before = charged();
  decltype(&cuDevicePrimaryCtxRetain) retain;
  decltype(&cuDevicePrimaryCtxReset_v2) reset;
  void* found = past_the_interposer("cuDevicePrimaryCtxRetain");
  memcpy(&retain, &found, sizeof found);
  found = past_the_interposer("cuDevicePrimaryCtxReset_v2");
  memcpy(&reset, &found, sizeof found);
  CUcontext context = nullptr;
  CHECK_OK(retain(&context, ordinal));
  CHECK_OK(cuCtxSetCurrent(context));
  CUdeviceptr pointer = 0;
  CHECK_OK(cuMemAlloc_v2(&pointer, 4 * kMiB));
  const std::uint64_t with = charged();
  CHECK(with >= before + 4 * kMiB, "the memory is not charged");
  CHECK_OK(cuDevicePrimaryCtxRetain(&context, ordinal));
  CHECK(charged() == with, "the context is charged twice");
  CHECK_OK(cuMemFree_v2(pointer));
  CHECK_OK(reset(ordinal));
  CHECK_OK(cuCtxSetCurrent(first_context));
  CHECK_OK(cuDevicePrimaryCtxRetain(&context, ordinal));
  CHECK_OK(cuDevicePrimaryCtxRelease_v2(ordinal));
  CHECK(charged() == before, "%+lld bytes are left", static_cast<long long>(charged() - before));
}

// An address that the driver freed unseen and gives out again is charged once.
void given_again() {
  start();
  const Balance balance;
  decltype(&cuMemFree_v2) free_unseen;
  void* found = past_the_interposer("cuMemFree_v2");
  memcpy(&free_unseen, &found, sizeof found);
  CUdeviceptr pointer = 0;
  for (int i = 0; i < 100; ++i) {
    CHECK_OK(cuMemAlloc_v2(&pointer, 3 * kMiB));
    if (i != 99) CHECK_OK(free_unseen(pointer));
  }
  balance.expect_same("a hundred rounds");
  CHECK_OK(cuMemFree_v2(pointer));
  balance.expect_as_before("the last free");
}

// Memory is charged to the device it is on, wherever the thread is.
void elsewhere() {
  start();
  const std::uint64_t first = charged(0), second = charged(1);
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal + 1};
  CUmemGenericAllocationHandle handle = 0;
  CHECK_OK(cuMemCreate(&handle, kBlock, &properties, 0));
  CHECK(charged(0) == first && charged(1) == second + kBlock, "cuMemCreate: %lld on the second",
        static_cast<long long>(charged(1) - second));
  CHECK_OK(cuMemRelease(handle));
  CUcontext context = nullptr;
  CHECK_OK(cuCtxCreate_v2(&context, 0, ordinal + 1));
  const std::uint64_t with_context = charged(1);
  CUdeviceptr pointer = 0;
  CHECK_OK(cuMemAlloc_v2(&pointer, kBlock));
  CHECK(charged(0) == first && charged(1) == with_context + kBlock, "cuMemAlloc in the other context");
  CHECK_OK(cuCtxSetCurrent(first_context));
  CHECK_OK(cuMemFree_v2(pointer));
  CHECK(charged(0) == first && charged(1) == with_context, "freed from the first context");
  CUmemPoolProps pool_properties{};
  pool_properties.alloc_type = 1;
  pool_properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal + 1};
  CUmemoryPool pool = nullptr;
  CHECK_OK(cuMemPoolCreate(&pool, &pool_properties));
  CHECK_OK(cuMemAllocFromPoolAsync(&pointer, kBlock, pool, nullptr));
  CHECK(charged(0) == first && charged(1) >= with_context + kBlock, "a pool of the other device");
  CHECK_OK(cuMemFreeAsync(pointer, nullptr));
  CHECK_OK(cuMemPoolDestroy(pool));
  CHECK(charged(0) == first && charged(1) == with_context, "its end");
}

// What graphs take for their memory nodes is seen at the next synchronisation.
void graphs() {
  start();
  CUstream stream = nullptr;
  CHECK_OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  const Balance balance;
  CUdeviceptr pointer = 0;
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CHECK_OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  CHECK_OK(cuMemAllocAsync(&pointer, 8 * kMiB, stream));
  CHECK_OK(cuStreamEndCapture(stream, &graph));
  if (driver_taken() != balance.driver) return;  // a driver that only pretends to capture
  balance.expect_same("the capture");
  CHECK_OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  CHECK_OK(cuGraphLaunch(exec, stream));
  CHECK_OK(cuStreamSynchronize(stream));
  CHECK(charged() >= balance.charge + 8 * kMiB, "charged %llu for it",
        static_cast<unsigned long long>(charged() - balance.charge));
  balance.expect_same("the launch");
  CHECK_OK(cuMemFree_v2(pointer));
  CHECK_OK(cuDeviceGraphMemTrim(ordinal));
  CHECK_OK(cuCtxSynchronize());
  balance.expect_as_before("the trim");
}

}  // namespace

std::vector<Scenario> cases() {
  return {{"contexts", contexts},
          {"primary", primary},
          {"fork", forked},
          {"crash", crash},
          {"whole", whole},
          {"reclaim", reclaim},
          {"not-granted", not_granted},
          {"orphans", orphans},
          {"unseen", unseen},
          {"given-again", given_again},
          {"elsewhere", elsewhere},
          {"graphs", graphs}};
}

}  // namespace memory_program
