// For the tests of the simulated driver: a device set of one's own, processes that use it, and the driver's calls.
//
// A test's own process never initialises the driver (it could not fork afterwards); each part runs in a child, whose
// failed expectations become its exit code.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "cuda_abi.h"
#include "device.h"

extern "C" {
CUresult cuInit(unsigned);
CUresult cuDriverGetVersion(int*);
CUresult cuDeviceGet(CUdevice*, int);
CUresult cuDeviceGetCount(int*);
CUresult cuDeviceGetName(char*, int, CUdevice);
CUresult cuDeviceGetUuid_v2(CUuuid*, CUdevice);
CUresult cuDeviceTotalMem_v2(std::size_t*, CUdevice);
CUresult cuDeviceGetAttribute(int*, int, CUdevice);
CUresult cuDevicePrimaryCtxRetain(CUcontext*, CUdevice);
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice);
CUresult cuDevicePrimaryCtxReset_v2(CUdevice);
CUresult cuCtxCreate_v2(CUcontext*, unsigned, CUdevice);
CUresult cuCtxDestroy_v2(CUcontext);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuCtxGetCurrent(CUcontext*);
CUresult cuCtxSynchronize();
CUresult cuMemAlloc_v2(CUdeviceptr*, std::size_t);
CUresult cuMemAllocManaged(CUdeviceptr*, std::size_t, unsigned);
CUresult cuMemAllocPitch_v2(CUdeviceptr*, std::size_t*, std::size_t, std::size_t, unsigned);
CUresult cuMemFree_v2(CUdeviceptr);
CUresult cuMemGetInfo_v2(std::size_t*, std::size_t*);
CUresult cuMemGetAddressRange_v2(CUdeviceptr*, std::size_t*, CUdeviceptr);
CUresult cuMemHostAlloc(void**, std::size_t, unsigned);
CUresult cuMemFreeHost(void*);
CUresult cuPointerGetAttribute(void*, int, CUdeviceptr);
CUresult cuModuleLoadData(CUmodule*, const void*);
CUresult cuModuleUnload(CUmodule);
CUresult cuModuleGetFunction(CUfunction*, CUmodule, const char*);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                        void**, void**);
CUresult cuLaunchHostFunc(CUstream, CUhostFn, void*);
CUresult cuStreamCreate(CUstream*, unsigned);
CUresult cuStreamDestroy_v2(CUstream);
CUresult cuStreamSynchronize(CUstream);
CUresult cuStreamQuery(CUstream);
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned);
CUresult cuStreamWaitValue32_v2(CUstream, CUdeviceptr, std::uint32_t, unsigned);
CUresult cuEventCreate(CUevent*, unsigned);
CUresult cuEventDestroy_v2(CUevent);
CUresult cuEventRecord(CUevent, CUstream);
CUresult cuEventQuery(CUevent);
CUresult cuEventSynchronize(CUevent);
CUresult cuEventElapsedTime(float*, CUevent, CUevent);
CUresult cuGetProcAddress(const char*, void**, int, std::uint64_t);
CUresult cuGetProcAddress_v2(const char*, void**, int, std::uint64_t, int*);
}

namespace sim::test {

constexpr CUresult kOk = CUDA_SUCCESS;
constexpr std::uint64_t kMs = 1'000'000, kUs = 1000;

// Any other function of the driver, by its exported name. The arguments must have exactly the types it takes.
template <class... Arguments>
CUresult call(const char* symbol, Arguments... arguments) {
  using Function = CUresult (*)(Arguments...);
  const auto function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, symbol));
  EXPECT_NE(function, nullptr) << symbol;
  return function == nullptr ? CUDA_ERROR_NOT_FOUND : function(arguments...);
}

inline void sleep_ns(std::uint64_t ns) {
  const timespec time{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  nanosleep(&time, nullptr);
}

// A device set for one test, gone with it.
class DeviceSet {
 public:
  explicit DeviceSet(const std::string& devices = "1xH100-80GB") {
    static int count = 0;
    name_ = "test-" + std::to_string(getpid()) + "-" + std::to_string(count++);
    setenv("KIBOKO_SIM", name_.c_str(), 1);
    setenv("KIBOKO_SIM_DEVICES", devices.c_str(), 1);
    std::string error;
    shared_ = attach(name_, devices, error);
    EXPECT_NE(shared_, nullptr) << error;
  }
  ~DeviceSet() {
    unlink(path_of(name_).c_str());
    unsetenv("KIBOKO_SIM");
    unsetenv("KIBOKO_SIM_DEVICES");
  }
  DeviceSet(const DeviceSet&) = delete;
  DeviceSet& operator=(const DeviceSet&) = delete;
  Shared& shared() const { return *shared_; }

 private:
  std::string name_;
  Shared* shared_ = nullptr;
};

// A process of its own; ends with 0 if every expectation in it held.
class Child {
 public:
  explicit Child(const std::function<void()>& body) : pid_(fork()) {
    if (pid_ != 0) return;
    alarm(120);
    body();
    fflush(nullptr);
    exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  ~Child() {
    if (pid_ > 0) end();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int wait() {
    int status = -1;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  void end() {
    kill(pid_, SIGKILL);
    wait();
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

inline void in_child(const std::function<void()>& body) {
  Child child(body);
  EXPECT_EQ(child.wait(), 0);
}

// Initialised, with the primary context of a device current and a function that runs for as long as it is told.
struct Program {
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction spin = nullptr;
  CUfunction other = nullptr;

  explicit Program(int device = 0) {
    EXPECT_EQ(cuInit(0), kOk);
    EXPECT_EQ(cuDevicePrimaryCtxRetain(&context, device), kOk);
    EXPECT_EQ(cuCtxSetCurrent(context), kOk);
    EXPECT_EQ(cuModuleLoadData(&module, "anything"), kOk);
    EXPECT_EQ(cuModuleGetFunction(&spin, module, "kiboko_spin_ns"), kOk);
    EXPECT_EQ(cuModuleGetFunction(&other, module, "saxpy"), kOk);
  }
  CUresult run(std::uint64_t ns, CUstream stream = nullptr, unsigned blocks = 132 * 16) const {
    void* parameters[] = {&ns};
    return cuLaunchKernel(spin, blocks, 1, 1, 256, 1, 1, 0, stream, parameters, nullptr);
  }
};

inline CUevent new_event(unsigned flags = 0) {
  CUevent event = nullptr;
  EXPECT_EQ(cuEventCreate(&event, flags), kOk);
  return event;
}
inline CUstream new_stream(unsigned flags = kStreamNonBlocking) {
  CUstream stream = nullptr;
  EXPECT_EQ(cuStreamCreate(&stream, flags), kOk);
  return stream;
}
// Submits while a kernel that ends with `start` is still running, so that what is submitted follows without a gap: on a
// busy machine that may take another, longer try.
template <class Submit>
void behind_work(const Program& program, CUstream stream, CUevent start, Submit submit) {
  for (std::uint64_t lead = 5 * kMs; lead < 30'000 * kMs; lead *= 4) {
    program.run(lead, stream);
    EXPECT_EQ(cuEventRecord(start, stream), kOk);
    submit();
    const bool in_time = cuEventQuery(start) == CUDA_ERROR_NOT_READY;
    EXPECT_EQ(cuCtxSynchronize(), kOk);
    if (in_time) return;
  }
  ADD_FAILURE() << "the machine is too slow to submit a few kernels in half a minute";
}

inline double ms_between(CUevent start, CUevent end) {
  float ms = -1;
  EXPECT_EQ(cuEventElapsedTime(&ms, start, end), kOk);
  return ms;
}

}  // namespace sim::test
