// Memory of every kind: what it costs, when it is refused, when it comes back.
#include <gmock/gmock.h>
#include <string.h>
#include <sys/socket.h>

#include <vector>

#include "test_driver.h"

namespace sim::test {
namespace {

using std::size_t;
constexpr size_t kGiB = 1024 * kMiB;

size_t free_now() {
  size_t free = 0, total = 0;
  EXPECT_EQ(cuMemGetInfo_v2(&free, &total), kOk);
  return free;
}

// What `use` takes from the device.
template <class Use>
size_t cost_of(Use use) {
  const size_t before = free_now();
  use();
  return before - free_now();
}

CUdeviceptr allocate(size_t bytes) {
  CUdeviceptr address = 0;
  EXPECT_EQ(cuMemAlloc_v2(&address, bytes), kOk);
  return address;
}

void poke(CUdeviceptr address, int value) {
  EXPECT_EQ(call("cuMemcpyHtoD_v2", address, static_cast<const void*>(&value), sizeof value), kOk);
}
int peek(CUdeviceptr address) {
  int value = 0;
  EXPECT_EQ(call("cuMemcpyDtoH_v2", static_cast<void*>(&value), address, sizeof value), kOk);
  return value;
}

TEST(Memory, IsRoundedAsTheDriverRounds) {
  DeviceSet set;
  in_child([] {
    Program program;
    EXPECT_EQ(cost_of([] { allocate(1); }), 512u);
    EXPECT_EQ(cost_of([] { allocate(513); }), 1024u);
    EXPECT_EQ(cost_of([] { allocate(kMiB - 512); }), kMiB - 512);
    EXPECT_EQ(cost_of([] { allocate(kMiB); }), 2 * kMiB);
    EXPECT_EQ(cost_of([] { allocate(2 * kMiB + 1); }), 4 * kMiB);
    CUdeviceptr none = 0;
    EXPECT_EQ(cuMemAlloc_v2(&none, 0), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST(Memory, GivesTwoOfJustUnderOneMebibyteTwoAddresses) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUdeviceptr first = allocate(kMiB - 1), second = allocate(kMiB - 1);
    EXPECT_NE(first, second);
    poke(first, 1);
    poke(second, 2);
    EXPECT_EQ(peek(first), 1);
    EXPECT_EQ(cuMemFree_v2(first), kOk);
    EXPECT_EQ(peek(second), 2);
  });
}

TEST(Memory, FortyGigabytesCostTheHostNothing) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUdeviceptr address = allocate(40 * kGiB);
    EXPECT_EQ(call("cuMemsetD8_v2", address, static_cast<unsigned char>(0), 40 * kGiB), kOk);
    const int value = 77;
    EXPECT_EQ(call("cuMemcpyHtoD_v2", address + 39 * kGiB, static_cast<const void*>(&value), sizeof value), kOk);
    int back = 0;
    EXPECT_EQ(call("cuMemcpyDtoH_v2", static_cast<void*>(&back), address + 39 * kGiB, sizeof back), kOk);
    EXPECT_EQ(back, 77);
    EXPECT_EQ(cuMemFree_v2(address), kOk);
    EXPECT_EQ(call("cuMemcpyDtoH_v2", static_cast<void*>(&back), address, sizeof back), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMemFree_v2(address), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST(Memory, ABareContextAndAModuleHaveTheirPrice) {
  DeviceSet set;
  in_child([] {
    cuInit(0);
    CUcontext first = nullptr, second = nullptr;
    EXPECT_EQ(cuCtxCreate_v2(&first, 0, 0), kOk);
    EXPECT_EQ(cost_of([&] { EXPECT_EQ(cuCtxCreate_v2(&second, 0, 0), kOk); }), 528 * kMiB);
    CUmodule module = nullptr;
    EXPECT_EQ(cost_of([&] { EXPECT_EQ(cuModuleLoadData(&module, "x"), kOk); }), 2 * kMiB);
    const std::string large(5 * kMiB, 'x');
    EXPECT_EQ(cost_of([&] { EXPECT_EQ(cuModuleLoadData(&module, large.c_str()), kOk); }), 6 * kMiB);
    allocate(kGiB);
    EXPECT_EQ(cuCtxDestroy_v2(second), kOk);
    EXPECT_EQ(cuCtxSetCurrent(first), kOk);
    EXPECT_EQ(free_now(), (81559 - 551 - 528) * kMiB);
  });
}

TEST(Memory, IsOneSumOverAllProcesses) {
  DeviceSet set;
  int pipes[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pipes), 0);
  Child other([&] {
    Program program;
    allocate(50 * kGiB);
    char byte = 1;
    EXPECT_EQ(write(pipes[0], &byte, 1), 1);
    EXPECT_EQ(read(pipes[0], &byte, 1), 1);
  });
  Child mine([&] {
    char byte = 0;
    EXPECT_EQ(read(pipes[1], &byte, 1), 1);
    Program program;
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc_v2(&address, 40 * kGiB), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cuMemAlloc_v2(&address, 20 * kGiB), kOk);
    EXPECT_LT(free_now(), 10 * kGiB);
    EXPECT_EQ(write(pipes[1], &byte, 1), 1);
  });
  EXPECT_EQ(mine.wait(), 0);
  EXPECT_EQ(other.wait(), 0);
  EXPECT_EQ(memory_use(set.shared(), 0).used, 0u);
}

TEST(Memory, TheDeviceIsNeverOversold) {
  DeviceSet set;
  const MemoryUse empty = memory_use(set.shared(), 0);
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 8; ++i) {
    children.push_back(std::make_unique<Child>([&] {
      Program program;
      while (processes_of(set.shared(), 0).size() < 8) sleep_ns(kMs);
      CUdeviceptr address = 0;
      while (cuMemAlloc_v2(&address, 64 * kMiB) == kOk) {
      }
      pause();
    }));
  }
  std::uint64_t last = ~std::uint64_t{0};
  for (int i = 0; i < 1000 && memory_use(set.shared(), 0).free >= 64 * kMiB; ++i) sleep_ns(5 * kMs);
  last = memory_use(set.shared(), 0).free;
  EXPECT_LT(last, 64 * kMiB);
  EXPECT_EQ(memory_use(set.shared(), 0).used + last, empty.free);
  children.clear();
  EXPECT_EQ(memory_use(set.shared(), 0).free, empty.free);
}

TEST(Memory, AnInteriorAddressLeadsToItsAllocation) {
  DeviceSet set;
  in_child([] {
    Program program;
    for (const size_t bytes : {size_t{700}, size_t{300'000}, 3 * kMiB, 5 * kGiB}) {
      const CUdeviceptr address = allocate(bytes);
      CUdeviceptr base = 0;
      size_t size = 0;
      EXPECT_EQ(cuMemGetAddressRange_v2(&base, &size, address + bytes - 1), kOk);
      EXPECT_EQ(base, address);
      EXPECT_EQ(size, bytes);
      unsigned type = 0;
      EXPECT_EQ(cuPointerGetAttribute(&type, 2, address + bytes / 2), kOk);
      EXPECT_EQ(type, 2u);
    }
    int local = 0;
    unsigned type = 0;
    EXPECT_EQ(cuPointerGetAttribute(&type, 2, reinterpret_cast<CUdeviceptr>(&local)), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST(Memory, PitchIsAMultipleOf512) {
  DeviceSet set;
  in_child([] {
    Program program;
    CUdeviceptr address = 0;
    size_t pitch = 0;
    EXPECT_EQ(cost_of([&] { EXPECT_EQ(cuMemAllocPitch_v2(&address, &pitch, 1000, 1024, 4), kOk); }), 2 * kMiB);
    EXPECT_EQ(pitch, 1024u);
  });
}

TEST(Memory, ShapedCopiesMoveTheRightBytes) {
  DeviceSet set;
  in_child([] {
    Program program;
    std::vector<unsigned char> in(64 * 8), out(16 * 4, 0);
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<unsigned char>(i);
    CUdeviceptr address = 0;
    size_t pitch = 0;
    cuMemAllocPitch_v2(&address, &pitch, 64, 8, 4);
    CUDA_MEMCPY2D copy{};
    copy.src_type = kMemoryTypeHost;
    copy.src_host = in.data();
    copy.src_pitch = 64;
    copy.dst_type = kMemoryTypeDevice;
    copy.dst_device = address;
    copy.dst_pitch = pitch;
    copy.width = 64;
    copy.height = 8;
    EXPECT_EQ(call("cuMemcpy2D_v2", static_cast<const CUDA_MEMCPY2D*>(&copy)), kOk);
    CUDA_MEMCPY2D back{};
    back.src_type = kMemoryTypeDevice;
    back.src_device = address;
    back.src_pitch = pitch;
    back.src_x = 8;
    back.src_y = 2;
    back.dst_type = kMemoryTypeHost;
    back.dst_host = out.data();
    back.dst_pitch = 16;
    back.width = 16;
    back.height = 4;
    EXPECT_EQ(call("cuMemcpy2D_v2", static_cast<const CUDA_MEMCPY2D*>(&back)), kOk);
    EXPECT_EQ(out[0], in[2 * 64 + 8]);
    EXPECT_EQ(out[3 * 16 + 15], in[5 * 64 + 23]);
  });
}

TEST(Memory, ACopyTakesItsTimeOnTheStream) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUdeviceptr address = allocate(kGiB);
    void* host = nullptr;
    EXPECT_EQ(cuMemHostAlloc(&host, 4 * kMiB, 0), kOk);
    const CUevent start = new_event(), end = new_event();
    behind_work(program, nullptr, start, [&] {
      EXPECT_EQ(call("cuMemcpyHtoDAsync_v2", address, static_cast<const void*>(host), 4 * kMiB, CUstream{}), kOk);
      cuEventRecord(end, nullptr);
    });
    EXPECT_NEAR(ms_between(start, end), 0.002 + 4 * 1048576 / 25e9 * 1e3, 0.01);
    EXPECT_EQ(cuMemFreeHost(host), kOk);
  });
}

TEST(Arrays, CostTheirPaddedSizeAndComeBack) {
  DeviceSet set;
  in_child([] {
    Program program;
    const size_t before = free_now();
    const CUDA_ARRAY3D_DESCRIPTOR shape{1000, 1000, 10, 0x20, 4, 0};
    CUarray array = nullptr;
    EXPECT_EQ(cost_of([&] { EXPECT_EQ(call("cuArray3DCreate_v2", &array, &shape), kOk); }), 158 * kMiB);
    CUmipmappedArray mipmap = nullptr;
    const CUDA_ARRAY3D_DESCRIPTOR flat{1024, 1024, 0, 0x20, 1, 0};
    EXPECT_EQ(call("cuMipmappedArrayCreate", &mipmap, &flat, 20u), kOk);
    CUarray level = nullptr;
    EXPECT_EQ(call("cuMipmappedArrayGetLevel", &level, mipmap, 10u), kOk);
    EXPECT_EQ(call("cuMipmappedArrayGetLevel", &level, mipmap, 11u), CUDA_ERROR_INVALID_VALUE);
    CUDA_ARRAY_MEMORY_REQUIREMENTS need{};
    EXPECT_EQ(call("cuArrayGetMemoryRequirements", &need, array, CUdevice{0}), kOk);
    EXPECT_EQ(need.size, 158 * kMiB);
    EXPECT_EQ(call("cuArrayDestroy", array), kOk);
    EXPECT_EQ(call("cuMipmappedArrayDestroy", mipmap), kOk);
    EXPECT_EQ(free_now(), before);
  });
}

std::uint64_t pool_attribute(CUmemoryPool pool, int attribute) {
  std::uint64_t value = 0;
  EXPECT_EQ(call("cuMemPoolGetAttribute", pool, attribute, static_cast<void*>(&value)), kOk);
  return value;
}

TEST(Pools, ReserveAndUseAndGiveBackWhenSynchronising) {
  DeviceSet set;
  in_child([] {
    Program program;
    CUmemoryPool pool = nullptr;
    EXPECT_EQ(call("cuDeviceGetDefaultMemPool", &pool, CUdevice{0}), kOk);
    const size_t before = free_now();
    CUdeviceptr address = 0;
    EXPECT_EQ(call("cuMemAllocAsync", &address, 100 * kMiB, CUstream{}), kOk);
    EXPECT_EQ(pool_attribute(pool, 7), 100 * kMiB);
    EXPECT_EQ(pool_attribute(pool, 5), 128 * kMiB);
    EXPECT_EQ(before - free_now(), 128 * kMiB);
    EXPECT_EQ(call("cuMemFreeAsync", address, CUstream{}), kOk);
    EXPECT_EQ(pool_attribute(pool, 7), 0u);
    EXPECT_EQ(before - free_now(), 128 * kMiB);
    cuCtxSynchronize();
    EXPECT_EQ(free_now(), before);
    EXPECT_EQ(pool_attribute(pool, 8), 100 * kMiB);
    EXPECT_EQ(pool_attribute(pool, 6), 128 * kMiB);
  });
}

TEST(Pools, KeepWhatTheThresholdSays) {
  DeviceSet set;
  in_child([] {
    Program program;
    CUmemoryPool pool = nullptr;
    CUmemPoolProps properties{};
    properties.alloc_type = 1;
    properties.location = {kLocationDevice, 0};
    EXPECT_EQ(call("cuMemPoolCreate", &pool, static_cast<const CUmemPoolProps*>(&properties)), kOk);
    std::uint64_t threshold = 64 * kMiB;
    EXPECT_EQ(call("cuMemPoolSetAttribute", pool, 4, static_cast<void*>(&threshold)), kOk);
    const size_t before = free_now();
    CUdeviceptr address = 0;
    EXPECT_EQ(call("cuMemAllocFromPoolAsync", &address, 200 * kMiB, pool, CUstream{}), kOk);
    EXPECT_EQ(cuMemFree_v2(address), kOk);
    cuCtxSynchronize();
    EXPECT_EQ(before - free_now(), 64 * kMiB);
    EXPECT_EQ(call("cuMemPoolTrimTo", pool, size_t{0}), kOk);
    EXPECT_EQ(free_now(), before);
    EXPECT_EQ(call("cuMemAllocFromPoolAsync", &address, 100 * kGiB, pool, CUstream{}), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(call("cuMemPoolDestroy", pool), kOk);
  });
}

CUmemAllocationProp on_device(int device = 0) {
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.handle_types = kHandleTypeFd;
  properties.location = {kLocationDevice, device};
  return properties;
}

CUmemGenericAllocationHandle create(size_t bytes) {
  CUmemGenericAllocationHandle handle = 0;
  const CUmemAllocationProp properties = on_device();
  EXPECT_EQ(call("cuMemCreate", &handle, bytes, &properties, 0ull), kOk);
  return handle;
}

CUdeviceptr reserve(size_t bytes) {
  CUdeviceptr address = 0;
  EXPECT_EQ(call("cuMemAddressReserve", &address, bytes, size_t{0}, CUdeviceptr{0}, 0ull), kOk);
  return address;
}

void map(CUdeviceptr address, size_t bytes, CUmemGenericAllocationHandle handle) {
  const CUmemAccessDesc access{{kLocationDevice, 0}, 3};
  EXPECT_EQ(call("cuMemMap", address, bytes, size_t{0}, handle, 0ull), kOk);
  EXPECT_EQ(call("cuMemSetAccess", address, bytes, &access, size_t{1}), kOk);
}

TEST(VirtualMemory, LivesUntilReleasedAndUnmapped) {
  DeviceSet set;
  in_child([] {
    Program program;
    const size_t before = free_now();
    const CUmemGenericAllocationHandle handle = create(64 * kMiB);
    EXPECT_EQ(before - free_now(), 64 * kMiB);
    const CUdeviceptr address = reserve(256 * kMiB);
    map(address, 64 * kMiB, handle);
    EXPECT_EQ(call("cuMemRelease", handle), kOk);
    EXPECT_EQ(before - free_now(), 64 * kMiB) << "still mapped";
    CUmemGenericAllocationHandle again = 0;
    EXPECT_EQ(call("cuMemRetainAllocationHandle", &again, reinterpret_cast<void*>(address + 4096)), kOk);
    EXPECT_EQ(again, handle);
    EXPECT_EQ(call("cuMemUnmap", address, 64 * kMiB), kOk);
    EXPECT_EQ(before - free_now(), 64 * kMiB) << "still retained";
    EXPECT_EQ(call("cuMemRelease", again), kOk);
    EXPECT_EQ(free_now(), before);
    EXPECT_EQ(call("cuMemRelease", again), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(call("cuMemAddressFree", address, 256 * kMiB), kOk);
  });
}

TEST(VirtualMemory, TwoAddressesOfOneHandleShowTheSameBytes) {
  DeviceSet set;
  in_child([] {
    Program program;
    const CUmemGenericAllocationHandle handle = create(2 * kMiB);
    const CUdeviceptr one = reserve(2 * kMiB), two = reserve(2 * kMiB);
    map(one, 2 * kMiB, handle);
    EXPECT_EQ(call("cuMemMap", one, 2 * kMiB, size_t{0}, handle, 0ull), CUDA_ERROR_ALREADY_MAPPED);
    map(two, 2 * kMiB, handle);
    EXPECT_EQ(call("cuMemsetD32_v2", one + 4096, 0xabcdu, size_t{4}), kOk);
    unsigned value = 0;
    EXPECT_EQ(call("cuMemcpyDtoH_v2", static_cast<void*>(&value), two + 4100, sizeof value), kOk);
    EXPECT_EQ(value, 0xabcdu);
    EXPECT_EQ(call("cuMemUnmap", one, 2 * kMiB), kOk);
    EXPECT_EQ(call("cuMemsetD32_v2", one, 1u, size_t{4}), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST(VirtualMemory, HostMemoryNeedsNoContextAndNoDeviceMemory) {
  DeviceSet set;
  in_child([] {
    EXPECT_EQ(cuInit(0), kOk);
    CUmemAllocationProp properties = on_device();
    properties.location = {4, 0};  // the NUMA node of the calling thread
    CUmemGenericAllocationHandle handle = 0;
    EXPECT_EQ(call("cuMemCreate", &handle, 2 * kMiB, static_cast<const CUmemAllocationProp*>(&properties), 0ull), kOk);
    EXPECT_EQ(call("cuMemRelease", handle), kOk);
  });
}

// Sends a file descriptor, and receives one.
void send_file(int socket, int file) {
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {};
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &file, sizeof file);
  EXPECT_EQ(sendmsg(socket, &message, 0), 1);
}
int receive_file(int socket) {
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {};
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  EXPECT_EQ(recvmsg(socket, &message, 0), 1);
  int file = -1;
  memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof file);
  return file;
}

TEST(Sharing, AnExportedHandleIsPaidOnceAndOutlivesItsMaker) {
  DeviceSet set;
  int pipes[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pipes), 0);
  Child maker([&] {
    Program program;
    const CUmemGenericAllocationHandle handle = create(2 * kGiB);
    const CUdeviceptr address = reserve(2 * kGiB);
    map(address, 2 * kGiB, handle);
    poke(address + kGiB, 4711);
    int file = -1;
    EXPECT_EQ(call("cuMemExportToShareableHandle", static_cast<void*>(&file), handle, kHandleTypeFd, 0ull), kOk);
    send_file(pipes[0], file);
    char byte = 0;
    EXPECT_EQ(read(pipes[0], &byte, 1), 1);
  });
  Child user([&] {
    Program program;
    const int file = receive_file(pipes[1]);
    CUmemGenericAllocationHandle handle = 0;
    EXPECT_EQ(cost_of([&] {
                EXPECT_EQ(call("cuMemImportFromShareableHandle", &handle,
                               reinterpret_cast<void*>(static_cast<std::intptr_t>(file)), kHandleTypeFd),
                          kOk);
              }),
              0u);
    const CUdeviceptr address = reserve(2 * kGiB);
    map(address, 2 * kGiB, handle);
    EXPECT_EQ(peek(address + kGiB), 4711);
    char byte = 1;
    EXPECT_EQ(write(pipes[1], &byte, 1), 1);
    const size_t alone = (81559 - 551 - 528 - 2) * kMiB - 2 * kGiB;  // own context and module, and the memory
    for (int i = 0; i < 2000 && free_now() != alone; ++i) sleep_ns(5 * kMs);
    EXPECT_EQ(free_now(), alone) << "the maker is gone and the memory is ours to pay";
    EXPECT_EQ(peek(address + kGiB), 4711);
    EXPECT_EQ(call("cuMemUnmap", address, 2 * kGiB), kOk);
    EXPECT_EQ(call("cuMemRelease", handle), kOk);
    EXPECT_EQ(free_now(), alone + 2 * kGiB);
  });
  EXPECT_EQ(maker.wait(), 0);
  EXPECT_EQ(user.wait(), 0);
}

TEST(Sharing, AnIpcHandleShowsTheSameBytes) {
  DeviceSet set;
  for (const size_t bytes : {size_t{4096}, size_t{64 * kMiB}}) {
    int pipes[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pipes), 0);
    Child maker([&] {
      Program program;
      allocate(4096);
      const CUdeviceptr address = allocate(bytes);
      poke(address + 1024, 99);
      CUipcMemHandle handle;
      EXPECT_EQ(call("cuIpcGetMemHandle", &handle, address), kOk);
      CUdeviceptr same = 0;
      EXPECT_EQ(call("cuIpcOpenMemHandle_v2", &same, handle, 1u), CUDA_ERROR_INVALID_CONTEXT);
      EXPECT_EQ(write(pipes[0], &handle, sizeof handle), static_cast<ssize_t>(sizeof handle));
      char byte = 0;
      EXPECT_EQ(read(pipes[0], &byte, 1), 1);
      EXPECT_EQ(peek(address + 1024), 100);
      const size_t before = free_now();
      EXPECT_EQ(cuMemFree_v2(address), kOk);
      EXPECT_EQ(free_now() - before, bytes);
      EXPECT_EQ(write(pipes[0], &byte, 1), 1);
    });
    Child user([&] {
      Program program;
      CUipcMemHandle handle;
      EXPECT_EQ(read(pipes[1], &handle, sizeof handle), static_cast<ssize_t>(sizeof handle));
      CUdeviceptr address = 0;
      EXPECT_EQ(cost_of([&] { EXPECT_EQ(call("cuIpcOpenMemHandle_v2", &address, handle, 1u), kOk); }), 0u);
      EXPECT_EQ(peek(address + 1024), 99);
      poke(address + 1024, 100);
      EXPECT_EQ(call("cuIpcCloseMemHandle", address), kOk);
      EXPECT_EQ(call("cuIpcCloseMemHandle", address), CUDA_ERROR_INVALID_VALUE);
      char byte = 1;
      EXPECT_EQ(write(pipes[1], &byte, 1), 1);
      EXPECT_EQ(read(pipes[1], &byte, 1), 1);  // stay while the maker counts
    });
    EXPECT_EQ(user.wait(), 0);
    EXPECT_EQ(maker.wait(), 0);
    EXPECT_EQ(memory_use(set.shared(), 0).used, 0u);
  }
}

}  // namespace
}  // namespace sim::test
