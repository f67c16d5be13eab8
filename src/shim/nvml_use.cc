// NVML's figures of how busy a device and its processes are.
//
// nvmlDeviceGetUtilizationRates says how busy the device is, whoever works on it. KIBOKO_NVML_UTILIZATION=share asks
// for the grant's own figure instead: its device time in the last second by its limit, so that a program at its limit
// reads 100 %. It comes from the timeline in the region, which needs no second look, so that nvidia-smi shows it too.
//
// Per process and in accounting, which keeps the ended ones: the grant's own living ones alone.
#include "region/bucket.h"
#include "region/os.h"
#include "shim/nvml_view.h"
#include "shim/variables.h"

using namespace kiboko::shim;
namespace region = kiboko::region;

namespace {

constexpr unsigned kWords = 900;  // of the 1,024 that the timeline holds: 0.86 s

std::uint64_t limit_percent(const View& seen, unsigned device) {
  const std::uint64_t words = seen.books->hami().sm_limit[device].load(std::memory_order_relaxed);
  const std::uint64_t own =
      seen.kind == View::Grant ? state.limits[device].core_percent.load(std::memory_order_relaxed) : 0;
  const std::uint64_t limit = tighter_of(own, words);
  return limit == 0 || limit > 100 ? 100 : limit;
}

unsigned share_percent(const View& seen, unsigned device) {
  const region::DeviceWords& words = seen.books->ext().devices[device];
  const auto now = static_cast<std::uint64_t>(region::os::now_ns());
  std::uint64_t bits = 0;
  for (unsigned back = 1; back <= kWords; ++back)
    bits += static_cast<std::uint64_t>(
        __builtin_popcountll(region::covered_bits(words, now - back * region::kCoverWordNs)));
  const std::uint64_t limit = limit_percent(seen, device);
  const std::uint64_t percent = (bits * 10'000 / (kWords * region::kCoverBits) + limit / 2) / limit;
  return static_cast<unsigned>(percent < 100 ? percent : 100);
}

}  // namespace

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t* rates) {
  if (!discover_nvml() || real.nvmlDeviceGetUtilizationRates == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const nvmlReturn_t result = real.nvmlDeviceGetUtilizationRates(device, rates);
  if (result != NVML_SUCCESS || rates == nullptr || !variable_shows_share()) return result;
  const View seen = view();
  if (seen.kind == View::Unreadable) return NVML_ERROR_UNKNOWN;
  if (seen.kind == View::Physical) return result;
  const int index = index_in(seen, device);
  rates->gpu = index < 0 ? 0 : share_percent(seen, static_cast<unsigned>(index));
  return result;
}

// No samples at all is "not found", as the driver has it.
SHIM_EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t* samples,
                                                         unsigned* count, unsigned long long since_us) {
  if (!discover_nvml() || real.nvmlDeviceGetProcessUtilization == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  if (seen.kind == View::Physical || count == nullptr)
    return real.nvmlDeviceGetProcessUtilization(device, samples, count, since_us);
  nvmlProcessUtilizationSample_t scratch[kScratch];
  unsigned found = kScratch;
  const nvmlReturn_t result = real.nvmlDeviceGetProcessUtilization(device, scratch, &found, since_us);
  if (refuses(result)) return result;
  if (seen.kind == View::Unreadable || result != NVML_SUCCESS) return NVML_ERROR_UNKNOWN;
  Filler<nvmlProcessUtilizationSample_t> filler(samples, *count);
  add_known(seen, index_in(seen, device), scratch, found, filler);
  const nvmlReturn_t answer = filler.finish(count);
  return filler.empty() ? NVML_ERROR_NOT_FOUND : answer;
}

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device,
                                                               nvmlProcessesUtilizationInfo_v1_t* list) {
  if (!discover_nvml() || real.nvmlDeviceGetProcessesUtilizationInfo == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  if (seen.kind == View::Physical || list == nullptr) return real.nvmlDeviceGetProcessesUtilizationInfo(device, list);
  if (list->version != nvmlProcessesUtilizationInfo_v1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  nvmlProcessUtilizationInfo_v1_t scratch[kScratch];
  nvmlProcessesUtilizationInfo_v1_t all{list->version, kScratch, list->last_seen, scratch};
  const nvmlReturn_t result = real.nvmlDeviceGetProcessesUtilizationInfo(device, &all);
  if (refuses(result)) return result;
  if (seen.kind == View::Unreadable || result != NVML_SUCCESS) return NVML_ERROR_UNKNOWN;
  Filler<nvmlProcessUtilizationInfo_v1_t> filler(list->items, list->count);
  add_known(seen, index_in(seen, device), scratch, all.count, filler);
  const nvmlReturn_t answer = filler.finish(&list->count);
  return filler.empty() ? NVML_ERROR_NOT_FOUND : answer;
}

// The driver's list may name more than the caller has room for, and what is ours in it fit: so all of it is asked for.
SHIM_EXPORT nvmlReturn_t nvmlDeviceGetAccountingPids(nvmlDevice_t device, unsigned* count, unsigned* pids) {
  constexpr unsigned kMostAccounted = 4096;  // the driver keeps 4,000
  if (!discover_nvml() || real.nvmlDeviceGetAccountingPids == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  if (seen.kind == View::Physical || count == nullptr) return real.nvmlDeviceGetAccountingPids(device, count, pids);
  unsigned scratch[kMostAccounted];
  unsigned found = kMostAccounted;
  const nvmlReturn_t result = real.nvmlDeviceGetAccountingPids(device, &found, scratch);
  if (refuses(result)) return result;
  if (seen.kind == View::Unreadable || result != NVML_SUCCESS) return NVML_ERROR_UNKNOWN;
  Filler<unsigned> filler(pids, *count);
  const int index = index_in(seen, device);
  for (unsigned i = 0; index >= 0 && i < found; ++i)
    if (const Process process = Own(seen, index).find(scratch[i]); process.pid != 0) filler.add(process.pid);
  return filler.finish(count);
}

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetAccountingStats(nvmlDevice_t device, unsigned pid, nvmlAccountingStats_t* stats) {
  if (!discover_nvml() || real.nvmlDeviceGetAccountingStats == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  if (seen.kind == View::Physical) return real.nvmlDeviceGetAccountingStats(device, pid, stats);
  if (seen.kind == View::Unreadable) return NVML_ERROR_UNKNOWN;
  const int index = index_in(seen, device);
  unsigned driver_pid = 0;
  if (index < 0 || !Own(seen, index).find(pid, &driver_pid).pid) return NVML_ERROR_NOT_FOUND;
  nvmlReturn_t result = real.nvmlDeviceGetAccountingStats(device, pid, stats);
  if (result == NVML_ERROR_NOT_FOUND && driver_pid != 0 && driver_pid != pid)
    result = real.nvmlDeviceGetAccountingStats(device, driver_pid, stats);
  return result;
}
