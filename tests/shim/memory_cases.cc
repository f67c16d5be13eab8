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

// Half of the question may be asked, and is answered with the share's figures.
void half_asked() {
  start();
  std::size_t free = 0, total = 0, one = 0;
  CHECK_OK(cuMemGetInfo_v2(&free, &total));
  CHECK(total == number(0), "total is %zu", total);
  CHECK_OK(cuMemGetInfo_v2(&one, nullptr));
  CHECK(one == free, "free alone is %zu", one);
  CHECK_OK(cuMemGetInfo_v2(nullptr, &one));
  CHECK(one == total, "total alone is %zu", one);
  const CUresult neither = cuMemGetInfo_v2(nullptr, nullptr);
  CHECK(neither == CUDA_SUCCESS || neither == CUDA_ERROR_INVALID_VALUE, "answered %d", neither);
}

// The last of the holders ends a context, and what is in it.
void attached() {
  start();
  const Balance balance;
  for (int round = 0; round < 3; ++round) {
    CUcontext context = nullptr, again = nullptr;
    CHECK_OK(cuCtxCreate_v2(&context, 0, ordinal));
    CUdeviceptr pointer = 0;
    CHECK_OK(cuMemAlloc_v2(&pointer, 10 * kMiB));
    const Balance with;
    for (int i = 0; i < round; ++i) CHECK_OK(cuCtxAttach(&again, 0));
    for (int i = 0; i < round; ++i) CHECK_OK(cuCtxDetach(context));
    with.expect_as_before("attaching and detaching");
    CHECK_OK(cuCtxSetCurrent(context));
    CHECK_OK(cuCtxDetach(context));
    CHECK_OK(cuCtxSetCurrent(first_context));
    balance.expect_as_before("the last cuCtxDetach");
  }
  CHECK(cuCtxDetach(nullptr) != CUDA_SUCCESS, "no context was detached");
}

// granule BYTES: physical memory comes in granules of that size, not in blocks of 2 MiB.
void granules() {
  start();
  const Balance balance;
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  CUmemGenericAllocationHandle handles[3] = {};
  for (unsigned i = 0; i < 3; ++i) {
    CHECK_OK(cuMemCreate(&handles[i], kMiB + (2 * i + 1) * number(0), &properties, 0));
    balance.expect_same("cuMemCreate");
  }
  CHECK(charged() == balance.charge + 3 * kMiB + 9 * number(0), "charged %llu",
        static_cast<unsigned long long>(charged() - balance.charge));
  for (const CUmemGenericAllocationHandle handle : handles) CHECK_OK(cuMemRelease(handle));
  balance.expect_as_before("cuMemRelease");
}

// Mappings far apart in one range are all found when it is unmapped. Only some drivers unmap across holes.
void holes() {
  start();
  const Balance balance;
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  constexpr std::uint64_t kRange = 4096 * kMiB;
  CUdeviceptr range = 0;
  CHECK_OK(cuMemAddressReserve(&range, kRange, 0, 0, 0));
  const std::uint64_t offsets[] = {0, kBlock, 900 * kMiB, kRange - kBlock};
  for (const std::uint64_t offset : offsets) {
    CUmemGenericAllocationHandle handle = 0;
    CHECK_OK(cuMemCreate(&handle, kBlock, &properties, 0));
    CHECK_OK(cuMemMap(range + offset, kBlock, 0, handle, 0));
    CHECK_OK(cuMemRelease(handle));
  }
  CHECK(charged() == balance.charge + 4 * kBlock, "not all four are charged");
  if (cuMemUnmap(range, kRange) != CUDA_SUCCESS)
    for (const std::uint64_t offset : offsets) CHECK_OK(cuMemUnmap(range + offset, kBlock));
  balance.expect_as_before("cuMemUnmap");
}

// Memory bound to a multicast object outlives its handle and its mappings.
void multicast() {
  start();
  CUmemGenericAllocationHandle object = 0, handle = 0;
  if (cuMulticastCreate(&object, nullptr) == kNotSupported) return;
  const Balance balance;
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  CUdeviceptr range = 0;
  CHECK_OK(cuMemAddressReserve(&range, kBlock, 0, 0, 0));
  for (const bool by_unbinding : {true, false}) {
    CHECK_OK(cuMemCreate(&handle, kBlock, &properties, 0));
    CHECK_OK(cuMulticastBindMem_v2(object, ordinal, 0, handle, 0, kBlock, 0));
    CHECK_OK(cuMemRelease(handle));
    CHECK_OK(cuMemCreate(&handle, kBlock, &properties, 0));
    CHECK_OK(cuMemMap(range, kBlock, 0, handle, 0));
    CHECK_OK(cuMulticastBindAddr(object, kBlock, range, kBlock, 0));
    CHECK_OK(cuMemRelease(handle));
    CHECK_OK(cuMemUnmap(range, kBlock));
    CHECK(charged() == balance.charge + 2 * kBlock, "what is bound is not charged");
    balance.expect_same("cuMulticastBind");
    if (by_unbinding) {
      CHECK_OK(cuMulticastUnbind(object, ordinal, 0, kBlock));
      CHECK_OK(cuMulticastUnbind(object, ordinal, kBlock, kBlock));
    } else {
      CHECK_OK(cuMemRelease(object));
    }
    balance.expect_as_before("the last bind");
  }
}

// The calls of the 32-bit interface.
void narrow() {
  start();
  const Balance balance;
  CUdeviceptr_v1 pointer = 0, pitched = 0;
  unsigned pitch = 0;
  if (cuMemAlloc(&pointer, 3 * kMiB) == kNotSupported) return;
  balance.expect_same("cuMemAlloc");
  CHECK(charged() == balance.charge + 4 * kMiB, "charged %llu",
        static_cast<unsigned long long>(charged() - balance.charge));
  CHECK_OK(cuMemAllocPitch(&pitched, &pitch, 1000, 3000, 4));
  balance.expect_same("cuMemAllocPitch");
  CHECK(cuMemAlloc(&pointer, UINT32_MAX) == CUDA_ERROR_OUT_OF_MEMORY, "everything was given");
  balance.expect_same("what was refused");
  CHECK_OK(cuMemFree(pitched));
  CHECK_OK(cuMemFree(pointer));
  balance.expect_as_before("cuMemFree");
}

// A device's pool may be replaced; then unnamed allocations come out of the new one.
void replaced_pools() {
  start();
  decltype(&cuDeviceSetMemPool) set;
  CUresult (*set_at)(CUmemLocation*, int, CUmemoryPool);
  void* found = find_past_the_interposer("cuDeviceSetMemPool");
  if (found == nullptr) return;
  memcpy(&set, &found, sizeof found);
  found = find_past_the_interposer("cuMemSetMemPool");
  memcpy(&set_at, &found, sizeof found);
  const Balance balance;
  CUmemPoolProps properties{};
  properties.alloc_type = 1;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  CUmemoryPool first = nullptr, pools[2] = {};
  CHECK_OK(cuDeviceGetDefaultMemPool(&first, ordinal));
  CUdeviceptr pointers[3] = {};
  for (CUmemoryPool& pool : pools) CHECK_OK(cuMemPoolCreate(&pool, &properties));
  CHECK_OK(set(ordinal, pools[0]));
  CHECK_OK(cuMemAllocAsync(&pointers[0], 3 * kMiB, nullptr));
  balance.expect_same("a replaced pool");
  CUmemLocation here{CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  CHECK_OK(set_at != nullptr ? set_at(&here, 1, pools[1]) : set(ordinal, pools[1]));
  CHECK_OK(cuMemAllocAsync(&pointers[1], 40 * kMiB, nullptr));
  balance.expect_same("another one");
  CHECK_OK(set(ordinal, first));
  CHECK_OK(cuMemAllocAsync(&pointers[2], 3 * kMiB, nullptr));
  balance.expect_same("the first one again");
  for (const CUdeviceptr pointer : pointers) CHECK_OK(cuMemFreeAsync(pointer, nullptr));
  for (const CUmemoryPool pool : pools) CHECK_OK(cuMemPoolDestroy(pool));
  CHECK_OK(cuMemPoolTrimTo(first, 0));
  CHECK_OK(cuCtxSynchronize());
  balance.expect_as_before("their end");
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
          {"half-asked", half_asked},
          {"attached", attached},
          {"granules", granules},
          {"holes", holes},
          {"multicast", multicast},
          {"narrow", narrow},
          {"replaced-pools", replaced_pools}};
}

}  // namespace memory_program
