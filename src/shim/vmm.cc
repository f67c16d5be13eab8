// Physical memory by handle. The memory lives as long as its handle has references or is mapped anywhere, so a program
// that maps and then releases (as caching allocators do) holds it still. Charged once, when created; retaining and
// mapping count up, releasing and unmapping down, and the refund comes at zero. What another process created is counted
// in the same way, and charged when it has lost its maker (imports.h).
//
// References are counted up before the driver is asked and down after it agreed: the count is never lower than the
// driver's. A handle value may be reused the moment the driver has let go of it, hence the serial numbers.
#include "shim/vmm.h"

#include "shim/charge.h"
#include "shim/context.h"

using namespace kiboko::shim;
using kiboko::region::ChargeKind;
using kiboko::region::rounded;

namespace {

std::atomic<std::uint32_t> last_serial{0};

// HandleEntry::owner of what is no memory of this process's own.
constexpr std::uint16_t kImported = 1;   // another process made it
constexpr std::uint16_t kMulticast = 2;  // it holds others' memory

void refund(const HandleEntry& allocation) {
  if (allocation.owner == kImported)
    import_closed(ImportKind::Handle, allocation.serial);
  else if (allocation.owner == kMulticast)
    multicast_ended(allocation.serial);
  else
    account().refund(allocation.device, allocation.bytes, ChargeKind::Data);
}

bool add_reference(std::uint64_t handle, HandleEntry* allocation) {
  return allocations.change(handle, [=](HandleEntry& entry) {
    ++entry.references;
    *allocation = entry;
    return true;
  });
}
bool add_reference(std::uint64_t handle, std::uint32_t* serial) {
  HandleEntry allocation{};
  const bool there = add_reference(handle, &allocation);
  *serial = allocation.serial;
  return there;
}

void drop_reference(std::uint64_t handle, std::uint32_t serial) {
  HandleEntry last{};
  allocations.change(handle, [&](HandleEntry& entry) {
    if (entry.serial != serial || --entry.references != 0) return true;
    last = entry;
    return false;
  });
  if (last.key == 0) return;
  if (last.link == 0)
    refund(last);
  else
    drop_reference(last.link, last.link_serial);
}

// The driver gave out `handle` anew, so that whatever we held under that value has ended.
void displace(const HandleEntry& old) {
  if (old.key == 0) return;
  if (old.link == 0)
    refund(old);
  else
    drop_reference(old.link, old.link_serial);
}

bool remember(std::uint64_t handle, std::uint64_t bytes, unsigned device, std::uint64_t link, std::uint32_t link_serial,
              std::uint16_t owner = 0) {
  HandleEntry entry{}, displaced;
  entry.key = handle;
  entry.bytes = bytes;
  entry.link = link;
  entry.serial = last_serial.fetch_add(1, std::memory_order_relaxed) + 1;
  entry.link_serial = link_serial;
  entry.references = 1;
  entry.owner = owner;
  entry.device = static_cast<std::uint16_t>(device);
  if (!allocations.put(entry, &displaced)) return false;
  if (owner == kImported) import_seen(ImportKind::Handle, entry.serial, device, 0, 1);
  displace(displaced);
  return true;
}

bool find_mapping(std::uint64_t address, HandleEntry* out) {
  if (mappings.find(address, out)) return true;
  bool found = false;
  mappings.sweep([&](const HandleEntry& entry) {
    if (address - entry.key < entry.bytes) {
      *out = entry;
      found = true;
    }
    return false;
  });
  return found;
}

// cuMemUnmap takes a range that may hold several mappings, end to end. What was mapped unseen is stepped over; after
// many such steps it is quicker to look through the table.
void forget_mappings(std::uint64_t address, std::uint64_t bytes) {
  constexpr std::uint64_t kSmallestMapping = 64 << 10;
  constexpr int kMostSteps = 256;
  const std::uint64_t end = address > UINT64_MAX - bytes ? UINT64_MAX : address + bytes;
  for (int misses = 0; address < end && misses < kMostSteps;) {
    std::uint64_t step = kSmallestMapping;
    if (const HandleEntry mapping = mappings.take(address); mapping.key != 0) {
      drop_reference(mapping.link, mapping.link_serial);
      if (mapping.bytes > step) step = mapping.bytes;
    } else {
      ++misses;
    }
    address = end - address < step ? end : address + step;
  }
  if (address == end) return;
  mappings.sweep([=](const HandleEntry& mapping) {
    if (mapping.key < address || mapping.key >= end) return false;
    drop_reference(mapping.link, mapping.link_serial);
    return true;
  });
}

}  // namespace

namespace kiboko::shim {

bool hold(std::uint64_t handle, HeldMemory* held) {
  HandleEntry entry{};
  if (!add_reference(handle, &entry)) return false;
  *held = {handle, entry.serial, entry.device};
  return true;
}

bool hold_mapped(std::uint64_t address, HeldMemory* held) {
  HandleEntry mapping{};
  return find_mapping(address, &mapping) && hold(mapping.link, held);
}

void let_go(const HeldMemory& held) { drop_reference(held.handle, held.serial); }

bool remember_multicast(std::uint64_t handle) { return remember(handle, 0, 0, 0, 0, kMulticast); }

}  // namespace kiboko::shim

namespace {

// Physical memory comes in the granules that the driver names; programs ask for multiples of them.
std::uint64_t in_granules(std::uint64_t bytes, const CUmemAllocationProp& properties) {
  constexpr int kMinimum = 0;
  std::size_t granule = 0;
  if (real.cuMemGetAllocationGranularity == nullptr ||
      real.cuMemGetAllocationGranularity(&granule, &properties, kMinimum) != CUDA_SUCCESS || granule < kUnitBytes)
    return rounded(bytes);
  const std::uint64_t granules = bytes / granule + (bytes % granule != 0 ? 1 : 0);
  return granules > UINT64_MAX / granule ? UINT64_MAX : granules * granule;
}

}  // namespace

SHIM_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, std::size_t bytes,
                                 const CUmemAllocationProp* properties, unsigned long long flags) {
  if (!ready(real.cuMemCreate)) return CUDA_ERROR_NOT_INITIALIZED;
  const auto call = [=] { return real.cuMemCreate(handle, bytes, properties, flags); };
  if (handle == nullptr || properties == nullptr || bytes == 0) return call();
  const Gate gate = enter();
  if (gate != Gate::Account) return gate == Gate::Pass ? call() : CUDA_ERROR_OPERATING_SYSTEM;
  // The device is named by the properties; the calling thread may have no context at all.
  const CUmemLocation location = properties->location;
  if (location.type != CU_MEM_LOCATION_TYPE_DEVICE || location.id < 0 ||
      static_cast<unsigned>(location.id) >= state.ordinal_count)
    return call();  // host memory, or a device that the driver refuses
  const int device = index_of(location.id);
  if (device < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  Charge charge(static_cast<unsigned>(device), in_granules(bytes, *properties));
  if (!charge) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = call();
  if (result != CUDA_SUCCESS || *handle == 0) return result;
  if (!remember(*handle, charge.bytes(), static_cast<unsigned>(device), 0, 0)) {
    if (real.cuMemRelease != nullptr) real.cuMemRelease(*handle);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  charge.keep();
  return result;
}

SHIM_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  if (!ready(real.cuMemRelease)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  HandleEntry entry{};
  const bool ours = gate == Gate::Account && allocations.find(handle, &entry);
  const CUresult result = real.cuMemRelease(handle);
  if (result == CUDA_SUCCESS && ours) drop_reference(handle, entry.serial);
  return result;
}

SHIM_EXPORT CUresult cuMemMap(CUdeviceptr pointer, std::size_t bytes, std::size_t offset,
                              CUmemGenericAllocationHandle handle, unsigned long long flags) {
  if (!ready(real.cuMemMap)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  HandleEntry allocation{};
  const bool ours = gate == Gate::Account && add_reference(handle, &allocation);
  const std::uint32_t serial = allocation.serial;
  const CUresult result = real.cuMemMap(pointer, bytes, offset, handle, flags);
  if (!ours) return result;
  if (result != CUDA_SUCCESS) {
    drop_reference(handle, serial);
    return result;
  }
  HandleEntry mapping{}, displaced;
  mapping.key = pointer;
  mapping.bytes = bytes;
  mapping.link = handle;
  mapping.link_serial = serial;
  if (!mappings.put(mapping, &displaced)) {
    if (real.cuMemUnmap != nullptr) real.cuMemUnmap(pointer, bytes);
    drop_reference(handle, serial);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (displaced.key != 0) drop_reference(displaced.link, displaced.link_serial);
  if (allocation.owner == kImported)  // how much it is, is only known now
    import_seen(ImportKind::Handle, serial, allocation.device, offset + bytes, 0);
  return result;
}

SHIM_EXPORT CUresult cuMemUnmap(CUdeviceptr pointer, std::size_t bytes) {
  if (!ready(real.cuMemUnmap)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = real.cuMemUnmap(pointer, bytes);
  if (result == CUDA_SUCCESS && gate == Gate::Account) forget_mappings(pointer, bytes);
  return result;
}

SHIM_EXPORT CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle, void* os_handle, int type) {
  if (!ready(real.cuMemImportFromShareableHandle)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  const CUresult result = real.cuMemImportFromShareableHandle(handle, os_handle, type);
  if (result != CUDA_SUCCESS || handle == nullptr || gate != Gate::Account) return result;
  // Charged to whoever created it. Coming back to its creator it may carry the handle that it left with.
  std::uint32_t serial;
  CUmemAllocationProp properties{};
  if (add_reference(*handle, &serial) || real.cuMemGetAllocationPropertiesFromHandle == nullptr ||
      real.cuMemGetAllocationPropertiesFromHandle(&properties, *handle) != CUDA_SUCCESS ||
      properties.location.type != CU_MEM_LOCATION_TYPE_DEVICE)
    return result;
  const int device = index_of(properties.location.id);
  if (device < 0 || !remember(*handle, 0, static_cast<unsigned>(device), 0, 0, kImported)) return result;
  pools_used.store(true, std::memory_order_relaxed);  // synchronisations look after it
  return result;
}

SHIM_EXPORT CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* address) {
  if (!ready(real.cuMemRetainAllocationHandle)) return CUDA_ERROR_NOT_INITIALIZED;
  const Gate gate = enter();
  if (gate == Gate::Refuse) return CUDA_ERROR_OPERATING_SYSTEM;
  HandleEntry mapping;
  std::uint32_t serial;
  // One reference for the handle that the driver is about to give out.
  const bool ours = gate == Gate::Account && find_mapping(reinterpret_cast<std::uintptr_t>(address), &mapping) &&
                    add_reference(mapping.link, &serial);
  const CUresult result = real.cuMemRetainAllocationHandle(handle, address);
  if (!ours) return result;
  if (result != CUDA_SUCCESS || handle == nullptr) {
    drop_reference(mapping.link, serial);
    return result;
  }
  if (*handle == mapping.link) return result;
  // Another value for the same memory: that reference belongs to it.
  std::uint32_t other;
  if (add_reference(*handle, &other) || !remember(*handle, 0, mapping.device, mapping.link, serial))
    drop_reference(mapping.link, serial);
  return result;
}
