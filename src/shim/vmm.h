// References to physical memory by handle, held for others than handles and mappings.
//
// Any thread. Handles and addresses that we do not know are nobody's: they hold nothing.
#pragma once

#include <cstdint>

namespace kiboko::shim {

struct HeldMemory {
  std::uint64_t handle;
  std::uint32_t serial;
  std::uint16_t device;  // of the grant
};

bool hold(std::uint64_t handle, HeldMemory* held);
bool hold_mapped(std::uint64_t address, HeldMemory* held);
void let_go(const HeldMemory& held);

// A multicast object lives as memory does, by references and mappings, and is charged to nobody. False: no room for it.
bool remember_multicast(std::uint64_t handle);
// Its last reference has gone, and with it whatever was bound (multicast.cc).
void multicast_ended(std::uint32_t serial);

}  // namespace kiboko::shim
