// Memory, utilisation, and the samples that both are drawn from.
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "nvml_load.h"
#include "nvml_processes.h"

using namespace nvml;

namespace nvml {

std::uint64_t window_ns(const Gpu& gpu) {
  const char* text = getenv("KIBOKO_SIM_NVML_WINDOW_MS");
  const unsigned long milliseconds = text == nullptr ? 0 : strtoul(text, nullptr, 10);
  if (milliseconds > 0) return milliseconds * 1'000'000;
  return gpu.device.spec.compute_major < 8 ? 1'000'000'000 : 166'000'000;
}

Window window_of(const Gpu& gpu, unsigned back) {
  const std::uint64_t length = window_ns(gpu);
  const std::uint64_t to = (sim::now_ns() / length - back) * length;
  return {to - length, to};
}

unsigned percent(std::uint64_t busy, std::uint64_t of) {
  if (of == 0) return 0;
  return static_cast<unsigned>(std::min<std::uint64_t>((busy * 100 + of / 2) / of, 100));
}

unsigned device_percent(const Gpu& gpu, const Window& window) {
  return percent(sim::device_busy_ns(gpu.shared, gpu.index, window.from, window.to), window.length());
}

double load_over(const Gpu& gpu, std::uint64_t ns) {
  const std::uint64_t now = sim::now_ns() / sim::kBucketNs * sim::kBucketNs;  // the log knows whole milliseconds
  const std::uint64_t busy = sim::device_busy_ns(gpu.shared, gpu.index, now - ns, now);
  return std::min(1.0, static_cast<double>(busy) / static_cast<double>(ns));
}

Ull wall_us(std::uint64_t monotonic_ns) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const Ull real = static_cast<Ull>(now.tv_sec) * 1'000'000 + static_cast<Ull>(now.tv_nsec) / 1000;
  return real - (sim::now_ns() - monotonic_ns) / 1000;
}

}  // namespace nvml

namespace {

constexpr unsigned kOldestWindow = 30;

// A window's timestamp, asked for twice, may differ by what the two clocks drift apart meanwhile: a client that hands
// back the newest stamp it saw must not be given that window again.
constexpr Ull kDriftUs = 1000;
Ull stamp_of(const Window& window) { return wall_us(window.to); }

// For each process its newest window with work in it that ended after `last_seen`.
std::vector<ProcessUtilization> samples_since(const Gpu& gpu, Ull last_seen) {
  std::vector<ProcessUtilization> samples;
  for (const VisibleProcess& process : visible_processes(gpu, true)) {
    for (unsigned back = 0; back < kOldestWindow; ++back) {
      const Window window = window_of(gpu, back);
      const Ull stamp = stamp_of(window);
      if (stamp <= last_seen + kDriftUs ||
          (process.use.died_ns != 0 && process.use.died_ns + window.length() < window.from))
        break;
      const std::uint64_t busy = sim::process_busy_ns(gpu.shared, process.use.channel, window.from, window.to);
      if (busy == 0) continue;
      const unsigned sm = percent(busy, window.length());
      samples.push_back({stamp, process.pid, sm, memory_percent(sm), 0, 0, 0, 0});
      break;
    }
  }
  return samples;
}

Return memory_info(const Gpu& gpu, Memory& out) {
  if (gpu.device.spec.unified) return kNotSupported;
  const sim::MemoryUse use = sim::memory_use(gpu.shared, gpu.index);
  out = {use.total, use.free, use.total - use.free};  // "used" includes what the driver keeps
  return kSuccess;
}

unsigned no_engine(const Gpu&) { return 0; }

Return engine_use(const char* function, Handle handle, unsigned* use, unsigned* period_us) {
  const Return code = get(function, handle, use, no_engine);
  if (code == kSuccess && period_us != nullptr) *period_us = 167'000;
  return code;
}

}  // namespace

NVML_API nvmlDeviceGetMemoryInfo(Handle handle, Memory* out) {
  return for_gpu(__func__, handle,
                 [&](const Gpu& gpu) { return out == nullptr ? kInvalidArgument : memory_info(gpu, *out); });
}

NVML_API nvmlDeviceGetMemoryInfo_v2(Handle handle, MemoryV2* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (out == nullptr) return kInvalidArgument;
    if (out->version != version_of<MemoryV2>(2)) return kVersionMismatch;
    if (gpu.device.spec.unified) return kNotSupported;
    const sim::MemoryUse use = sim::memory_use(gpu.shared, gpu.index);
    *out = {out->version, use.total, use.reserved, use.free, use.used};
    return kSuccess;
  });
}

NVML_API nvmlDeviceGetBAR1MemoryInfo(Handle handle, Bar1Memory* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (out == nullptr) return kInvalidArgument;
    if (gpu.device.spec.unified) return kNotSupported;
    const Ull total = gpu.device.spec.bar1_mib * sim::kMiB;
    const Ull used = std::min<Ull>(total, (1 + 2 * visible_processes(gpu).size()) * sim::kMiB);
    *out = {total, total - used, used};
    return kSuccess;
  });
}

NVML_API nvmlDeviceGetConfComputeMemSizeInfo(Handle handle, ConfComputeMemory* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) {
    return ConfComputeMemory{0, gpu.device.memory_total / 1024};
  });
}

NVML_API nvmlDeviceGetUtilizationRates(Handle handle, Utilization* out) {
  return get(__func__, handle, out, [](const Gpu& gpu) {
    const unsigned sm = device_percent(gpu, window_of(gpu));
    return Utilization{sm, memory_percent(sm)};
  });
}

NVML_API nvmlDeviceGetEncoderUtilization(Handle handle, unsigned* use, unsigned* period) {
  return engine_use(__func__, handle, use, period);
}
NVML_API nvmlDeviceGetDecoderUtilization(Handle handle, unsigned* use, unsigned* period) {
  return engine_use(__func__, handle, use, period);
}
NVML_API nvmlDeviceGetJpgUtilization(Handle handle, unsigned* use, unsigned* period) {
  return engine_use(__func__, handle, use, period);
}
NVML_API nvmlDeviceGetOfaUtilization(Handle handle, unsigned* use, unsigned* period) {
  return engine_use(__func__, handle, use, period);
}

NVML_API nvmlDeviceGetProcessUtilization(Handle handle, ProcessSample* out, unsigned* count, Ull last_seen) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    std::vector<ProcessSample> samples;
    for (const ProcessUtilization& s : samples_since(gpu, last_seen)) {
      samples.push_back({s.pid, s.timeStamp, s.smUtil, s.memUtil, 0, 0});
    }
    const Return code = put_array(samples, count, out);
    return code == kSuccess && samples.empty() ? kNotFound : code;
  });
}

NVML_API nvmlDeviceGetProcessesUtilizationInfo(Handle handle, ProcessesUtilization* info) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    if (info == nullptr) return kInvalidArgument;
    if (info->version != version_of<ProcessesUtilization>(1)) return kVersionMismatch;
    const std::vector<ProcessUtilization> samples = samples_since(gpu, info->lastSeenTimeStamp);
    const Return code = put_array(samples, &info->processSamplesCount, info->procUtilArray);
    return code == kSuccess && samples.empty() ? kNotFound : code;
  });
}

// History by window: of utilisation, memory utilisation and idle engines.
NVML_API nvmlDeviceGetSamples(Handle handle, unsigned type, Ull last_seen, unsigned* value_type, unsigned* count,
                              Sample* out) {
  return for_gpu(__func__, handle, [&](const Gpu& gpu) -> Return {
    constexpr unsigned kGpu = 1, kMemoryUse = 2, kEncoder = 3, kDecoder = 4;
    if (value_type == nullptr || count == nullptr) return kInvalidArgument;
    if (type < kGpu || type > kDecoder) return kNotSupported;
    *value_type = kValueUnsigned;
    if (out == nullptr) {
      *count = kOldestWindow;
      return kSuccess;
    }
    std::vector<Sample> samples;
    for (unsigned back = kOldestWindow; back-- > 0;) {
      const Window window = window_of(gpu, back);
      if (stamp_of(window) <= last_seen + kDriftUs) continue;
      const unsigned sm = type >= kEncoder ? 0 : device_percent(gpu, window);
      Sample sample{stamp_of(window), {}};
      sample.sampleValue.uiVal = type == kMemoryUse ? memory_percent(sm) : sm;
      samples.push_back(sample);
    }
    if (samples.empty()) return kNotFound;
    if (samples.size() > *count) samples.erase(samples.begin(), samples.end() - *count);
    return put_array(samples, count, out);
  });
}

NVML_API nvmlDeviceGetEncoderSessions(Handle handle, unsigned* count, void*) {
  return constant(__func__, handle, count, 0U);
}
NVML_API nvmlDeviceGetEncoderStats(Handle handle, unsigned* sessions, unsigned* fps, unsigned* latency) {
  if (fps == nullptr || latency == nullptr) return kInvalidArgument;
  *fps = *latency = 0;
  return constant(__func__, handle, sessions, 0U);
}
