// Memory that one process makes and another one opens. The test (memory_test.cc) carries what one prints to the other.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "memory_program.h"

namespace memory_program {
namespace {

constexpr int kFileDescriptor = 1;
constexpr unsigned kLazyPeerAccess = 1;

void say(const char* text) {
  puts(text);
  fflush(stdout);
}

std::string heard() {
  char line[400] = "";
  CHECK(fgets(line, sizeof line, stdin) != nullptr, "nobody speaks to us");
  line[strcspn(line, "\n")] = 0;
  return line;
}

// maker-ipc BYTES: makes memory and prints its handle; ends when it is told to.
void make_for_ipc() {
  start();
  CUdeviceptr pointer = 0;
  CUipcMemHandle handle{};
  CHECK_OK(cuMemAlloc_v2(&pointer, number(0)));
  CHECK_OK(driver_function<CUresult(CUipcMemHandle*, CUdeviceptr)>("cuIpcGetMemHandle")(&handle, pointer));
  std::string text;
  for (const char byte : handle.reserved) {
    char two[3];
    snprintf(two, sizeof two, "%02x", static_cast<unsigned char>(byte));
    text += two;
  }
  say(text.c_str());
  heard();
}

// maker-handle BYTES: the same by a descriptor, which another process finds in /proc.
void make_for_handle() {
  start();
  CUmemAllocationProp properties{};
  properties.type = 1;
  properties.requested_handle_types = kFileDescriptor;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
  CUmemGenericAllocationHandle handle = 0;
  CHECK_OK(cuMemCreate(&handle, number(0), &properties, 0));
  using Export = CUresult(void*, CUmemGenericAllocationHandle, int, unsigned long long);
  int file = -1;
  CHECK_OK(driver_function<Export>("cuMemExportToShareableHandle")(&file, handle, kFileDescriptor, 0));
  say(("/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file)).c_str());
  heard();
}

// With the memory open: while its maker lives it is charged once; then it is ours until `close`.
template <class Close>
void hold(const Balance& before, Close close) {
  const std::uint64_t ask = number(1);
  before.expect_as_before("opening it");
  say("opened");
  heard();
  CUdeviceptr pointer = 0;
  const CUresult result = cuMemAlloc_v2(&pointer, ask);
  CHECK(result == CUDA_ERROR_OUT_OF_MEMORY, "the limit does not hold: %d", result);
  CHECK_OK(cuCtxSynchronize());
  before.expect_same("its maker's end");
  close();
  before.expect_same("its own end");
  CHECK_OK(cuMemAlloc_v2(&pointer, ask));
  say("well");
}

// holder-ipc BYTES ASK
void hold_by_ipc() {
  start();
  const Balance before;
  const std::string text = heard();
  CUipcMemHandle handle{};
  for (std::size_t i = 0; i < sizeof handle.reserved; ++i)
    handle.reserved[i] = static_cast<char>(strtoul(text.substr(2 * i, 2).c_str(), nullptr, 16));
  CUdeviceptr pointer = 0, again = 0;
  CHECK_OK(cuIpcOpenMemHandle_v2(&pointer, handle, kLazyPeerAccess));
  CHECK_OK(cuIpcOpenMemHandle_v2(&again, handle, kLazyPeerAccess));
  CHECK_OK(cuIpcCloseMemHandle(again));
  hold(before, [=] { CHECK_OK(cuIpcCloseMemHandle(pointer)); });
}

// holder-handle BYTES ASK
void hold_by_handle() {
  start();
  const Balance before;
  const int file = open(heard().c_str(), O_RDWR | O_CLOEXEC);
  CHECK(file >= 0, "the maker's descriptor cannot be opened");
  CUmemGenericAllocationHandle handle = 0, again = 0;
  void* const os_handle = reinterpret_cast<void*>(static_cast<std::intptr_t>(file));
  CHECK_OK(cuMemImportFromShareableHandle(&handle, os_handle, kFileDescriptor));
  CHECK_OK(cuMemImportFromShareableHandle(&again, os_handle, kFileDescriptor));
  CUdeviceptr range = 0;
  CHECK_OK(cuMemAddressReserve(&range, number(0), 0, 0, 0));
  CHECK_OK(cuMemMap(range, number(0), 0, handle, 0));
  CHECK_OK(cuMemRelease(handle));
  CHECK_OK(cuMemRelease(again));
  hold(before, [=] { CHECK_OK(cuMemUnmap(range, number(0))); });
}

}  // namespace

std::vector<Scenario> shared_cases() {
  return {{"maker-ipc", make_for_ipc},
          {"maker-handle", make_for_handle},
          {"holder-ipc", hold_by_ipc},
          {"holder-handle", hold_by_handle}};
}

}  // namespace memory_program
