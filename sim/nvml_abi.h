// The management library's binary interface, as much of it as the simulation answers.
//
// Written from the interface's public documentation; field names keep their foreign spelling. Every structure is
// plain bytes that a client owns and passes in; sizes are asserted, because clients compiled years ago rely on them.
// A versioned structure starts with `version`: its size in the low 24 bits, its version above.
#pragma once

#include <cstdint>

namespace nvml {

using Return = unsigned;
inline constexpr Return kSuccess = 0;
inline constexpr Return kUninitialized = 1;
inline constexpr Return kInvalidArgument = 2;
inline constexpr Return kNotSupported = 3;
inline constexpr Return kNoPermission = 4;
inline constexpr Return kNotFound = 6;
inline constexpr Return kInsufficientSize = 7;
inline constexpr Return kDriverNotLoaded = 9;
inline constexpr Return kTimeout = 10;
inline constexpr Return kGpuIsLost = 15;
inline constexpr Return kMemory = 20;
inline constexpr Return kVersionMismatch = 25;

struct HandleTag;
using Handle = HandleTag*;
struct EventSetTag;
using EventSet = EventSetTag*;

using Ull = unsigned long long;

template <class Struct>
constexpr unsigned version_of(unsigned version) {
  return static_cast<unsigned>(sizeof(Struct)) | version << 24;
}

struct Memory {
  Ull total, free, used;
};

struct MemoryV2 {
  unsigned version;
  Ull total, reserved, free, used;
};
static_assert(version_of<MemoryV2>(2) == 0x02000028);

struct Bar1Memory {
  Ull bar1Total, bar1Free, bar1Used;
};

struct ProcessInfoV1 {
  unsigned pid;
  Ull usedGpuMemory;
};
static_assert(sizeof(ProcessInfoV1) == 16);

struct ProcessInfoV2 {  // v3 has the same bytes
  unsigned pid;
  Ull usedGpuMemory;
  unsigned gpuInstanceId, computeInstanceId;
};
static_assert(sizeof(ProcessInfoV2) == 24);

struct ProcessDetail {
  unsigned pid;
  Ull usedGpuMemory;
  unsigned gpuInstanceId, computeInstanceId;
  Ull usedGpuCcProtectedMemory;
};

struct ProcessDetailList {
  unsigned version, mode, numProcArrayEntries;
  ProcessDetail* procArray;
};
static_assert(version_of<ProcessDetailList>(1) == 0x01000018);

struct AccountingStats {
  unsigned gpuUtilization, memoryUtilization;
  Ull maxMemoryUsage, time, startTime;
  unsigned isRunning, reserved[5];
};

struct Utilization {
  unsigned gpu, memory;
};

struct ProcessSample {
  unsigned pid;
  Ull timeStamp;
  unsigned smUtil, memUtil, encUtil, decUtil;
};
static_assert(sizeof(ProcessSample) == 32);

struct ProcessUtilization {
  Ull timeStamp;
  unsigned pid, smUtil, memUtil, encUtil, decUtil, jpgUtil, ofaUtil;
};

struct ProcessesUtilization {
  unsigned version, processSamplesCount;
  Ull lastSeenTimeStamp;
  ProcessUtilization* procUtilArray;
};
static_assert(version_of<ProcessesUtilization>(1) == 0x01000018);

union Value {
  double dVal;
  unsigned uiVal;
  unsigned long ulVal;
  Ull ullVal;
  long long sllVal;
  int siVal;
};
inline constexpr unsigned kValueUnsigned = 1;
inline constexpr unsigned kValueUll = 3;

struct Sample {
  Ull timeStamp;
  Value sampleValue;
};

struct FieldValue {
  unsigned fieldId, scopeId;
  long long timestamp, latencyUsec;
  unsigned valueType;
  Return nvmlReturn;
  Value value;
};
static_assert(sizeof(FieldValue) == 40);

struct PciInfo {
  char busIdLegacy[16];
  unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
  char busId[32];
};
static_assert(sizeof(PciInfo) == 68);

struct PciInfoV2 {
  char busId[16];
  unsigned domain, bus, device, pciDeviceId, pciSubSystemId, reserved[4];
};
static_assert(sizeof(PciInfoV2) == 52);

struct PciInfoExt {
  unsigned version, domain, bus, device, pciDeviceId, pciSubSystemId, baseClass, subClass;
  char busId[32];
};
static_assert(version_of<PciInfoExt>(1) == 0x01000040);

struct UuidRequest {
  unsigned version, type;  // type 1: text, 2: bytes
  union {
    char str[41];
    unsigned char bytes[16];
  };
};
static_assert(version_of<UuidRequest>(1) == 0x01000034);

struct TemperatureRequest {
  unsigned version, sensorType;
  int temperature;
};
static_assert(version_of<TemperatureRequest>(1) == 0x0100000c);

struct MarginTemperature {
  unsigned version;
  int marginTemperature;
};

struct DriverBranch {
  unsigned version;
  char branch[80];
};
static_assert(version_of<DriverBranch>(1) == 0x01000054);

struct EccErrorCounts {
  Ull l1Cache, l2Cache, deviceMemory, registerFile;
};

struct ViolationTime {
  Ull referenceTime, violationTime;
};

struct FabricInfo {
  unsigned char clusterUuid[16];
  Return status;
  unsigned cliqueId;
  unsigned char state;
};

struct FabricInfoV2 {
  unsigned version;
  unsigned char clusterUuid[16];
  Return status;
  unsigned cliqueId;
  unsigned char state;
  unsigned healthMask;
};
static_assert(version_of<FabricInfoV2>(2) == 0x02000024);

struct GpmSupport {
  unsigned version, isSupportedDevice;
};

struct ConfComputeState {
  unsigned environment, ccFeature, devToolsMode;
};

struct ConfComputeMemory {
  Ull protectedMemSizeKib, unprotectedMemSizeKib;
};

struct EventData {
  Handle device;
  Ull eventType, eventData;
  unsigned gpuInstanceId, computeInstanceId;
};
static_assert(sizeof(EventData) == 32);

struct EventDataV1 {
  Handle device;
  Ull eventType, eventData;
};

inline constexpr unsigned kNoInstance = 0xffffffff;  // of a device that is not partitioned

}  // namespace nvml
