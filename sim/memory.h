// Device memory of this process: addresses, what stands behind them, and who pays.
//
// Addresses come from one large range of the process's own memory, reserved and never touched by us until a copy
// or a set writes there; so an allocation of any size costs no memory of the host. Sizes below 1 MiB are multiples of
// 512 bytes, cut from 2 MiB blocks that hold one size each; larger ones are whole 2 MiB blocks. Finding the allocation
// of any address, interior ones included, is a table look-up.
//
// Lock order: memory_lock is taken after a Queue's lock and never held while memory is charged to the shared device.
#pragma once

#include <cstdint>
#include <mutex>

#include "driver.h"

namespace sim {

struct Pool;

enum class MemoryKind : std::uint8_t { kDevice, kManaged, kArray, kPool, kGraph, kImported };

struct Allocation {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;    // as asked
  std::uint64_t charged = 0;  // as rounded
  Context* context = nullptr;
  Pool* pool = nullptr;
  std::uint64_t id = 0;
  std::int32_t ordinal = 0;
  MemoryKind kind = MemoryKind::kDevice;
  bool touched = false;      // something may have been written: the pages go back on free
  bool orphan = false;       // graph memory whose graphs are gone
  bool backed = false;       // lies in a shared file now (IPC)
  std::uint32_t shared = 0;  // index + 1 in Device::shared

  // Never written: large ones come from fresh pages and give them back when freed.
  bool is_zero() const { return !touched && !backed && charged >= kMiB; }
};

constexpr std::uint64_t kSmallUnit = 512, kBlock = 2 * kMiB;
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }
// What an allocation of so many bytes takes from the device.
constexpr std::uint64_t rounded(std::uint64_t bytes) {
  return bytes < kMiB ? round_up(bytes, kSmallUnit) : round_up(bytes, kBlock);
}

extern std::mutex memory_lock;

// With memory_lock held. An address for an allocation of `charged` bytes (as rounded()), or nullptr: no range left.
Allocation* take_address(std::uint64_t charged);
void give_address(Allocation* allocation);
// The allocation that `address` lies in, or nullptr.
Allocation* find_allocation(CUdeviceptr address);

// Charges, takes an address, fills in the rest.
CUresult allocate(Context& context, std::uint64_t bytes, MemoryKind kind, CUdeviceptr* out);
// Undoes it; `allocation` is invalid afterwards. memory_lock must not be held.
void release(Allocation* allocation);

// Where bytes at a device address can be read or written by us: [address, address + bytes) must be one allocation, a
// mapped range, registered host memory, or any other host memory. false: an address of ours that is not allocated.
bool is_accessible(CUdeviceptr address, std::uint64_t bytes);
// The same, and remembers that something is written there.
bool touch(CUdeviceptr address, std::uint64_t bytes);

// In the range of device memory, allocated or not, or reserved by the virtual memory calls.
bool is_device_address(CUdeviceptr address);

// Puts [address, address + bytes), whole pages of device memory, into the file, with what is there now.
bool move_to_file(std::uint64_t address, std::uint64_t bytes, int file, bool has_content);
// With memory_lock held: the file behind the 2 MiB block that a small allocation lies in, 0 = none yet.
std::uint64_t& block_file(const Allocation& allocation);
// What the virtual memory calls know of an address that is mapped.
bool mapping_at(CUdeviceptr address, CUdeviceptr& base, std::uint64_t& bytes, int& ordinal);
// Gives up this process's part in an allocation that others may have open (ipc.cc).
void leave_shared(Allocation& allocation);

// Mapped ranges of the virtual memory calls (vmm.cc). Return false when the address is in none.
bool is_mapped_range(CUdeviceptr address, std::uint64_t bytes, bool& ours);

}  // namespace sim
