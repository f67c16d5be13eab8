// Look-ups by every route: which variant a program gets for which version and stream mode.
#include <string.h>

#include <set>
#include <string>
#include <vector>

#include "test_driver.h"

namespace sim::test {
namespace {

struct Row {
  const char* base;
  const char* symbol;
  int version;
  const char* mode;
};
#define SIMULATED(base, symbol, version, mode) {#base, #symbol, version, #mode},
#define REFUSED(base, symbol, version, mode) {#base, #symbol, version, #mode},
const Row kRows[] = {
#include "functions.def"
};

void* by_name(const std::string& symbol) { return dlsym(RTLD_DEFAULT, symbol.c_str()); }

void* look_up(const char* base, int version, std::uint64_t flags = 0, int* status = nullptr) {
  void* found = reinterpret_cast<void*>(1);
  cuGetProcAddress_v2(base, &found, version, flags, status);
  return found;
}

TEST(LookUp, EveryListedSymbolIsExported) {
  for (const Row& row : kRows) EXPECT_NE(by_name(row.symbol), nullptr) << row.symbol;
}

TEST(LookUp, TheListHasThePublicNames) {
  std::set<std::string> bases;
  for (const Row& row : kRows) bases.insert(row.base);
  EXPECT_GE(bases.size(), 430u);
}

TEST(LookUp, TheNewestVariantNotAboveTheVersionIsChosen) {
  struct Case {
    const char* base;
    int version;
    const char* symbol;
  };
  const Case cases[] = {
      {"cuMemAlloc", 2000, "cuMemAlloc"},
      {"cuMemAlloc", 3020, "cuMemAlloc_v2"},
      {"cuMemAlloc", 12000, "cuMemAlloc_v2"},
      {"cuCtxCreate", 3020, "cuCtxCreate_v2"},
      {"cuCtxCreate", 11040, "cuCtxCreate_v3"},
      {"cuCtxCreate", 12040, "cuCtxCreate_v3"},
      {"cuCtxCreate", 12050, "cuCtxCreate_v4"},
      {"cuMemPrefetchAsync", 8000, "cuMemPrefetchAsync"},
      {"cuMemPrefetchAsync", 12020, "cuMemPrefetchAsync_v2"},
      {"cuCtxSynchronize", 12080, "cuCtxSynchronize"},
      {"cuCtxSynchronize", 13000, "cuCtxSynchronize_v2"},
      {"cuGetProcAddress", 11030, "cuGetProcAddress"},
      {"cuGetProcAddress", 12000, "cuGetProcAddress_v2"},
      {"cuStreamGetCaptureInfo", 11030, "cuStreamGetCaptureInfo_v2"},
      {"cuStreamGetCaptureInfo", 12030, "cuStreamGetCaptureInfo_v3"},
      {"cuGraphAddKernelNode", 11000, "cuGraphAddKernelNode"},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(look_up(one.base, one.version), by_name(one.symbol)) << one.base << " at " << one.version;
  }
}

TEST(LookUp, TheStreamModeChoosesTheTwin) {
  EXPECT_EQ(look_up("cuLaunchKernel", 12000, 2), by_name("cuLaunchKernel_ptsz"));
  EXPECT_EQ(look_up("cuLaunchKernel", 12000, 1), by_name("cuLaunchKernel"));
  EXPECT_EQ(look_up("cuMemcpyHtoD", 12000, 2), by_name("cuMemcpyHtoD_v2_ptds"));
  EXPECT_EQ(look_up("cuMemPrefetchAsync", 8000, 2), by_name("cuMemPrefetchAsync_ptsz"));
  EXPECT_EQ(look_up("cuMemPrefetchAsync", 12020, 2), by_name("cuMemPrefetchAsync_v2_ptsz"));
  EXPECT_EQ(look_up("cuMemAlloc", 12000, 2), by_name("cuMemAlloc_v2")) << "no twin: the ordinary one";
}

TEST(LookUp, EveryRowIsFoundAtItsOwnVersion) {
  for (const Row& row : kRows) {
    if (row.version > 13000) continue;  // newer than the driver simulated by default
    const bool twin = strcmp(row.mode, "kPerThread") == 0;
    EXPECT_EQ(look_up(row.base, row.version, twin ? 2 : 0), by_name(row.symbol)) << row.symbol;
  }
}

TEST(LookUp, StatusAndCodeSayWhyNothingWasFound) {
  int status = -1;
  EXPECT_EQ(look_up("cuMemAlloc", 12000, 0, &status), by_name("cuMemAlloc_v2"));
  EXPECT_EQ(status, 0);
  EXPECT_EQ(look_up("cuNoSuchThing", 12000, 0, &status), nullptr);
  EXPECT_EQ(status, 1);
  EXPECT_EQ(look_up("cuMemAllocAsync", 11010, 0, &status), nullptr);
  EXPECT_EQ(status, 2);
  EXPECT_EQ(look_up("cuMemAlloc_v2", 12000, 0, &status), nullptr) << "base names only";
  void* found = reinterpret_cast<void*>(1);
  EXPECT_EQ(cuGetProcAddress("cuNoSuchThing", &found, 12000, 0), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(found, nullptr);
  EXPECT_EQ(cuGetProcAddress("cuMemAlloc", &found, 12000, 7), CUDA_ERROR_INVALID_VALUE);
}

TEST(LookUp, SymbolsHaveNoVersions) {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  ASSERT_NE(library, nullptr);
  EXPECT_EQ(dlvsym(library, "cuInit", "GLIBC_2.2.5"), nullptr);
  EXPECT_NE(dlsym(library, "cuInit"), nullptr);
}

TEST(LookUp, AnOlderDriverHidesWhatIsNewer) {
  DeviceSet set;
  in_child([] {
    setenv("SIM_DRIVER", "11080", 1);
    EXPECT_EQ(cuInit(0), kOk);
    int version = 0, status = -1;
    EXPECT_EQ(cuDriverGetVersion(&version), kOk);
    EXPECT_EQ(version, 11080);
    EXPECT_EQ(look_up("cuLibraryLoadData", 12000, 0, &status), nullptr);
    EXPECT_EQ(status, 1);
    EXPECT_EQ(look_up("cuCtxCreate", 12050), by_name("cuCtxCreate_v3"));
    EXPECT_EQ(look_up("cuGetProcAddress", 12000), by_name("cuGetProcAddress"));
  });
}

// --- initialising, forking, faults, visible devices ------------------------------------------------------------------

TEST(Initialising, ComesFirst) {
  DeviceSet set;
  in_child([] {
    int count = 0;
    EXPECT_EQ(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    EXPECT_EQ(call("cuTexObjectDestroy", 0ull), CUDA_ERROR_NOT_INITIALIZED);
    EXPECT_EQ(cuInit(1), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuInit(0), kOk);
    EXPECT_EQ(cuDeviceGetCount(&count), kOk);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(call("cuTexObjectDestroy", 0ull), CUDA_ERROR_NOT_SUPPORTED);
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc_v2(&address, 1), CUDA_ERROR_INVALID_CONTEXT);
  });
}

TEST(Initialising, AChildOfAnInitialisedParentCannotUseTheDriver) {
  DeviceSet set;
  in_child([] {
    Program program;
    in_child([] {
      int count = 0;
      EXPECT_EQ(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
      EXPECT_EQ(cuInit(0), CUDA_ERROR_NOT_INITIALIZED);
    });
    EXPECT_EQ(program.run(1 * kMs), kOk);
    EXPECT_EQ(cuCtxSynchronize(), kOk);
  });
}

TEST(Faults, HappenAtTheCallTheyAreWantedAt) {
  DeviceSet set;
  in_child([] {
    setenv("KIBOKO_SIM_FAULT", "cuMemAlloc_v2:2=2,cuEventQuery=700,cuStreamCreate:1=null,cuCtxSynchronize:1=delay:20ms",
           1);
    Program program;
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc_v2(&address, 512), kOk);
    EXPECT_EQ(cuMemAlloc_v2(&address, 512), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cuMemAlloc_v2(&address, 512), kOk);
    EXPECT_EQ(cuEventQuery(nullptr), 700);
    EXPECT_EQ(cuEventQuery(nullptr), 700);
    CUstream stream = reinterpret_cast<CUstream>(std::uintptr_t{123456});
    EXPECT_EQ(cuStreamCreate(&stream, 0), kOk);
    EXPECT_EQ(stream, nullptr);
    const std::uint64_t before = now_ns();
    EXPECT_EQ(cuCtxSynchronize(), kOk);
    EXPECT_GE(now_ns() - before, 20 * kMs);
  });
}

TEST(Faults, CanKillTheProcess) {
  DeviceSet set;
  Child child([] {
    setenv("KIBOKO_SIM_FAULT", "cuMemAlloc_v2:2=kill", 1);
    Program program;
    CUdeviceptr address = 0;
    cuMemAlloc_v2(&address, 512);
    cuMemAlloc_v2(&address, 512);
  });
  const int status = child.wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_EQ(memory_use(set.shared(), 0).used, 0u);
}

TEST(Devices, AreWhatTheSpecificationSays) {
  DeviceSet set("2xH100-80GB,1xA10-24GB");
  in_child([] {
    EXPECT_EQ(cuInit(0), kOk);
    int count = 0;
    EXPECT_EQ(cuDeviceGetCount(&count), kOk);
    EXPECT_EQ(count, 3);
    char name[64];
    EXPECT_EQ(cuDeviceGetName(name, sizeof name, 2), kOk);
    EXPECT_STREQ(name, "NVIDIA A10");
    std::size_t bytes = 0;
    EXPECT_EQ(cuDeviceTotalMem_v2(&bytes, 0), kOk);
    EXPECT_EQ(bytes, (81559 - 551) * kMiB);
    int sms = 0;
    EXPECT_EQ(cuDeviceGetAttribute(&sms, 16, 2), kOk);
    EXPECT_EQ(sms, 72);
  });
}

TEST(Devices, AreHiddenAsTheVisibilityVariableSays) {
  DeviceSet set("3xT4-16GB");
  const std::string second = uuid_text(set.shared().devices[1].uuid);
  const auto visible = [&](const std::string& value) {
    std::string answer;
    int pipes[2];
    EXPECT_EQ(pipe(pipes), 0);
    in_child([&] {
      setenv("CUDA_VISIBLE_DEVICES", value.c_str(), 1);
      std::string seen;
      int count = 0;
      if (cuInit(0) == kOk) cuDeviceGetCount(&count);
      for (int i = 0; i < count; ++i) {
        CUuuid uuid;
        cuDeviceGetUuid_v2(&uuid, i);
        for (int k = 0; k < 3; ++k) {
          if (memcmp(&uuid, &set.shared().devices[k].uuid, 16) == 0) seen += std::to_string(k);
        }
      }
      EXPECT_EQ(write(pipes[1], seen.data(), seen.size()), static_cast<ssize_t>(seen.size()));
    });
    close(pipes[1]);
    char buffer[16];
    const ssize_t size = read(pipes[0], buffer, sizeof buffer);
    close(pipes[0]);
    return std::string(buffer, size > 0 ? static_cast<std::size_t>(size) : 0);
  };
  EXPECT_EQ(visible("2,0"), "20");
  EXPECT_EQ(visible(second), "1");
  EXPECT_EQ(visible(second.substr(0, 12) + ",2"), "12");
  EXPECT_EQ(visible("0,9,1"), "0") << "an invalid entry ends the list";
  EXPECT_EQ(visible("1,1,2"), "1");
  EXPECT_EQ(visible(""), "");
  EXPECT_EQ(visible("-1"), "");
}

}  // namespace
}  // namespace sim::test
