// Memory that another process made and this one has open. Its maker is charged for it; once the maker has gone, or has
// let go of it, the memory is still taken, and then this process is charged.
//
// Any thread may call. Where nothing is imported the check costs one load.
#pragma once

#include <atomic>
#include <cstdint>

namespace kiboko::shim {

enum class ImportKind : std::uint32_t { None, Address, Handle };  // what the key is

// How much of it was seen so far; a later call may say more. Opened `opens` times more.
void import_seen(ImportKind kind, std::uint64_t key, unsigned device, std::uint64_t bytes, unsigned opens);
// Closed once. After the last time it counts no more.
void import_closed(ImportKind kind, std::uint64_t key);

extern std::atomic<int> imports_held;
void charge_orphans();
// Charges what has lost its maker.
inline void check_imports() {
  if (__builtin_expect(imports_held.load(std::memory_order_relaxed) != 0, 0)) charge_orphans();
}

}  // namespace kiboko::shim
