// Virtual NVML: what nvidia-smi and the libraries that size themselves by NVML see of a share.
//
// The driver is asked first, so that its errors stay its own; then its answer is replaced by what the region knows.
// A process that only asks NVML never starts CUDA and never claims a slot. Devices are the grant's, in its order, told
// apart by UUID; with MIG devices in the grant, which NVML counts below their GPU, the numbering stays the driver's.
// Total is the limit, used the sum of the grant's charges. Processes are the grant's own, with pids of the caller's pid
// namespace. All else (name, clocks, power, utilisation of the device) is physical.
//
// Limits that cannot be read: NVML starts, but every question that they would answer gets NVML_ERROR_UNKNOWN, so that a
// tool shows an error instead of a whole device. Nothing is printed here; cuInit says what is wrong.
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "region/os.h"
#include "shim/fork.h"
#include "shim/route.h"
#include "shim/state.h"
#include "shim/variables.h"

using namespace kiboko::shim;
namespace region = kiboko::region;

namespace {

constexpr unsigned kScratch = 512;  // entries of the driver's own lists that we can filter
constexpr unsigned kNoInstance = 0xffffffff;

struct View {
  enum Kind { Physical, Grant, Variables, Unreadable } kind;
  region::Mapping* books;  // null: nobody has charged anything yet
};

// Where only HAMi's variables limit and this process has not started CUDA, the devices are those that an earlier
// program of the container wrote into the region. This must not fix the order for a later cuInit of this process, so
// it is a mapping of its own.
region::Mapping variable_books;
std::atomic<int> variable_books_state{0};  // 0 closed, 1 somebody opens it, 2 open

struct RegionHead {  // the first bytes of region::HamiRegion, as plain words
  std::int32_t magic;
  char between[52];
  std::uint64_t device_count;
  char uuids[region::kMaxDevices][96];
};
static_assert(offsetof(RegionHead, device_count) == offsetof(region::HamiRegion, device_count) &&
              offsetof(RegionHead, uuids) == offsetof(region::HamiRegion, uuids));

bool read_head(const char* path, RegionHead* head) {
  const int fd = region::os::open_file(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
  if (fd < 0) return false;
  const auto got = pread(fd, head, sizeof *head, 0);
  region::os::close_file(fd);
  return got == static_cast<ssize_t>(sizeof *head) && head->magic == region::kHamiMagic && head->device_count > 0 &&
         head->device_count <= region::kMaxDevices;
}

bool open_as_it_is(const char* path, region::Mapping* books) {
  RegionHead head;
  if (!read_head(path, &head)) return false;
  region::RegionSeed seed;
  seed.device_count = static_cast<unsigned>(head.device_count);
  for (unsigned i = 0; i < seed.device_count; ++i) {
    head.uuids[i][sizeof head.uuids[i] - 1] = 0;
    seed.uuids[i] = head.uuids[i];
  }
  region::PageError error;
  return books->open(path, seed, &error);
}

region::Mapping* open_variable_books() {
  int expected = 0;
  if (variable_books_state.load(std::memory_order_acquire) == 2) return &variable_books;
  if (!variable_books_state.compare_exchange_strong(expected, 1, std::memory_order_acquire)) return nullptr;
  const bool open = open_as_it_is(variable_region_path(), &variable_books);
  if (open) variable_books.set_load_nonce(region::os::random_word());
  variable_books_state.store(open ? 2 : 0, std::memory_order_release);
  return open ? &variable_books : nullptr;
}

View view() {
  const region::os::KeepErrno keep;
  attach();
  switch (state.attached.load(std::memory_order_acquire)) {
    case 0: {
      // Perhaps nobody else is left to notice that the container's processes are dead.
      region::Mapping* const books = open_variable_books();
      if (books != nullptr) reap_once_a_second(*books);
      return {View::Variables, books};
    }
    case 1:
      refresh_limits();
      return {View::Grant, &state.region};
    case 3:
      return {View::Physical, nullptr};
    default:
      return {View::Unreadable, nullptr};
  }
}

// The device's index in the books, or -1.
int index_in(const View& seen, nvmlDevice_t device) {
  char uuid[96];
  if (seen.books == nullptr || real.nvmlDeviceGetUUID == nullptr ||
      real.nvmlDeviceGetUUID(device, uuid, sizeof uuid) != NVML_SUCCESS)
    return -1;
  uuid[sizeof uuid - 1] = 0;
  return seen.kind == View::Grant ? index_of_uuid(uuid) : region::index_of_device(seen.books->hami(), uuid);
}

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

// The program's own or another of its grant: {pid as the caller knows it, bytes charged}.
struct Process {
  unsigned pid;
  std::uint64_t used;
};

struct Own {
  region::ProcessIdentity self = region::ProcessIdentity::self();
  const region::Extension& ext;
  int device;

  Own(const View& seen, int index) : ext(seen.books->ext()), device(index) {}

  // The process of slot `index`: pid 0 if there is none that the caller could name.
  Process at(unsigned index) const {
    const region::SlotIdentity& slot = ext.slots[index];
    const region::SlotWord word = region::unpack(slot.state.load(std::memory_order_acquire));
    if (word.state != region::SlotState::Live) return {0, 0};
    const std::uint64_t pid_ns = slot.pid_ns.load(std::memory_order_relaxed);
    if (pid_ns != self.pid_ns) return {0, 0};
    if (region::liveness_of(word.pid, slot.start_time.load(std::memory_order_relaxed), pid_ns) ==
        region::Liveness::Dead)
      return {0, 0};
    return {word.pid, ext.charges[index / 8].charged[device][index % 8].load(std::memory_order_relaxed)};
  }

  template <class F>
  void each(F&& visit) const {
    for (unsigned block = 0; block < region::kMaxSlots / 64; ++block)
      for (std::uint64_t live = ext.header.live[block].load(std::memory_order_acquire); live != 0; live &= live - 1) {
        const unsigned index = block * 64 + static_cast<unsigned>(__builtin_ctzll(live));
        if (const Process process = at(index); process.pid != 0) visit(process, index);
      }
  }

  // The driver names processes by the host's pids or by the container's, by its version.
  Process find(unsigned driver_pid) const {
    Process found{0, 0};
    each([&](const Process& process, unsigned index) {
      if (process.pid == driver_pid || ext.slots[index].host_pid.load(std::memory_order_relaxed) == driver_pid)
        found = process;
    });
    return found;
  }
};

template <class Entry>
Entry entry_of(const Process& process) {
  Entry entry;
  memset(static_cast<void*>(&entry), 0, sizeof entry);
  entry.pid = process.pid;
  entry.used = process.used;
  if constexpr (requires { entry.gpu_instance; }) entry.gpu_instance = entry.compute_instance = kNoInstance;
  return entry;
}

// Fills as the driver does: `count` comes in as the room and goes out as the number written, or needed.
template <class Entry>
class Filler {
 public:
  Filler(Entry* out, unsigned room) : out_(out), room_(out == nullptr ? 0 : room) {}
  void add(const Entry& entry) {
    if (count_ < room_) out_[count_] = entry;
    ++count_;
  }
  nvmlReturn_t finish(unsigned* count) const {
    *count = count_;
    return count_ > room_ ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
  }
  bool empty() const { return count_ == 0; }

 private:
  Entry* out_;
  unsigned room_, count_ = 0;
};

// What has charged memory on the device: these are compute processes all.
template <class Entry>
void add_charged(const View& seen, int index, Filler<Entry>& out) {
  if (index < 0) return;
  const Own own(seen, index);
  own.each([&](const Process& process, unsigned) {
    if (process.used != 0) out.add(entry_of<Entry>(process));
  });
}

// Of the driver's own list, the entries that are processes of the grant, named and measured by us.
template <class Entry>
void add_known(const View& seen, int index, const Entry* driver, unsigned count, Filler<Entry>& out) {
  if (index < 0) return;
  const Own own(seen, index);
  for (unsigned i = 0; i < count; ++i) {
    const Process process = own.find(driver[i].pid);
    if (process.pid == 0) continue;
    Entry entry = driver[i];
    entry.pid = process.pid;
    if constexpr (requires { entry.used; }) entry.used = process.used;
    out.add(entry);
  }
}

bool refuses(nvmlReturn_t result) { return result != NVML_SUCCESS && result != NVML_ERROR_INSUFFICIENT_SIZE; }

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

void kiboko::shim::nvml_after_fork() {
  if (variable_books_state.load(std::memory_order_relaxed) != 1) return;
  variable_books.close();
  variable_books_state.store(0, std::memory_order_relaxed);
}

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
