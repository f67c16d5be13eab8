// Handles for memory and events of another process.
//
// Exported memory moves into a file that both map; its charge moves into a shared entry (device.h), so that it is paid
// once however many processes have it open. A small allocation shares its 2 MiB block with others, and the whole block
// moves; the block's file then stays as long as the process.
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "context.h"
#include "device_internal.h"
#include "memory.h"

namespace sim {
namespace {

struct MemoryHandle {
  std::uint64_t magic;
  std::int32_t device, index;
  std::uint64_t id;      // of the entry
  std::uint64_t file;    // whose bytes it has
  std::uint64_t offset;  // in the file
  std::uint64_t bytes;
  std::int32_t pid, reserved;
};
static_assert(sizeof(MemoryHandle) <= sizeof(CUipcMemHandle));
struct EventHandle {
  std::uint64_t magic;
  std::uint64_t index, id;
  std::int32_t pid, reserved;
};
static_assert(sizeof(EventHandle) <= sizeof(CUipcEventHandle));
constexpr std::uint64_t kMemoryMagic = 0x4d435049534b4221, kEventMagic = 0x45435049534b4221;

struct Opened {
  std::uint64_t id;
  CUdeviceptr address;  // as the program has it
  Allocation* allocation;
  int count;
};
std::mutex ipc_lock;
auto& opened = kept_to_the_end<std::vector<Opened>>();

int make_file(std::uint64_t id, std::uint64_t bytes) {
  const int file = open(shared_file(*driver.shared, id).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return -1;
  if (fchmod(file, 0666) == 0 && ftruncate(file, static_cast<off_t>(bytes)) == 0) return file;
  close(file);
  return -1;
}

// The bytes of the allocation move into a file, unless they are in one. 0 on failure.
std::uint64_t put_into_file(Allocation& allocation, std::uint64_t entry_id, int channel) {
  std::lock_guard<std::mutex> lock(memory_lock);
  const bool small = allocation.charged <= kMiB;
  if (small && block_file(allocation) != 0) return block_file(allocation);
  const std::uint64_t start = small ? allocation.address / kBlock * kBlock : allocation.address;
  const std::uint64_t bytes = small ? kBlock : allocation.charged;
  std::uint64_t id = entry_id;
  if (small) {  // an entry without bytes keeps the block's file alive until the process ends
    id = driver.shared->next_id.fetch_add(1);
    if (share_allocation(*driver.shared, channel, 0, id) < 0) return 0;
  }
  const int file = make_file(id, bytes);
  const bool good = file >= 0 && move_to_file(start, bytes, file, small || allocation.touched);
  if (file >= 0) close(file);
  if (!good) return 0;
  if (small) {
    block_file(allocation) = id;
  } else {
    allocation.backed = true;
  }
  return id;
}

CUresult export_memory(CUdeviceptr address, CUipcMemHandle* out) {
  Allocation* allocation = nullptr;
  {
    std::lock_guard<std::mutex> lock(memory_lock);
    allocation = find_allocation(address);
  }
  if (allocation == nullptr || allocation->kind != MemoryKind::kDevice) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(ipc_lock);
  Queue& queue = *driver.queues[allocation->ordinal];
  Device& device = driver.shared->devices[queue.device];
  if (allocation->shared == 0) {
    const std::uint64_t id = driver.shared->next_id.fetch_add(1);
    const int index = share_allocation(*driver.shared, queue.channel, allocation->charged, id);
    if (index < 0) return CUDA_ERROR_OUT_OF_MEMORY;
    allocation->shared = static_cast<std::uint32_t>(index) + 1;
  }
  const std::uint64_t id = device.shared[allocation->shared - 1].id;
  const std::uint64_t file = allocation->backed ? id : put_into_file(*allocation, id, queue.channel);
  if (file == 0) return CUDA_ERROR_OPERATING_SYSTEM;
  const std::uint64_t offset = allocation->charged <= kMiB ? allocation->address % kBlock : 0;
  const MemoryHandle handle{kMemoryMagic,
                            queue.device,
                            static_cast<std::int32_t>(allocation->shared) - 1,
                            id,
                            file,
                            offset,
                            allocation->bytes,
                            getpid(),
                            0};
  memset(out, 0, sizeof *out);
  memcpy(out, &handle, sizeof handle);
  return CUDA_SUCCESS;
}

CUresult import_memory(const MemoryHandle& handle, CUdeviceptr* out) {
  if (handle.magic != kMemoryMagic || handle.index < 0 || handle.index >= kMaxShared) return CUDA_ERROR_INVALID_VALUE;
  if (handle.pid == getpid()) return CUDA_ERROR_INVALID_CONTEXT;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  std::lock_guard<std::mutex> lock(ipc_lock);
  for (Opened& one : opened) {
    if (one.id != handle.id) continue;
    ++one.count;
    *out = one.address;
    return CUDA_SUCCESS;
  }
  Queue& queue = context->queue();
  if (queue.device != handle.device) return CUDA_ERROR_INVALID_DEVICE;
  const int file = open(shared_file(*driver.shared, handle.file).c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return CUDA_ERROR_INVALID_HANDLE;
  struct stat info;
  if (fstat(file, &info) != 0 || !join_allocation(*driver.shared, queue.channel, handle.index, handle.id)) {
    close(file);
    return CUDA_ERROR_INVALID_HANDLE;
  }
  std::unique_lock<std::mutex> memory(memory_lock);
  Allocation* allocation = take_address(round_up(static_cast<std::uint64_t>(info.st_size), kBlock));
  const bool good =
      allocation != nullptr && move_to_file(allocation->address, static_cast<std::uint64_t>(info.st_size), file, false);
  close(file);
  if (!good) {
    if (allocation != nullptr) give_address(allocation);
    memory.unlock();
    leave_allocation(*driver.shared, queue.channel, handle.index);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  allocation->bytes = handle.offset + handle.bytes;
  allocation->context = context;
  allocation->ordinal = context->ordinal;
  allocation->kind = MemoryKind::kImported;
  allocation->backed = true;
  allocation->shared = static_cast<std::uint32_t>(handle.index) + 1;
  allocation->id = driver.next_id.fetch_add(1);
  opened.push_back({handle.id, allocation->address + handle.offset, allocation, 1});
  *out = allocation->address + handle.offset;
  return CUDA_SUCCESS;
}

}  // namespace

void leave_shared(Allocation& allocation) {
  leave_allocation(*driver.shared, driver.queues[allocation.ordinal]->channel, static_cast<int>(allocation.shared) - 1);
}

}  // namespace sim

using namespace sim;

SIM_FN(cuIpcGetMemHandle, (CUipcMemHandle * out, CUdeviceptr address), (out, address)) {
  return out == nullptr ? CUDA_ERROR_INVALID_VALUE : export_memory(address, out);
}
static CUresult open_memory(CUdeviceptr* out, const CUipcMemHandle& given, unsigned flags) {
  if (out == nullptr || flags != 1) return CUDA_ERROR_INVALID_VALUE;
  MemoryHandle handle;
  memcpy(&handle, &given, sizeof handle);
  return import_memory(handle, out);
}
SIM_FN(cuIpcOpenMemHandle, (CUdeviceptr * out, CUipcMemHandle given, unsigned flags), (out, given, flags)) {
  return open_memory(out, given, flags);
}
SIM_FN(cuIpcOpenMemHandle_v2, (CUdeviceptr * out, CUipcMemHandle given, unsigned flags), (out, given, flags)) {
  return open_memory(out, given, flags);
}
SIM_FN(cuIpcCloseMemHandle, (CUdeviceptr address), (address)) {
  Allocation* allocation = nullptr;
  {
    std::lock_guard<std::mutex> lock(ipc_lock);
    for (auto one = opened.begin(); one != opened.end(); ++one) {
      if (one->address != address) continue;
      if (--one->count > 0) return CUDA_SUCCESS;
      allocation = one->allocation;
      opened.erase(one);
      break;
    }
  }
  if (allocation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  release(allocation);
  return CUDA_SUCCESS;
}

// --- events ---

SIM_FN(cuIpcGetEventHandle, (CUipcEventHandle * out, CUevent given), (out, given)) {
  Event* event = object<Event>(given);
  if (out == nullptr || event == nullptr || (event->flags & kEventInterprocess) == 0) return CUDA_ERROR_INVALID_VALUE;
  TableGuard guard(*driver.shared);
  if (event->shared == nullptr) {
    for (SharedEvent& entry : driver.shared->events) {
      const bool owner_gone = entry.state == 1 && driver.shared->channels[entry.channel].state != ChannelState::kLive;
      if (entry.state != 0 && !owner_gone) continue;
      entry.channel = static_cast<std::uint32_t>(event->context->queue().channel);
      entry.id = driver.shared->next_id.fetch_add(1);
      const RecordPtr record = event->record;
      entry.target = record != nullptr && record->state == Record::State::kPlaced ? record->v : 0;
      entry.state = 1;
      event->shared = &entry;
      break;
    }
  }
  if (event->shared == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  const EventHandle handle{kEventMagic, static_cast<std::uint64_t>(event->shared - driver.shared->events),
                           event->shared->id, getpid(), 0};
  memset(out, 0, sizeof *out);
  memcpy(out, &handle, sizeof handle);
  return CUDA_SUCCESS;
}
SIM_FN(cuIpcOpenEventHandle, (CUevent * out, CUipcEventHandle given), (out, given)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  EventHandle handle;
  memcpy(&handle, &given, sizeof handle);
  if (handle.magic != kEventMagic || handle.index >= kMaxEvents) return CUDA_ERROR_INVALID_VALUE;
  if (handle.pid == getpid()) return CUDA_ERROR_INVALID_CONTEXT;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  SharedEvent& entry = driver.shared->events[handle.index];
  if (entry.state == 0 || entry.id != handle.id) return CUDA_ERROR_INVALID_HANDLE;
  auto* event = new Event;
  event->context = context;
  event->flags = kEventInterprocess | kEventDisableTiming;
  event->shared = &entry;
  event->imported = true;
  *out = sim::handle<CUevent>(event);
  return CUDA_SUCCESS;
}
