// Ends while other threads are in the middle of allocating, as programs do that do not wait for their workers.
#include <chrono>
#include <thread>

#include "guest_program.h"

extern "C" void linger_at_exit(unsigned us);

namespace guest_program {

void exit_busy() {
  load_driver();
  CHECK_OK(CALL(cuInit, 0));
  CUcontext context = nullptr;
  CHECK_OK(CALL(cuCtxCreate_v2, &context, 0, 0));
  const auto use = reinterpret_cast<decltype(&cuCtxSetCurrent)>(find("cuCtxSetCurrent"));
  const auto allocate = reinterpret_cast<decltype(&cuMemAlloc_v2)>(find("cuMemAlloc_v2"));
  const auto release = reinterpret_cast<decltype(&cuMemFree_v2)>(find("cuMemFree_v2"));
  for (int i = 0; i < 3; ++i)
    std::thread([=] {
      use(context);
      for (CUdeviceptr pointers[4];;) {
        for (CUdeviceptr& pointer : pointers) allocate(&pointer, 1 << 20);
        for (const CUdeviceptr pointer : pointers) release(pointer);
      }
    }).detach();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  linger_at_exit(20'000);
}

}  // namespace guest_program
