// Clocks, power, heat, fans, error counters, links to the host: plausible figures that move with the load.
//
// The model, in one place. Power is a tenth of the product's limit when idle and rises to nine tenths with the load of
// the last second. Heat follows the load of the last ten seconds from 32 °C to 74 °C. Clocks are at their maximum
// while there was work in the last window, and at rest otherwise. Gaming cards have fans and idle states, others not.
// Power, persistence and power limit are the only settings, and need root.
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "nvml_load.h"
#include "nvml_processes.h"

using namespace nvml;

namespace {

constexpr unsigned kMem = 2, kVideo = 3;  // clock types; 0 and 1 are graphics and SM
constexpr unsigned kIdleClock = 210;
constexpr unsigned kIdleMemoryClock = 405;
constexpr unsigned kClockStep = 15;

unsigned power_limit_mw(const Gpu& gpu) {
  const unsigned set = gpu.state.power_limit_mw.load();
  return set != 0 ? set : gpu.device.spec.power_watts * 1000;
}

unsigned power_mw(const Gpu& gpu) {
  const double limit = power_limit_mw(gpu);
  return static_cast<unsigned>(limit * (0.1 + 0.8 * load_over(gpu, 1'000'000'000)));
}

unsigned temperature(const Gpu& gpu) { return static_cast<unsigned>(32.5 + 42.0 * load_over(gpu, 10'000'000'000)); }

unsigned fan_percent(const Gpu& gpu) {
  const unsigned heat = temperature(gpu);
  return heat < 45 ? 0 : 30 + (heat - 45) * 2;
}

bool is_busy(const Gpu& gpu) { return device_percent(gpu, window_of(gpu)) > 0; }

unsigned max_clock(const Gpu& gpu, unsigned type) {
  if (type == kMem) return gpu.device.spec.memory_clock_mhz;
  return type == kVideo ? gpu.device.spec.sm_clock_mhz * 9 / 10 : gpu.device.spec.sm_clock_mhz;
}

unsigned clock_now(const Gpu& gpu, unsigned type) {
  if (is_busy(gpu)) return max_clock(gpu, type);
  if (type == kMem) return is_geforce(gpu) ? kIdleMemoryClock : max_clock(gpu, type);
  return type == kVideo ? kIdleClock * 5 / 2 : kIdleClock;
}

Return put_clock(const char* function, Handle handle, unsigned type, unsigned* out,
                 unsigned (*clock)(const Gpu&, unsigned)) {
  if (type > kVideo) return kInvalidArgument;
  return get(function, handle, out, [&](const Gpu& gpu) { return clock(gpu, type); });
}

// Of devices that have error correction only.
template <class T>
Return put_ecc(const char* function, Handle handle, T* out, T value) {
  return for_gpu(function, handle, [&](const Gpu& gpu) -> Return {
    if (is_geforce(gpu)) return kNotSupported;
    if (out == nullptr) return kInvalidArgument;
    *out = value;
    return kSuccess;
  });
}

template <class T, class Compute>
Return put_fan(const char* function, Handle handle, T* out, Compute&& compute) {
  return for_gpu(function, handle, [&](const Gpu& gpu) -> Return {
    if (!is_geforce(gpu)) return kNotSupported;  // passively cooled: the chassis blows
    if (out == nullptr) return kInvalidArgument;
    *out = compute(gpu);
    return kSuccess;
  });
}

template <class Set>
Return change(const char* function, Handle handle, Set&& set) {
  return for_gpu(function, handle, [&](const Gpu& gpu) -> Return { return geteuid() != 0 ? kNoPermission : set(gpu); });
}

}  // namespace

// --- clocks ----------------------------------------------------------------------------------------------------------

NVML_API nvmlDeviceGetClockInfo(Handle handle, unsigned type, unsigned* out) {
  return put_clock(__func__, handle, type, out, clock_now);
}
NVML_API nvmlDeviceGetMaxClockInfo(Handle handle, unsigned type, unsigned* out) {
  return put_clock(__func__, handle, type, out, max_clock);
}
NVML_API nvmlDeviceGetApplicationsClock(Handle handle, unsigned type, unsigned* out) {
  return put_clock(__func__, handle, type, out, max_clock);
}
NVML_API nvmlDeviceGetDefaultApplicationsClock(Handle handle, unsigned type, unsigned* out) {
  return put_clock(__func__, handle, type, out, max_clock);
}
NVML_API nvmlDeviceGetMaxCustomerBoostClock(Handle handle, unsigned type, unsigned* out) {
  return put_clock(__func__, handle, type, out, max_clock);
}
NVML_API nvmlDeviceGetClock(Handle handle, unsigned type, unsigned id, unsigned* out) {
  return put_clock(__func__, handle, type, out, id == 0 ? clock_now : max_clock);
}

NVML_API nvmlDeviceGetSupportedMemoryClocks(Handle handle, unsigned* count, unsigned* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) {
    return put_array(std::vector<unsigned>{gpu.device.spec.memory_clock_mhz}, count, out);
  });
}
NVML_API nvmlDeviceGetSupportedGraphicsClocks(Handle handle, unsigned memory_clock, unsigned* count, unsigned* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (memory_clock != gpu.device.spec.memory_clock_mhz) return kNotFound;
    std::vector<unsigned> clocks;
    for (unsigned clock = gpu.device.spec.sm_clock_mhz; clock >= kIdleClock; clock -= kClockStep)
      clocks.push_back(clock);
    return put_array(clocks, count, out);
  });
}

NVML_API nvmlDeviceGetPerformanceState(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return is_geforce(gpu) && !is_busy(gpu) ? 8U : 0U; });
}
NVML_API nvmlDeviceGetPowerState(Handle handle, unsigned* out) { return nvmlDeviceGetPerformanceState(handle, out); }

NVML_API nvmlDeviceGetCurrentClocksEventReasons(Handle handle, Ull* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return is_busy(gpu) ? 0ULL : 1ULL; });  // 1: idle
}
NVML_API nvmlDeviceGetCurrentClocksThrottleReasons(Handle handle, Ull* out) {
  return nvmlDeviceGetCurrentClocksEventReasons(handle, out);
}
NVML_API nvmlDeviceGetSupportedClocksEventReasons(Handle handle, Ull* out) {
  return constant(__func__, handle, out, 0x1ffULL);
}
NVML_API nvmlDeviceGetSupportedClocksThrottleReasons(Handle handle, Ull* out) {
  return nvmlDeviceGetSupportedClocksEventReasons(handle, out);
}
NVML_API nvmlDeviceGetViolationStatus(Handle handle, unsigned, ViolationTime* out) {
  return get(__func__, handle, out, [](const Gpu&) { return ViolationTime{wall_us(sim::now_ns()), 0}; });
}

// --- power and heat --------------------------------------------------------------------------------------------------

NVML_API nvmlDeviceGetPowerUsage(Handle handle, unsigned* out) { return get(__func__, handle, out, power_mw); }
NVML_API nvmlDeviceGetPowerManagementLimit(Handle handle, unsigned* out) {
  return get(__func__, handle, out, power_limit_mw);
}
NVML_API nvmlDeviceGetEnforcedPowerLimit(Handle handle, unsigned* out) {
  return get(__func__, handle, out, power_limit_mw);
}
NVML_API nvmlDeviceGetPowerManagementDefaultLimit(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return gpu.device.spec.power_watts * 1000; });
}
NVML_API nvmlDeviceGetPowerManagementLimitConstraints(Handle handle, unsigned* low, unsigned* high) {
  if (low == nullptr) return kInvalidArgument;
  const Return code = nvmlDeviceGetPowerManagementDefaultLimit(handle, high);
  if (code == kSuccess) *low = *high / 4;
  return code;
}
NVML_API nvmlDeviceSetPowerManagementLimit(Handle handle, unsigned limit) {
  return change(__func__, handle, [&](const Gpu& gpu) -> Return {
    const unsigned most = gpu.device.spec.power_watts * 1000;
    if (limit < most / 4 || limit > most) return kInvalidArgument;
    gpu.state.power_limit_mw = limit;
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetPowerManagementMode(Handle handle, unsigned* out) { return constant(__func__, handle, out, 1U); }
NVML_API nvmlDeviceGetPowerSource(Handle handle, unsigned* out) { return constant(__func__, handle, out, 0U); }

// Millijoules since the host started: idle power all the time, the rest for the time with work.
NVML_API nvmlDeviceGetTotalEnergyConsumption(Handle handle, Ull* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) {
    const Ull limit_mw = gpu.device.spec.power_watts * 1000ULL;
    const Ull up_us = sim::now_ns() / 1000;
    const Ull busy_us = gpu.device.busy.total_ns.load() / 1000;
    return (up_us / 10 + busy_us * 8 / 10) / 1000 * limit_mw / 1000;
  });
}

NVML_API nvmlDeviceGetTemperature(Handle handle, unsigned sensor, unsigned* out) {
  return sensor != 0 ? kInvalidArgument : get(__func__, handle, out, temperature);
}
NVML_API nvmlDeviceGetTemperatureV(Handle handle, TemperatureRequest* request) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (request == nullptr || request->sensorType != 0) return kInvalidArgument;
    if (request->version != version_of<TemperatureRequest>(1)) return kVersionMismatch;
    request->temperature = static_cast<int>(temperature(gpu));
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetMarginTemperature(Handle handle, MarginTemperature* margin) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (margin == nullptr) return kInvalidArgument;
    if (margin->version != version_of<MarginTemperature>(1)) return kVersionMismatch;
    margin->marginTemperature = 87 - static_cast<int>(temperature(gpu));
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetTemperatureThreshold(Handle handle, unsigned which, unsigned* out) {
  constexpr unsigned kThresholds[] = {92, 89, 95, 87};  // shutdown, slowdown, memory, device
  return which > 3 ? kNotSupported : constant(__func__, handle, out, kThresholds[which]);
}

NVML_API nvmlDeviceGetFanSpeed(Handle handle, unsigned* out) { return put_fan(__func__, handle, out, fan_percent); }
NVML_API nvmlDeviceGetFanSpeed_v2(Handle handle, unsigned fan, unsigned* out) {
  return fan > 1 ? kInvalidArgument : put_fan(__func__, handle, out, fan_percent);
}
NVML_API nvmlDeviceGetTargetFanSpeed(Handle handle, unsigned fan, unsigned* out) {
  return fan > 1 ? kInvalidArgument : put_fan(__func__, handle, out, fan_percent);
}
NVML_API nvmlDeviceGetNumFans(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return is_geforce(gpu) ? 2U : 0U; });
}

// --- modes -----------------------------------------------------------------------------------------------------------

NVML_API nvmlDeviceGetPersistenceMode(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return gpu.state.persistence.load(); });
}
NVML_API nvmlDeviceSetPersistenceMode(Handle handle, unsigned mode) {
  return change(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (mode > 1) return kInvalidArgument;
    gpu.state.persistence = mode;
    return kSuccess;
  });
}
NVML_API nvmlDeviceGetComputeMode(Handle handle, unsigned* out) { return constant(__func__, handle, out, 0U); }
NVML_API nvmlDeviceGetDisplayMode(Handle handle, unsigned* out) { return constant(__func__, handle, out, 0U); }
NVML_API nvmlDeviceGetDisplayActive(Handle handle, unsigned* out) { return constant(__func__, handle, out, 0U); }

NVML_API nvmlGpmQueryDeviceSupport(Handle handle, GpmSupport* support) {
  return for_gpu(__func__, handle, [&](const Gpu&) -> Return {
    if (support == nullptr) return kInvalidArgument;
    if (support->version != version_of<GpmSupport>(1) && support->version != 1) return kVersionMismatch;
    support->isSupportedDevice = 0;
    return kSuccess;
  });
}

// --- memory errors: there are none -----------------------------------------------------------------------------------

NVML_API nvmlDeviceGetEccMode(Handle handle, unsigned* current, unsigned* pending) {
  if (pending == nullptr) return kInvalidArgument;
  const Return code = put_ecc(__func__, handle, current, 1U);
  if (code == kSuccess) *pending = 1;
  return code;
}
NVML_API nvmlDeviceGetDefaultEccMode(Handle handle, unsigned* out) { return put_ecc(__func__, handle, out, 1U); }
NVML_API nvmlDeviceGetTotalEccErrors(Handle handle, unsigned, unsigned, Ull* out) {
  return put_ecc(__func__, handle, out, 0ULL);
}
NVML_API nvmlDeviceGetMemoryErrorCounter(Handle handle, unsigned, unsigned, unsigned, Ull* out) {
  return put_ecc(__func__, handle, out, 0ULL);
}
NVML_API nvmlDeviceGetDetailedEccErrors(Handle handle, unsigned, unsigned, EccErrorCounts* out) {
  return put_ecc(__func__, handle, out, EccErrorCounts{});
}
NVML_API nvmlDeviceGetRetiredPages(Handle handle, unsigned, unsigned* count, Ull*) {
  return put_ecc(__func__, handle, count, 0U);
}
NVML_API nvmlDeviceGetRetiredPages_v2(Handle handle, unsigned, unsigned* count, Ull*, Ull*) {
  return put_ecc(__func__, handle, count, 0U);
}
NVML_API nvmlDeviceGetRetiredPagesPendingStatus(Handle handle, unsigned* out) {
  return put_ecc(__func__, handle, out, 0U);
}
NVML_API nvmlDeviceGetRemappedRows(Handle handle, unsigned* corrected, unsigned* uncorrected, unsigned* pending,
                                   unsigned* failed) {
  if (corrected == nullptr || uncorrected == nullptr || pending == nullptr) return kInvalidArgument;
  const Return code = put_ecc(__func__, handle, failed, 0U);
  if (code == kSuccess) *corrected = *uncorrected = *pending = 0;
  return code;
}

// --- PCI Express -----------------------------------------------------------------------------------------------------

NVML_API nvmlDeviceGetCurrPcieLinkGeneration(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return gpu.device.spec.pcie_generation; });
}
NVML_API nvmlDeviceGetMaxPcieLinkGeneration(Handle handle, unsigned* out) {
  return nvmlDeviceGetCurrPcieLinkGeneration(handle, out);
}
NVML_API nvmlDeviceGetGpuMaxPcieLinkGeneration(Handle handle, unsigned* out) {
  return nvmlDeviceGetCurrPcieLinkGeneration(handle, out);
}
NVML_API nvmlDeviceGetCurrPcieLinkWidth(Handle handle, unsigned* out) { return constant(__func__, handle, out, 16U); }
NVML_API nvmlDeviceGetMaxPcieLinkWidth(Handle handle, unsigned* out) { return constant(__func__, handle, out, 16U); }
NVML_API nvmlDeviceGetPcieLinkMaxSpeed(Handle handle, unsigned* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) { return 1000U << gpu.device.spec.pcie_generation; });
}
NVML_API nvmlDeviceGetPcieThroughput(Handle handle, unsigned, unsigned* out) {
  return constant(__func__, handle, out, 0U);  // copies are not metered
}
NVML_API nvmlDeviceGetPcieReplayCounter(Handle handle, unsigned* out) { return constant(__func__, handle, out, 0U); }

// --- single values by number -----------------------------------------------------------------------------------------

NVML_API nvmlDeviceGetFieldValues(Handle handle, int count, FieldValue* values) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (count < 0 || values == nullptr) return kInvalidArgument;
    for (int i = 0; i < count; ++i) {
      FieldValue& field = values[i];
      unsigned value = 0;
      field.timestamp = static_cast<long long>(wall_us(sim::now_ns()));
      field.latencyUsec = 0;
      field.valueType = kValueUnsigned;
      field.nvmlReturn = kSuccess;
      switch (field.fieldId) {
        case 1:
        case 2:
          field.nvmlReturn = put_ecc(__func__, handle, &value, 1U);
          break;
        case 29:
        case 30:
        case 31:
          field.nvmlReturn = put_ecc(__func__, handle, &value, 0U);
          break;
        case 82:
          value = temperature(gpu) + 4;
          break;  // memory is a little warmer
        case 83: {
          field.valueType = kValueUll;
          field.nvmlReturn = nvmlDeviceGetTotalEnergyConsumption(handle, &field.value.ullVal);
          continue;
        }
        case 91:
          value = gpu.device.spec.nvlinks;
          break;
        case 94:
        case 95:
          break;  // replays on the bus
        case 185:
        case 186:
          value = power_mw(gpu);
          break;
        case 187:
          value = gpu.device.spec.power_watts * 250;
          break;
        case 188:
        case 189:
          value = gpu.device.spec.power_watts * 1000;
          break;
        case 190:
        case 192:
          value = power_limit_mw(gpu);
          break;
        default:
          field.nvmlReturn = kNotSupported;
          break;
      }
      field.value.ullVal = value;
    }
    return kSuccess;
  });
}
