// Virtual NVML: what nvidia-smi and the libraries that size themselves by NVML see of a share.
//
// The driver is asked first, so that its errors stay its own; then its answer is replaced by what the region knows.
// A process that only asks NVML never starts CUDA and never claims a slot. Devices are the grant's, in its order, told
// apart by UUID; with MIG devices in the grant, which NVML counts below their GPU, the numbering stays the driver's.
// Total is the limit, used the sum of the grant's charges. Processes are the grant's own, with pids of the caller's pid
// namespace. All else (name, clocks, power) is physical; for utilisation see nvml_use.cc.
//
// Limits that cannot be read: NVML starts, but every question that they would answer gets NVML_ERROR_UNKNOWN, so that a
// tool shows an error instead of a whole device. Nothing is printed here; cuInit says what is wrong.
#include <strings.h>

#include "shim/nvml_view.h"
#include "shim/variables.h"

using namespace kiboko::shim;
namespace region = kiboko::region;

namespace {

std::uint64_t charged(const View& seen, int index) {
  return region::Account(*seen.books, region::Slot{}).total(static_cast<unsigned>(index));
}

// Limit and charges of one device; limit 0 = show the physical one.
struct Share {
  std::uint64_t limit = 0, used = 0;
};
Share share_of(const View& seen, nvmlDevice_t device) {
  Share share;
  const int index = index_in(seen, device);
  if (seen.kind == View::Grant && index >= 0) {
    const region::AccountView account = account_view(static_cast<unsigned>(index));
    share.limit = account.limit;
    share.used = charged(seen, index) + (account.correction > 0 ? static_cast<std::uint64_t>(account.correction) : 0);
  } else if (seen.kind == View::Variables && index >= 0) {
    const region::HamiRegion& hami = seen.books->hami();
    share.limit = tighter_of(variable_limit(hami.uuids[index], static_cast<unsigned>(index)),
                             hami.memory_limit[index].load(std::memory_order_relaxed));
    share.used = charged(seen, index);
  } else if (seen.kind == View::Variables) {
    unsigned number = 0;
    char uuid[96] = "";
    if (real.nvmlDeviceGetUUID != nullptr) (void)real.nvmlDeviceGetUUID(device, uuid, sizeof uuid);
    uuid[sizeof uuid - 1] = 0;
    if (real.nvmlDeviceGetIndex != nullptr && real.nvmlDeviceGetIndex(device, &number) == NVML_SUCCESS)
      share.limit = variable_limit(uuid, number);
  }
  if (share.used > share.limit) share.used = share.limit;
  return share;
}

template <class Entry>
using ListFunction = nvmlReturn_t (*)(nvmlDevice_t, unsigned*, Entry*);

template <class Entry>
nvmlReturn_t processes(ListFunction<Entry> driver, nvmlDevice_t device, unsigned* count, Entry* out, bool compute) {
  if (driver == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  if (seen.kind == View::Physical || count == nullptr) return driver(device, count, out);
  Entry scratch[kScratch];
  unsigned found = compute ? 0 : kScratch;
  const nvmlReturn_t result = driver(device, &found, compute ? nullptr : scratch);
  if (refuses(result)) return result;
  if (seen.kind == View::Unreadable || (!compute && result != NVML_SUCCESS)) return NVML_ERROR_UNKNOWN;
  Filler<Entry> filler(out, *count);
  const int index = index_in(seen, device);
  compute ? add_charged(seen, index, filler) : add_known(seen, index, scratch, found, filler);
  return filler.finish(count);
}

nvmlReturn_t numbering(const View& seen, nvmlReturn_t result, unsigned* count) {
  if (result != NVML_SUCCESS || seen.kind == View::Physical) return result;
  if (seen.kind == View::Unreadable) return NVML_ERROR_UNKNOWN;
  *count = state.device_count;
  return result;
}

// Whether the grant numbers the devices: a page says which they are, and NVML can find each of them.
bool renumbers(const View& seen) {
  if (seen.kind == View::Unreadable) return true;
  if (seen.kind != View::Grant || state.page == nullptr || real.nvmlDeviceGetHandleByUUID == nullptr) return false;
  for (unsigned i = 0; i < state.device_count; ++i)
    if (strncmp(state.uuids[i], "GPU-", 4) != 0) return false;
  return true;
}

nvmlReturn_t count_devices(nvmlReturn_t (*driver)(unsigned*), unsigned* count) {
  if (driver == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  return renumbers(seen) ? numbering(seen, driver(count), count) : driver(count);
}

nvmlReturn_t handle_by_index(nvmlReturn_t (*driver)(unsigned, nvmlDevice_t*), unsigned index, nvmlDevice_t* device) {
  if (driver == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  if (!renumbers(seen)) return driver(index, device);
  if (seen.kind == View::Unreadable) {
    const nvmlReturn_t result = driver(index, device);
    return result == NVML_SUCCESS ? NVML_ERROR_UNKNOWN : result;
  }
  if (index >= state.device_count || device == nullptr) return driver(~0U, device);  // in its own words
  return real.nvmlDeviceGetHandleByUUID(state.uuids[index], device);
}

void show(const Share& share, nvmlMemory_t& memory) {
  memory.total = share.limit;
  memory.used = share.used;
  memory.free = share.limit - share.used;
}
void show(const Share& share, nvmlMemory_v2_t& memory) {
  memory.total = share.limit;
  memory.used = share.used;
  memory.free = share.limit - share.used;
  memory.reserved = 0;
}

// A device with memory of its own; one that shares the host's says "not supported", and then the limit is all there is.
template <class Memory>
nvmlReturn_t memory_info(nvmlReturn_t (*driver)(nvmlDevice_t, Memory*), nvmlDevice_t device, Memory* memory) {
  if (driver == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  if (seen.kind == View::Physical || memory == nullptr) return driver(device, memory);
  if constexpr (requires { memory->version; })
    if (memory->version != nvmlMemory_v2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  Memory physical = *memory;
  const nvmlReturn_t result = driver(device, &physical);
  if (result != NVML_SUCCESS && result != NVML_ERROR_NOT_SUPPORTED) return result;
  if (seen.kind == View::Unreadable) return NVML_ERROR_UNKNOWN;
  const Share share = share_of(seen, device);
  if (result == NVML_SUCCESS) *memory = physical;
  if (share.limit == 0 || (result == NVML_SUCCESS && share.limit > physical.total)) return result;
  show(share, *memory);
  return NVML_SUCCESS;
}

}  // namespace

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetCount(unsigned* count) {
  discover_nvml();
  return count_devices(real.nvmlDeviceGetCount, count);
}

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned* count) {
  discover_nvml();
  return count_devices(real.nvmlDeviceGetCount_v2, count);
}

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t* device) {
  discover_nvml();
  return handle_by_index(real.nvmlDeviceGetHandleByIndex, index, device);
}

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t* device) {
  discover_nvml();
  return handle_by_index(real.nvmlDeviceGetHandleByIndex_v2, index, device);
}

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned* index) {
  if (!discover_nvml() || real.nvmlDeviceGetIndex == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  const nvmlReturn_t result = real.nvmlDeviceGetIndex(device, index);
  if (result != NVML_SUCCESS || !renumbers(seen)) return result;
  if (seen.kind == View::Unreadable) return NVML_ERROR_UNKNOWN;
  const int ours = index_in(seen, device);
  if (ours < 0) return NVML_ERROR_NO_PERMISSION;  // a device of somebody else has no number here
  *index = static_cast<unsigned>(ours);
  return result;
}

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* memory) {
  discover_nvml();
  return memory_info(real.nvmlDeviceGetMemoryInfo, device, memory);
}

SHIM_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t* memory) {
  discover_nvml();
  return memory_info(real.nvmlDeviceGetMemoryInfo_v2, device, memory);
}

#define PROCESS_LIST(name, entry, compute)                                            \
  SHIM_EXPORT nvmlReturn_t name(nvmlDevice_t device, unsigned* count, entry* infos) { \
    discover_nvml();                                                                  \
    return processes(real.name, device, count, infos, compute);                       \
  }
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses, nvmlProcessInfo_v1_t, true)
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, true)
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses_v3, nvmlProcessInfo_v2_t, true)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses, nvmlProcessInfo_v1_t, false)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_v2_t, false)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_v2_t, false)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses, nvmlProcessInfo_v1_t, false)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, false)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlProcessInfo_v2_t, false)
#undef PROCESS_LIST

// Modes: 0 compute, 1 graphics, 2 MPS, 3 all.
SHIM_EXPORT nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t* list) {
  if (!discover_nvml() || real.nvmlDeviceGetRunningProcessDetailList == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const View seen = view();
  if (seen.kind == View::Physical || list == nullptr) return real.nvmlDeviceGetRunningProcessDetailList(device, list);
  if (list->version != nvmlProcessDetailList_v1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  nvmlProcessDetail_v1_t scratch[kScratch];
  nvmlProcessDetailList_v1_t all{list->version, list->mode, kScratch, scratch};
  const nvmlReturn_t result = real.nvmlDeviceGetRunningProcessDetailList(device, &all);
  if (refuses(result)) return result;
  if (seen.kind == View::Unreadable || result != NVML_SUCCESS) return NVML_ERROR_UNKNOWN;
  Filler<nvmlProcessDetail_v1_t> filler(list->items, list->count);
  const int index = index_in(seen, device);
  if (list->mode == 0 || list->mode == 3)
    add_charged(seen, index, filler);
  else
    add_known(seen, index, scratch, all.count, filler);
  return filler.finish(&list->count);
}
