// The virtual memory calls: addresses, physical handles, and mappings between them.
//
// A handle is a stretch of a file, so that it can be mapped at several addresses: one anonymous file for all handles
// of the process, or a file of its own once the handle has been exported. A handle lives until it is released as often
// as it was created, imported or retained, and nothing is mapped from it any more.
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <vector>

#include "context.h"
#include "memory.h"

namespace sim {
namespace {

struct Handle {
  std::uint64_t bytes = 0;
  CUmemAllocationProp properties{};
  int ordinal = -1;  // -1: host memory, nothing is charged
  int references = 1, mappings = 0;
  int file = -1;  // of its own, once shared
  std::uint64_t offset = 0;
  int shared = -1;  // index in Device::shared
};
struct Mapping {
  std::uint64_t bytes;
  std::uint64_t handle;
  bool accessible;
};

// The last page of an exported file says what it is.
struct Ticket {
  std::uint64_t magic;
  char set[64];
  std::int32_t device, index;
  std::uint64_t id, bytes;
  CUmemAllocationProp properties;
};
constexpr std::uint64_t kTicketMagic = 0x54494d4d56534b42;
constexpr std::uint64_t kPage = 4096;

std::mutex vmm_lock;
auto& reservations = kept_to_the_end<std::map<std::uint64_t, std::uint64_t>>();  // address -> bytes
auto& mappings = kept_to_the_end<std::map<std::uint64_t, Mapping>>();
auto& handles = kept_to_the_end<std::map<std::uint64_t, Handle>>();
std::atomic<bool> anything{false};
int common_file = -1;
std::uint64_t common_end = 0;

bool is_host(const CUmemLocation& location) { return location.type >= kLocationHost && location.type <= 4; }

Handle* find_handle(std::uint64_t id) {
  const auto found = handles.find(id);
  return found == handles.end() ? nullptr : &found->second;
}

bool place_in_common_file(Handle& handle) {
  if (common_file < 0) common_file = memfd_create("kiboko-sim", MFD_CLOEXEC);
  if (common_file < 0) return false;
  handle.offset = common_end;
  common_end += handle.bytes;
  return ftruncate(common_file, static_cast<off_t>(common_end)) == 0;
}

int channel_of(const Handle& handle) { return driver.queues[handle.ordinal]->channel; }

void drop_if_unused(std::uint64_t id) {
  Handle* handle = find_handle(id);
  if (handle == nullptr || handle->references > 0 || handle->mappings > 0) return;
  if (handle->file >= 0) {
    close(handle->file);
  } else {
    fallocate(common_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(handle->offset),
              static_cast<off_t>(handle->bytes));
  }
  if (handle->shared >= 0) {
    leave_allocation(*driver.shared, channel_of(*handle), handle->shared);
  } else if (handle->ordinal >= 0) {
    refund(*driver.shared, channel_of(*handle), handle->bytes);
  }
  handles.erase(id);
}

// The reservation that holds all of [address, address + bytes).
bool is_reserved(std::uint64_t address, std::uint64_t bytes) {
  auto after = reservations.upper_bound(address);
  if (after == reservations.begin()) return false;
  --after;
  return address + bytes <= after->first + after->second;
}

bool overlaps_mapping(std::uint64_t address, std::uint64_t bytes) {
  auto after = mappings.lower_bound(address);
  if (after != mappings.end() && after->first < address + bytes) return true;
  if (after == mappings.begin()) return false;
  --after;
  return after->first + after->second.bytes > address;
}

// Calls `use` for each mapping if together they are exactly [address, address + bytes).
template <class Use>
bool for_whole_mappings(std::uint64_t address, std::uint64_t bytes, Use use) {
  std::uint64_t at = address;
  for (auto mapping = mappings.find(address); at < address + bytes; ++mapping) {
    if (mapping == mappings.end() || mapping->first != at) return false;
    at += mapping->second.bytes;
  }
  if (at != address + bytes) return false;
  for (auto mapping = mappings.find(address); mapping != mappings.end() && mapping->first < address + bytes;) {
    const auto next = std::next(mapping);
    use(mapping);
    mapping = next;
  }
  return true;
}

CUresult check(const CUmemAllocationProp* properties) {
  if (properties == nullptr || properties->type < 1 || properties->type > 2) return CUDA_ERROR_INVALID_VALUE;
  if (is_host(properties->location)) return CUDA_SUCCESS;
  if (properties->location.type != kLocationDevice) return CUDA_ERROR_INVALID_VALUE;
  return valid_ordinal(properties->location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

bool write_ticket(int file, const Handle& handle, std::uint64_t id) {
  Ticket ticket{};
  ticket.magic = kTicketMagic;
  memcpy(ticket.set, driver.shared->name, sizeof ticket.set);
  ticket.device = driver.queues[handle.ordinal]->device;
  ticket.index = handle.shared;
  ticket.id = id;
  ticket.bytes = handle.bytes;
  ticket.properties = handle.properties;
  return pwrite(file, &ticket, sizeof ticket, static_cast<off_t>(handle.bytes)) == sizeof ticket;
}

// Copies what was ever written; the rest stays a hole.
bool copy_written(int from, std::uint64_t offset, std::uint64_t bytes, int to) {
  std::vector<char> buffer(kMiB);
  const auto start = static_cast<off_t>(offset), end = static_cast<off_t>(offset + bytes);
  for (off_t at = start; at < end;) {
    const off_t data = lseek(from, at, SEEK_DATA);
    if (data < 0 || data >= end) return true;
    const off_t hole = lseek(from, data, SEEK_HOLE);
    const off_t stop = hole < 0 || hole > end ? end : hole;
    for (at = data; at < stop;) {
      const std::size_t want = std::min(buffer.size(), static_cast<std::size_t>(stop - at));
      const ssize_t got = pread(from, buffer.data(), want, at);
      if (got <= 0 || pwrite(to, buffer.data(), static_cast<std::size_t>(got), at - start) != got) return false;
      at += got;
    }
  }
  return true;
}

// Gives the handle a file of its own, with its bytes, and an entry that other processes can join.
bool make_shareable(std::uint64_t handle_id, Handle& handle) {
  if (handle.shared >= 0) return true;
  const std::uint64_t id = driver.shared->next_id.fetch_add(1);
  const int file = open(shared_file(*driver.shared, id).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return false;
  handle.shared = share_allocation(*driver.shared, channel_of(handle), handle.bytes, id);
  const bool good = handle.shared >= 0 && ftruncate(file, static_cast<off_t>(handle.bytes + kPage)) == 0 &&
                    write_ticket(file, handle, id);
  if (!good) {
    close(file);
    return false;
  }
  if (!copy_written(common_file, handle.offset, handle.bytes, file)) {
    close(file);
    return false;
  }
  handle.file = file;
  handle.offset = 0;
  for (auto& [address, mapping] : mappings) {
    if (mapping.handle != handle_id) continue;
    mmap(reinterpret_cast<void*>(address), mapping.bytes, mapping.accessible ? PROT_READ | PROT_WRITE : PROT_NONE,
         MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file, 0);
  }
  return true;
}

}  // namespace

bool is_mapped_range(CUdeviceptr address, std::uint64_t bytes, bool& ours) {
  ours = false;
  if (!anything.load(std::memory_order_relaxed)) return false;
  std::lock_guard<std::mutex> lock(vmm_lock);
  ours = is_reserved(address, 1);
  if (!ours) return false;
  const std::uint64_t end = address + bytes;
  while (address < end) {
    auto after = mappings.upper_bound(address);
    if (after == mappings.begin()) return false;
    --after;
    const std::uint64_t stop = after->first + after->second.bytes;
    if (address >= stop || !after->second.accessible) return false;
    address = stop;
  }
  return true;
}

bool mapping_at(CUdeviceptr address, CUdeviceptr& base, std::uint64_t& bytes, int& ordinal) {
  if (!anything.load(std::memory_order_relaxed)) return false;
  std::lock_guard<std::mutex> lock(vmm_lock);
  auto after = mappings.upper_bound(address);
  if (after == mappings.begin()) return false;
  --after;
  if (address >= after->first + after->second.bytes) return false;
  base = after->first;
  bytes = after->second.bytes;
  const Handle* handle = find_handle(after->second.handle);
  ordinal = handle != nullptr && handle->ordinal >= 0 ? handle->ordinal : 0;
  return true;
}

}  // namespace sim

using namespace sim;

// --- addresses ---

SIM_FN(cuMemAddressReserve,
       (CUdeviceptr * out, std::size_t bytes, std::size_t alignment, CUdeviceptr wanted, unsigned long long flags),
       (out, bytes, alignment, wanted, flags)) {
  if (out == nullptr || bytes == 0 || bytes % kBlock != 0 || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if ((alignment & (alignment - 1)) != 0) return CUDA_ERROR_INVALID_VALUE;
  const std::uint64_t unit = alignment > kBlock ? alignment : kBlock;
  void* raw = mmap(reinterpret_cast<void*>(wanted), bytes + unit, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  const auto start = reinterpret_cast<std::uint64_t>(raw);
  const std::uint64_t address = round_up(start, unit);
  if (address > start) munmap(raw, address - start);
  const std::uint64_t end = start + bytes + unit;
  if (address + bytes < end) munmap(reinterpret_cast<void*>(address + bytes), end - address - bytes);
  std::lock_guard<std::mutex> lock(vmm_lock);
  reservations[address] = bytes;
  anything = true;
  *out = address;
  return CUDA_SUCCESS;
}
SIM_FN(cuMemAddressFree, (CUdeviceptr address, std::size_t bytes), (address, bytes)) {
  std::lock_guard<std::mutex> lock(vmm_lock);
  const auto found = reservations.find(address);
  if (found == reservations.end() || found->second != bytes || overlaps_mapping(address, bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  munmap(reinterpret_cast<void*>(address), bytes);
  reservations.erase(found);
  return CUDA_SUCCESS;
}

// --- handles ---

SIM_FN(cuMemGetAllocationGranularity, (std::size_t * out, const CUmemAllocationProp* properties, int option),
       (out, properties, option)) {
  if (out == nullptr || option < 0 || option > 1) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check(properties); result != CUDA_SUCCESS) return result;
  *out = kBlock;
  return CUDA_SUCCESS;
}
SIM_FN(cuMemCreate,
       (CUmemGenericAllocationHandle * out, std::size_t bytes, const CUmemAllocationProp* properties,
        unsigned long long flags),
       (out, bytes, properties, flags)) {
  if (out == nullptr || bytes == 0 || bytes % kBlock != 0 || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check(properties); result != CUDA_SUCCESS) return result;
  Handle handle;
  handle.bytes = bytes;
  handle.properties = *properties;
  if (!is_host(properties->location)) {
    handle.ordinal = properties->location.id;
    if (const CUresult result = ensure_channel(*driver.queues[handle.ordinal]); result != CUDA_SUCCESS) return result;
    if (!charge(*driver.shared, channel_of(handle), bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  }
  std::lock_guard<std::mutex> lock(vmm_lock);
  if (!place_in_common_file(handle)) {
    if (handle.ordinal >= 0) refund(*driver.shared, channel_of(handle), bytes);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const std::uint64_t id = driver.next_id.fetch_add(1);
  handles[id] = handle;
  *out = id;
  return CUDA_SUCCESS;
}
SIM_FN(cuMemRelease, (CUmemGenericAllocationHandle id), (id)) {
  std::lock_guard<std::mutex> lock(vmm_lock);
  Handle* handle = find_handle(id);
  if (handle == nullptr || handle->references == 0) return CUDA_ERROR_INVALID_VALUE;
  --handle->references;
  drop_if_unused(id);
  return CUDA_SUCCESS;
}
SIM_FN(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle * out, void* given), (out, given)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto address = reinterpret_cast<std::uint64_t>(given);
  std::lock_guard<std::mutex> lock(vmm_lock);
  auto after = mappings.upper_bound(address);
  if (after == mappings.begin()) return CUDA_ERROR_INVALID_VALUE;
  --after;
  if (address >= after->first + after->second.bytes) return CUDA_ERROR_INVALID_VALUE;
  ++find_handle(after->second.handle)->references;
  *out = after->second.handle;
  return CUDA_SUCCESS;
}
SIM_FN(cuMemGetAllocationPropertiesFromHandle, (CUmemAllocationProp * out, CUmemGenericAllocationHandle id),
       (out, id)) {
  std::lock_guard<std::mutex> lock(vmm_lock);
  const Handle* handle = find_handle(id);
  if (out == nullptr || handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = handle->properties;
  return CUDA_SUCCESS;
}

// --- mappings ---

SIM_FN(cuMemMap,
       (CUdeviceptr address, std::size_t bytes, std::size_t offset, CUmemGenericAllocationHandle id,
        unsigned long long flags),
       (address, bytes, offset, id, flags)) {
  if (bytes == 0 || bytes % kBlock != 0 || address % kBlock != 0 || offset != 0 || flags != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::lock_guard<std::mutex> lock(vmm_lock);
  Handle* handle = find_handle(id);
  if (handle == nullptr || bytes > handle->bytes || !is_reserved(address, bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (overlaps_mapping(address, bytes)) return CUDA_ERROR_ALREADY_MAPPED;
  const int file = handle->file >= 0 ? handle->file : common_file;
  if (mmap(reinterpret_cast<void*>(address), bytes, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file,
           static_cast<off_t>(handle->offset)) == MAP_FAILED) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  ++handle->mappings;
  mappings[address] = {bytes, id, false};
  return CUDA_SUCCESS;
}
SIM_FN(cuMemUnmap, (CUdeviceptr address, std::size_t bytes), (address, bytes)) {
  std::lock_guard<std::mutex> lock(vmm_lock);
  const bool whole = for_whole_mappings(address, bytes, [](auto mapping) {
    const std::uint64_t id = mapping->second.handle;
    mmap(reinterpret_cast<void*>(mapping->first), mapping->second.bytes, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    mappings.erase(mapping);
    --find_handle(id)->mappings;
    drop_if_unused(id);
  });
  return whole ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
SIM_FN(cuMemSetAccess, (CUdeviceptr address, std::size_t bytes, const CUmemAccessDesc* list, std::size_t count),
       (address, bytes, list, count)) {
  if (list == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    const CUmemLocation& location = list[i].location;
    if (location.type == kLocationDevice && !valid_ordinal(location.id)) return CUDA_ERROR_INVALID_DEVICE;
  }
  const bool readable = list[0].flags != 0, writable = list[0].flags == 3;
  std::lock_guard<std::mutex> lock(vmm_lock);
  const bool whole = for_whole_mappings(address, bytes, [&](auto mapping) {
    const int protection = (readable ? PROT_READ : 0) | (writable ? PROT_WRITE : 0);
    mprotect(reinterpret_cast<void*>(mapping->first), mapping->second.bytes, protection);
    mapping->second.accessible = readable;
  });
  return whole ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
SIM_FN(cuMemGetAccess, (unsigned long long* flags, const CUmemLocation* location, CUdeviceptr address),
       (flags, location, address)) {
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  bool ours = false;
  const bool accessible = is_mapped_range(address, 1, ours);
  if (!ours) return CUDA_ERROR_INVALID_VALUE;
  *flags = accessible ? 3 : 0;
  return CUDA_SUCCESS;
}

// --- between processes ---

SIM_FN(cuMemExportToShareableHandle,
       (void* out, CUmemGenericAllocationHandle id, int handle_type, unsigned long long flags),
       (out, id, handle_type, flags)) {
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (handle_type != kHandleTypeFd) return CUDA_ERROR_NOT_SUPPORTED;
  std::lock_guard<std::mutex> lock(vmm_lock);
  Handle* handle = find_handle(id);
  if (handle == nullptr || (handle->properties.handle_types & kHandleTypeFd) == 0) return CUDA_ERROR_INVALID_VALUE;
  if (handle->ordinal < 0) return CUDA_ERROR_NOT_SUPPORTED;
  if (!make_shareable(id, *handle)) return CUDA_ERROR_OPERATING_SYSTEM;
  const int copy = fcntl(handle->file, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return CUDA_ERROR_OPERATING_SYSTEM;
  memcpy(out, &copy, sizeof copy);
  return CUDA_SUCCESS;
}
SIM_FN(cuMemImportFromShareableHandle, (CUmemGenericAllocationHandle * out, void* os_handle, int handle_type),
       (out, os_handle, handle_type)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (handle_type != kHandleTypeFd) return CUDA_ERROR_NOT_SUPPORTED;
  const int given = static_cast<int>(reinterpret_cast<std::intptr_t>(os_handle));
  struct stat info;
  Ticket ticket{};
  if (fstat(given, &info) != 0 || info.st_size < static_cast<off_t>(kPage)) return CUDA_ERROR_INVALID_VALUE;
  if (pread(given, &ticket, sizeof ticket, info.st_size - static_cast<off_t>(kPage)) != sizeof ticket ||
      ticket.magic != kTicketMagic || strncmp(ticket.set, driver.shared->name, sizeof ticket.set) != 0 ||
      ticket.index < 0 || ticket.index >= kMaxShared) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (int i = 0; i < driver.device_count; ++i) {
    if (driver.devices[i] != ticket.device) continue;
    if (const CUresult result = ensure_channel(*driver.queues[i]); result != CUDA_SUCCESS) return result;
    Handle handle;
    handle.bytes = ticket.bytes;
    handle.properties = ticket.properties;
    handle.properties.location.id = i;
    handle.ordinal = i;
    handle.shared = ticket.index;
    std::lock_guard<std::mutex> lock(vmm_lock);
    for (auto& [id, known] : handles) {  // imported before, or our own: another reference to the same
      if (known.shared != ticket.index || known.ordinal != i) continue;
      ++known.references;
      *out = id;
      return CUDA_SUCCESS;
    }
    if (!join_allocation(*driver.shared, channel_of(handle), ticket.index, ticket.id)) return CUDA_ERROR_INVALID_VALUE;
    handle.file = fcntl(given, F_DUPFD_CLOEXEC, 0);
    const std::uint64_t id = driver.next_id.fetch_add(1);
    handles[id] = handle;
    *out = id;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_INVALID_DEVICE;
}
