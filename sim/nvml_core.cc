// Initialisation, faults, handles, and what is asked of the system rather than of a device.
#include "nvml_core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include <atomic>
#include <mutex>

namespace nvml {
struct HandleTag {
  char unused;
};

namespace {

struct Library {
  std::mutex mutex;  // attaching
  std::atomic<int> users{0};
  std::atomic<sim::Shared*> shared{nullptr};
  std::atomic<sim::ManagementState*> management{nullptr};
  ino_t inode = 0;  // of the attached set; a set removed and made anew is attached again
  HandleTag handles[sim::kMaxDevices];
};
Library library;

struct Fault {
  char name[96];
  Return code;  // kSuccess: only pause
  std::uint64_t pause_ns;
  bool for_ever;
  unsigned first, last;  // calls, counted from 1
  std::atomic<unsigned> calls;
};
constexpr int kMaxFaults = 32;
Fault faults[kMaxFaults];
std::atomic<int> fault_count{-1};  // -1: not read yet
std::mutex fault_mutex;

std::uint64_t parse_pause(const char* text) {
  char* unit = nullptr;
  const double value = strtod(text, &unit);
  double scale = 1e9;
  if (strncmp(unit, "ms", 2) == 0) scale = 1e6;
  if (strncmp(unit, "us", 2) == 0) scale = 1e3;
  if (strncmp(unit, "ns", 2) == 0) scale = 1;
  return value > 0 ? static_cast<std::uint64_t>(value * scale) : 0;
}

// One "name=what@when".
bool parse_fault(const std::string& text, Fault& fault) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals >= sizeof fault.name) return false;
  snprintf(fault.name, sizeof fault.name, "%s", text.substr(0, equals).c_str());
  std::string what = text.substr(equals + 1);
  fault.first = 1;
  fault.last = ~0U;
  if (const std::size_t at = what.find('@'); at != std::string::npos) {
    fault.first = static_cast<unsigned>(strtoul(what.c_str() + at + 1, nullptr, 10));
    if (what.back() != '+') fault.last = fault.first;
    what.resize(at);
  }
  fault.for_ever = what == "hang";
  fault.pause_ns = what.rfind("hang:", 0) == 0 ? parse_pause(what.c_str() + 5) : 0;
  fault.code = what.rfind("hang", 0) == 0 ? kSuccess : static_cast<Return>(strtoul(what.c_str(), nullptr, 10));
  fault.calls = 0;
  return true;
}

void read_faults() {
  const std::lock_guard lock(fault_mutex);
  const char* text = getenv("KIBOKO_SIM_NVML_FAULT");
  std::string rest = text == nullptr ? "" : text;
  int count = 0;
  while (!rest.empty() && count < kMaxFaults) {
    const std::size_t comma = rest.find(',');
    if (parse_fault(rest.substr(0, comma), faults[count])) ++count;
    rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
  }
  fault_count = count;
}

bool matches(const char* pattern, const char* name) {
  const std::size_t length = strlen(pattern);
  if (length > 0 && pattern[length - 1] == '*') return strncmp(pattern, name, length - 1) == 0;
  return strcmp(pattern, name) == 0;
}

void sleep_ns(std::uint64_t ns) {
  timespec left{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

// The child of a fork has none of the threads that may have held these.
void lock_all() {
  library.mutex.lock();
  fault_mutex.lock();
}

void unlock_all() {
  fault_mutex.unlock();
  library.mutex.unlock();
}

__attribute__((constructor)) void watch_forks() { pthread_atfork(lock_all, unlock_all, unlock_all); }

Return attach() {
  const char* variable = getenv("KIBOKO_SIM");
  const std::string name = variable == nullptr || *variable == 0 ? "default" : variable;
  struct stat info;
  if (library.shared != nullptr && stat(sim::path_of(name).c_str(), &info) == 0 && info.st_ino == library.inode) {
    return kSuccess;
  }
  std::string error;
  sim::Shared* shared = sim::attach_from_environment(error);
  sim::ManagementState* management = shared == nullptr ? nullptr : sim::attach_management(name, error);
  if (management == nullptr) {
    fprintf(stderr, "simulated libnvidia-ml: %s\n", error.c_str());  // the caller only learns "driver not loaded"
    return kDriverNotLoaded;
  }
  library.inode = stat(sim::path_of(name).c_str(), &info) == 0 ? info.st_ino : 0;
  library.management = management;
  library.shared = shared;
  return kSuccess;
}

Return initialise(const char* function) {
  read_faults();
  if (const Return code = fault(function); code != kSuccess) return code;
  const std::lock_guard lock(library.mutex);
  if (library.users == 0) {
    if (const Return code = attach(); code != kSuccess) return code;
  }
  ++library.users;
  return kSuccess;
}

struct DriverVersion {
  int cuda;
  const char* driver;
};
// The last driver of the branch that came with each CUDA version.
constexpr DriverVersion kDrivers[] = {
    {11040, "470.256.02"}, {11050, "495.46"},    {11060, "510.108.03"}, {11070, "515.105.01"}, {11080, "520.61.05"},
    {12000, "525.147.05"}, {12010, "530.41.03"}, {12020, "535.183.06"}, {12030, "545.29.06"},  {12040, "550.163.01"},
    {12050, "555.58.02"},  {12060, "560.35.05"}, {12070, "565.77"},     {12080, "570.172.08"}, {12090, "575.64.05"},
    {13000, "580.95.05"},  {13010, "590.48.01"},
};

int cuda_version() {
  const char* text = getenv("KIBOKO_SIM_DRIVER");
  const int version = text == nullptr ? 0 : atoi(text);
  return version >= 11000 ? version : 12080;
}

constexpr const char* kErrors[] = {"Success",
                                   "Uninitialized",
                                   "Invalid Argument",
                                   "Not Supported",
                                   "Insufficient Permissions",
                                   "Already Initialized",
                                   "Not Found",
                                   "Insufficient Size",
                                   "Insufficient External Power",
                                   "Driver Not Loaded",
                                   "Timeout",
                                   "Interrupt Request Issue",
                                   "NVML Shared Library Not Found",
                                   "Function Not Found",
                                   "Corrupted infoROM",
                                   "GPU is lost",
                                   "GPU requires reset",
                                   "The operating system has blocked the request",
                                   "Driver/library version mismatch",
                                   "In use by another client",
                                   "Insufficient Memory",
                                   "No data",
                                   "Operation not supported: ECC enabled",
                                   "Insufficient resources",
                                   "Requested frequency is not supported",
                                   "Argument version mismatch",
                                   "Deprecated function",
                                   "System is not ready",
                                   "No GPUs were found",
                                   "Resource not in correct state",
                                   "Reset type not supported"};

}  // namespace

Return fault(const char* function) {
  if (fault_count < 0) read_faults();
  const int count = fault_count;
  for (int i = 0; i < count; ++i) {
    Fault& entry = faults[i];
    if (!matches(entry.name, function)) continue;
    const unsigned call = ++entry.calls;
    if (call < entry.first || call > entry.last) continue;
    while (entry.for_ever) sleep_ns(1'000'000'000);
    if (entry.pause_ns > 0) sleep_ns(entry.pause_ns);
    if (entry.code != kSuccess) return entry.code;
  }
  return kSuccess;
}

Return enter(const char* function) {
  if (const Return code = fault(function); code != kSuccess) return code;
  return library.users > 0 ? kSuccess : kUninitialized;
}

sim::Shared& shared() { return *library.shared; }
sim::ManagementState& management() { return *library.management; }
int device_count() { return static_cast<int>(shared().device_count); }
Handle handle_of(int index) { return &library.handles[index]; }

int index_of(Handle handle) {
  for (int i = 0; i < device_count(); ++i) {
    if (handle == &library.handles[i]) return i;
  }
  return -1;
}

Gpu gpu_of(int index) { return {shared(), shared().devices[index], management().devices[index], index}; }

Return put_text(const std::string& text, char* out, unsigned length) {
  if (out == nullptr) return kInvalidArgument;
  if (text.size() + 1 > length) return kInsufficientSize;
  memcpy(out, text.c_str(), text.size() + 1);
  return kSuccess;
}

std::string driver_version() {
  const char* best = kDrivers[0].driver;
  for (const DriverVersion& entry : kDrivers) {
    if (entry.cuda <= cuda_version()) best = entry.driver;
  }
  return best;
}

bool is_geforce(const Gpu& gpu) { return strstr(gpu.device.name, "GeForce") != nullptr; }

}  // namespace nvml

using namespace nvml;

NVML_API nvmlInit_v2() { return initialise(__func__); }
NVML_API nvmlInit() { return initialise(__func__); }
NVML_API nvmlInitWithFlags(unsigned) { return initialise(__func__); }

NVML_API nvmlShutdown() {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  const std::lock_guard lock(library.mutex);
  if (library.users == 0) return kUninitialized;
  --library.users;
  return kSuccess;
}

extern "C" __attribute__((visibility("default"))) const char* nvmlErrorString(Return code) {
  return code < sizeof kErrors / sizeof *kErrors ? kErrors[code] : "Unknown Error";
}

NVML_API nvmlSystemGetDriverVersion(char* out, unsigned length) {
  const Return code = enter(__func__);
  return code != kSuccess ? code : put_text(driver_version(), out, length);
}

NVML_API nvmlSystemGetNVMLVersion(char* out, unsigned length) {
  const Return code = fault(__func__);
  return code != kSuccess ? code
                          : put_text(std::to_string(cuda_version() / 1000) + "." + driver_version(), out, length);
}

NVML_API nvmlSystemGetCudaDriverVersion(int* version) {
  if (const Return code = fault(__func__); code != kSuccess) return code;
  if (version == nullptr) return kInvalidArgument;
  *version = cuda_version();
  return kSuccess;
}
NVML_API nvmlSystemGetCudaDriverVersion_v2(int* version) { return nvmlSystemGetCudaDriverVersion(version); }

NVML_API nvmlSystemGetDriverBranch(DriverBranch* branch, unsigned length) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (branch == nullptr) return kInvalidArgument;
  if (branch->version != version_of<DriverBranch>(1)) return kVersionMismatch;
  const std::string driver = driver_version();
  return put_text("r" + driver.substr(0, driver.find('.')) + "_00", branch->branch,
                  length < sizeof branch->branch ? length : static_cast<unsigned>(sizeof branch->branch));
}

// A process by its executable's path, as the kernel tells it to the caller.
NVML_API nvmlSystemGetProcessName(unsigned pid, char* name, unsigned length) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (name == nullptr || length == 0) return kInvalidArgument;
  const std::string path = "/proc/" + std::to_string(pid) + "/cmdline";
  FILE* file = fopen(path.c_str(), "re");
  if (file == nullptr) return kNotFound;
  char text[1024];
  const std::size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[size] = 0;  // the first argument ends at its own zero
  snprintf(name, length, "%s", text);
  return kSuccess;
}

NVML_API nvmlUnitGetCount(unsigned* count) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (count == nullptr) return kInvalidArgument;
  *count = 0;
  return kSuccess;
}

NVML_API nvmlGetExcludedDeviceCount(unsigned* count) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (count == nullptr) return kInvalidArgument;
  *count = 0;
  return kSuccess;
}
NVML_API nvmlGetBlacklistDeviceCount(unsigned* count) { return nvmlGetExcludedDeviceCount(count); }

NVML_API nvmlSystemGetConfComputeState(ConfComputeState* state) {
  if (const Return code = enter(__func__); code != kSuccess) return code;
  if (state == nullptr) return kInvalidArgument;
  *state = {0, 0, 0};  // off
  return kSuccess;
}
