// Slots: which process of the grant is which index of the region.
//
// A slot is claimed lowest free index first, holds its process's charges, and never moves. Identity is (pid namespace,
// pid, start time) plus a nonce of the library load, so neither pid reuse nor exec can inherit a charge. A process may
// die at any instruction: whoever needs the slot's room (a claim, a refusal, a reap request) takes it back through
// the states below, and a reaper that dies in between is itself taken over.
//
//   free(g) --claimer--> claiming(g+1, pid) --> live(g+1, pid) --reaper, or owner's release--> reaping(g+2, reaper)
//   reaping(g, reaper) --> free(g)               reaping(g, dead reaper) --another reaper--> reaping(g+1, reaper)
//
// Only in `reaping` are charges wiped, and a holder is replaced only when it is surely dead: a late write of one who
// was merely slow would wipe or rename the next owner.
#pragma once

#include "region/mapping.h"
#include "region/step.h"

namespace kiboko::region {

enum class SlotState : std::uint8_t { Free = 0, Claiming = 1, Live = 2, Reaping = 3 };

struct SlotWord {
  std::uint32_t generation;
  SlotState state;
  std::uint32_t pid;
};
std::uint64_t pack(SlotWord word);
SlotWord unpack(std::uint64_t word);

// What tells one process from another. `self()` reads /proc once; safe to call again in a forked child.
struct ProcessIdentity {
  std::uint32_t pid = 0;
  std::uint64_t start_time = 0;
  std::uint64_t pid_ns = 0;
  static ProcessIdentity self();
};
std::uint64_t own_pid_ns();  // 0 = /proc does not say

enum class Liveness : std::uint8_t { Alive, Dead, Unknown };  // Unknown: another pid namespace, or /proc unreadable
Liveness liveness_of(std::uint32_t pid, std::uint64_t start_time, std::uint64_t pid_ns);

struct Slot {
  unsigned index = 0;
  std::uint32_t generation = 0;
};

// Claims the lowest free slot. A slot of the same (pid, start time) with another nonce (this process before an exec)
// is reaped first. False when all 1,024 are in use by live processes, or the disk is full.
bool claim_slot(Mapping& region, const ProcessIdentity& self, std::uint64_t nonce, Slot* out, PageError* error);
void release_slot(Mapping& region, const Slot& slot);

// Takes back every slot whose process is dead. One of another pid namespace is dead when it showed its presence by a
// lock on the file and the lock is gone; without such a lock it counts as alive. Returns how many. Needs no lock;
// several processes may do it at once. Costs a kill(pid, 0) and a read of /proc/<pid>/stat for each live slot.
unsigned reap_dead_slots(Mapping& region);

// Whether the process that `slot` named when it held `generation` is surely gone.
bool holder_is_dead(const Mapping& region, unsigned index, std::uint16_t generation_low);

}  // namespace kiboko::region
