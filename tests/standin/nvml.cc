// The stand-in libnvidia-ml.so.1: fixed answers about devices that other tenants use too. Every device has 5 GiB in
// use, by a foreign process (pid 4242, or 99 in the MPS list) and by the caller, as a real library would show them.
#include <string.h>
#include <unistd.h>

#include "standin.h"

namespace {

using Result = int;
constexpr Result kOk = 0, kUninitialized = 1, kInvalid = 2, kNotFound = 6, kInsufficient = 7, kVersionMismatch = 25;
constexpr unsigned kForeign = 4242;

int started = 0;
int handles[standin::kMaxDevices];
using Device = int*;

bool valid(Device device) { return device >= handles && device < handles + standin::device_count(); }
Result check(Device device) { return started == 0 ? kUninitialized : valid(device) ? kOk : kInvalid; }
int index_of(Device device) { return static_cast<int>(device - handles); }

struct Memory {
  unsigned long long total, free, used;
};
struct Memory2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
struct Process1 {
  unsigned pid;
  unsigned long long used;
};
struct Process2 {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};
struct Sample {
  unsigned pid;
  unsigned long long timestamp;
  unsigned sm, memory, encoder, decoder;
};
struct Utilization {
  unsigned long long timestamp;
  unsigned pid, sm, memory, encoder, decoder, jpeg, ofa;
};
struct UtilizationList {
  unsigned version, count;
  unsigned long long last_seen;
  Utilization* items;
};
struct Detail {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
  unsigned long long protected_bytes;
};
struct DetailList {
  unsigned version, mode, count;
  Detail* items;
};
template <class T>
constexpr unsigned kVersion1 = static_cast<unsigned>(sizeof(T)) | 1U << 24;

template <class Process>
Result processes(Device device, unsigned* count, Process* out, unsigned foreign) {
  if (const Result bad = check(device); bad != kOk) return bad;
  if (count == nullptr) return kInvalid;
  const unsigned room = *count;
  *count = 2;
  if (room < 2) return kInsufficient;
  if (out == nullptr) return kInvalid;
  memset(static_cast<void*>(out), 0, 2 * sizeof *out);
  out[0].pid = foreign;
  out[0].used = 3 * standin::kGiB;
  out[1].pid = static_cast<unsigned>(getpid());
  out[1].used = 2 * standin::kGiB;
  if constexpr (requires { out[0].gpu_instance; })
    for (int i = 0; i < 2; ++i) out[i].gpu_instance = out[i].compute_instance = 0xffffffff;
  return kOk;
}

Result uuid_text(Device device, char* out, unsigned size) {
  if (const Result bad = check(device); bad != kOk) return bad;
  if (size < 41) return kInsufficient;
  unsigned char bytes[16];
  standin::uuid(index_of(device), bytes);
  char* at = out;
  memcpy(at, "GPU-", 4);
  at += 4;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
    *at++ = "0123456789abcdef"[bytes[i] >> 4];
    *at++ = "0123456789abcdef"[bytes[i] & 15];
  }
  *at = 0;
  return kOk;
}

Result by_index(unsigned index, Device* out) {
  if (started == 0) return kUninitialized;
  if (index >= static_cast<unsigned>(standin::device_count()) || out == nullptr) return kInvalid;
  *out = &handles[index];
  return kOk;
}

Result count_devices(unsigned* count) {
  if (started == 0) return kUninitialized;
  if (count == nullptr) return kInvalid;
  *count = static_cast<unsigned>(standin::device_count());
  return kOk;
}

}  // namespace

STANDIN_EXPORT Result nvmlInit() { return ++started, kOk; }
STANDIN_EXPORT Result nvmlInit_v2() { return ++started, kOk; }
STANDIN_EXPORT Result nvmlInitWithFlags(unsigned) { return ++started, kOk; }
STANDIN_EXPORT Result nvmlShutdown() { return started > 0 ? (--started, kOk) : kUninitialized; }
STANDIN_EXPORT Result nvmlDeviceGetCount(unsigned* count) { return count_devices(count); }
STANDIN_EXPORT Result nvmlDeviceGetCount_v2(unsigned* count) { return count_devices(count); }
STANDIN_EXPORT Result nvmlDeviceGetHandleByIndex(unsigned index, Device* out) { return by_index(index, out); }
STANDIN_EXPORT Result nvmlDeviceGetHandleByIndex_v2(unsigned index, Device* out) { return by_index(index, out); }
STANDIN_EXPORT Result nvmlDeviceGetUUID(Device device, char* out, unsigned size) {
  return uuid_text(device, out, size);
}
STANDIN_EXPORT Result nvmlDeviceGetIndex(Device device, unsigned* index) {
  const Result result = check(device);
  if (result == kOk) *index = static_cast<unsigned>(index_of(device));
  return result;
}
STANDIN_EXPORT Result nvmlDeviceGetName(Device device, char* out, unsigned size) {
  const Result result = check(device);
  if (result == kOk) strncpy(out, "Stand-in", size);
  return result;
}
STANDIN_EXPORT Result nvmlDeviceGetHandleByUUID(const char* uuid, Device* out) {
  if (started == 0) return kUninitialized;
  for (unsigned i = 0; i < static_cast<unsigned>(standin::device_count()); ++i) {
    char text[64];
    if (uuid_text(&handles[i], text, sizeof text) == kOk && strcmp(text, uuid) == 0) return by_index(i, out);
  }
  return kNotFound;
}

STANDIN_EXPORT Result nvmlDeviceGetMemoryInfo(Device device, Memory* memory) {
  const Result result = check(device);
  if (result == kOk)
    *memory = {standin::device_bytes(), standin::device_bytes() - 5 * standin::kGiB, 5 * standin::kGiB};
  return result;
}
STANDIN_EXPORT Result nvmlDeviceGetMemoryInfo_v2(Device device, Memory2* memory) {
  if (const Result bad = check(device); bad != kOk) return bad;
  if (memory->version != (static_cast<unsigned>(sizeof(Memory2)) | 2U << 24)) return kVersionMismatch;
  const unsigned long long total = standin::device_bytes(), reserved = 256 << 20;
  *memory = {memory->version, total, reserved, total - reserved - 5 * standin::kGiB, 5 * standin::kGiB};
  return kOk;
}

#define PROCESS_LIST(kind, foreign)                                                                      \
  STANDIN_EXPORT Result nvmlDeviceGet##kind##RunningProcesses(Device d, unsigned* n, Process1* out) {    \
    return processes(d, n, out, foreign);                                                                \
  }                                                                                                      \
  STANDIN_EXPORT Result nvmlDeviceGet##kind##RunningProcesses_v2(Device d, unsigned* n, Process2* out) { \
    return processes(d, n, out, foreign);                                                                \
  }                                                                                                      \
  STANDIN_EXPORT Result nvmlDeviceGet##kind##RunningProcesses_v3(Device d, unsigned* n, Process2* out) { \
    return processes(d, n, out, foreign);                                                                \
  }
PROCESS_LIST(Compute, kForeign)
PROCESS_LIST(Graphics, kForeign)
PROCESS_LIST(MPSCompute, 99)

STANDIN_EXPORT Result nvmlDeviceGetUtilizationRates(Device device, unsigned* rates) {
  const Result result = check(device);
  if (result == kOk) rates[0] = 90, rates[1] = 40;
  return result;
}
STANDIN_EXPORT Result nvmlDeviceGetAccountingPids(Device device, unsigned* count, unsigned* out) {
  if (const Result bad = check(device); bad != kOk) return bad;
  const unsigned room = *count;
  *count = 2;
  if (out == nullptr || room < 2) return kInsufficient;
  out[0] = kForeign;
  out[1] = static_cast<unsigned>(getpid());
  return kOk;
}
STANDIN_EXPORT Result nvmlDeviceGetAccountingStats(Device device, unsigned, unsigned* stats) {
  const Result result = check(device);
  if (result == kOk) memset(stats, 0, 56);
  return result;
}

STANDIN_EXPORT Result nvmlDeviceGetProcessUtilization(Device device, Sample* out, unsigned* count,
                                                      unsigned long long since) {
  if (const Result bad = check(device); bad != kOk) return bad;
  const unsigned room = *count;
  *count = 2;
  if (out == nullptr || room < 2) return kInsufficient;
  out[0] = {kForeign, since + 1, 60, 10, 0, 0};
  out[1] = {static_cast<unsigned>(getpid()), since + 2, 30, 5, 0, 0};
  return kOk;
}

STANDIN_EXPORT Result nvmlDeviceGetProcessesUtilizationInfo(Device device, UtilizationList* list) {
  if (const Result bad = check(device); bad != kOk) return bad;
  if (list->version != kVersion1<UtilizationList>) return kVersionMismatch;
  const unsigned room = list->count;
  list->count = 2;
  if (list->items == nullptr || room < 2) return kInsufficient;
  list->items[0] = {list->last_seen + 1, kForeign, 60, 10, 0, 0, 0, 0};
  list->items[1] = {list->last_seen + 2, static_cast<unsigned>(getpid()), 30, 5, 0, 0, 0, 0};
  return kOk;
}

STANDIN_EXPORT Result nvmlDeviceGetRunningProcessDetailList(Device device, DetailList* list) {
  if (const Result bad = check(device); bad != kOk) return bad;
  if (list->version != kVersion1<DetailList>) return kVersionMismatch;
  const unsigned room = list->count;
  list->count = 2;
  if (list->items == nullptr || room < 2) return kInsufficient;
  list->items[0] = {kForeign, 3 * standin::kGiB, 0xffffffff, 0xffffffff, 0};
  list->items[1] = {static_cast<unsigned>(getpid()), 2 * standin::kGiB, 0xffffffff, 0xffffffff, 0};
  return kOk;
}

STANDIN_EXPORT const char* nvmlErrorString(Result) { return "stand-in"; }
