// slots.h. The order of stores is what makes a kill harmless, so each function says what holds between its lines. All
// of it is off the fast path; the plain (sequentially consistent) operations are meant.
#include "region/slots.h"

#include <signal.h>
#include <unistd.h>

#include "region/message.h"
#include "region/os.h"

namespace kiboko::region {

namespace {

constexpr unsigned kPidBits = 22, kStateBits = 8;
constexpr unsigned kStateShift = 24;
constexpr std::uint64_t kPidMask = (1u << kPidBits) - 1;
constexpr unsigned kBlock = 64;
constexpr unsigned kBlocks = kMaxSlots / kBlock;

enum class Depth : std::uint8_t {
  Quick,    // only processes that kill(pid, 0) does not find: no file is read
  Thorough  // zombies and reused pids too
};

std::uint64_t tagged_start(std::uint32_t generation, std::uint64_t start_time) {
  return static_cast<std::uint64_t>(generation & 0xffff) << 48 | (start_time & ((1ull << 48) - 1));
}

unsigned blocks_in_use(const Mapping& region) {
  const std::uint64_t blocks = region.ext().header.slot_blocks.load();
  return blocks < kBlocks ? static_cast<unsigned>(blocks) : kBlocks;
}

template <class T>
void raise_to(Shared<T>& word, T least) {
  T now = word.load();
  while (now < least && !word.compare_exchange_weak(now, least)) {
  }
}

// Before a slot is claimed: so that whoever finds a slot whose holder has not yet said where it lives knows whether
// that must be the region's only namespace.
void note_namespace(ExtensionHeader& header, std::uint64_t pid_ns) {
  if (pid_ns == 0) header.pid_ns_mixed.store(1);  // not known, so perhaps another
  std::uint64_t first = 0;
  if (!header.pid_ns.compare_exchange_strong(first, pid_ns) && first != pid_ns) header.pid_ns_mixed.store(1);
}

std::uint64_t only_namespace(const ExtensionHeader& header) {
  return header.pid_ns_mixed.load() != 0 ? 0 : header.pid_ns.load();
}

// The process that `word` names, as far as the slot says.
ProcessIdentity holder_of(const Mapping& region, const SlotIdentity& slot, SlotWord word) {
  ProcessIdentity holder;
  holder.pid = word.pid;
  if (word.state == SlotState::Reaping) {
    const std::uint64_t tagged = slot.reaper_start.load();
    const std::uint64_t start = tagged & ((1ull << 48) - 1);
    if (tagged == tagged_start(word.generation, start) && start != 0) {
      holder.start_time = start;
      holder.pid_ns = slot.reaper_pid_ns.load();
    }
  } else {
    holder.pid_ns = slot.pid_ns.load();  // written after start_time
    if (holder.pid_ns != 0) holder.start_time = slot.start_time.load();
  }
  if (holder.pid_ns == 0) holder.pid_ns = only_namespace(region.ext().header);
  return holder;
}

bool is_dead(const Mapping& region, unsigned index, SlotWord word, Depth depth) {
  const SlotIdentity& slot = region.ext().slots[index];
  const ProcessIdentity holder = holder_of(region, slot, word);
  const std::uint64_t ours = own_pid_ns();
  if (word.state == SlotState::Live && ours != 0 && holder.pid_ns != 0 && holder.pid_ns != ours)
    return (slot.flags.load() & kSlotShowsPresence) != 0 && region.is_absent(index);
  if (depth == Depth::Quick && ::kill(static_cast<pid_t>(holder.pid), 0) == 0) return false;
  return liveness_of(holder.pid, holder.start_time, holder.pid_ns) == Liveness::Dead;
}

// An earlier process of this pid, this process before an exec, or its thread that an exec ended half way through a
// claim or a reap. What a thread of this image is just writing has this nonce, or none yet.
bool is_former_self(const SlotIdentity& slot, SlotWord word, const ProcessIdentity& self, std::uint64_t nonce) {
  if (word.pid != self.pid || word.state == SlotState::Free || self.pid_ns == 0) return false;
  const bool reaping = word.state == SlotState::Reaping;
  const std::uint64_t start = reaping ? slot.reaper_start.load() : slot.start_time.load();
  const std::uint64_t its_nonce = reaping ? slot.reaper_nonce.load() : slot.nonce.load();
  const std::uint64_t ns = reaping ? slot.reaper_pid_ns.load() : slot.pid_ns.load();
  if (ns != self.pid_ns || start == 0) return false;
  if (reaping && start >> 48 != (word.generation & 0xffff)) return false;
  const std::uint64_t own_start = reaping ? tagged_start(word.generation, self.start_time) : self.start_time;
  return start != own_start || (its_nonce != 0 && its_nonce != nonce);
}

void wipe_mirror(HamiSlot& slot) {
  slot.status.store(0);
  for (HamiUsage& used : slot.used)
    for (Shared<std::uint64_t>* word : {&used.total, &used.data, &used.context, &used.module, &used.offset})
      word->store(0, std::memory_order_relaxed);
  for (HamiUtil& util : slot.util)
    for (Shared<std::uint64_t>* word : {&util.sm, &util.decoder, &util.encoder, &util.spare[0]})
      word->store(0, std::memory_order_relaxed);
  for (Shared<std::uint64_t>& word : slot.monitor_used) word.store(0, std::memory_order_relaxed);
  slot.host_pid.store(0);
  slot.pid.store(0);
}

void wipe_charges(Extension& ext, unsigned index) {
  for (unsigned device = 0; device < kMaxDevices; ++device) {
    ext.charges[index / 8].charged[device][index % 8].store(0);
    SlotCounters& counters = ext.counters[index].device[device];
    counters.busy_ns.store(0, std::memory_order_relaxed);
    counters.launches.store(0, std::memory_order_relaxed);
    counters.throttled_ns.store(0, std::memory_order_relaxed);
    counters.oom_refusals.store(0, std::memory_order_relaxed);
  }
}

void wipe_identity(SlotIdentity& slot) {
  slot.pid_ns.store(0);
  slot.start_time.store(0);
  slot.nonce.store(0);
  slot.host_pid.store(0);
  slot.flags.store(0);
}

// Everything a slot holds, in an order that may be begun again by another at any point. The slot's pages may be
// missing only if its claimer died before it reserved them, and then its live bit is clear.
void wipe(Mapping& region, unsigned index) {
  Shared<std::uint64_t>& live = region.ext().header.live[index / kBlock];
  const std::uint64_t bit = 1ull << (index % kBlock);
  if ((live.load() & bit) != 0) {
    wipe_mirror(region.hami().slots[index]);
    KIBOKO_STEP("mirror wiped");
    wipe_charges(region.ext(), index);
    KIBOKO_STEP("charges wiped");
    live.fetch_and(~bit);
    KIBOKO_STEP("live bit cleared");
  }
  region.end_presence(index);  // ours, or one that a dead process and we had in common
  wipe_identity(region.ext().slots[index]);
  KIBOKO_STEP("identity wiped");
}

void sign_as_reaper(SlotIdentity& slot, std::uint32_t generation, const ProcessIdentity& self, std::uint64_t nonce) {
  slot.reaper_pid_ns.store(self.pid_ns);
  slot.reaper_nonce.store(nonce);
  slot.reaper_start.store(tagged_start(generation, self.start_time));
}

// Takes the slot from the holder that `seen` names, who is dead or this process itself, and frees it.
bool take_back(Mapping& region, unsigned index, std::uint64_t seen, const ProcessIdentity& self) {
  SlotIdentity& slot = region.ext().slots[index];
  const SlotWord reaping{unpack(seen).generation + 1, SlotState::Reaping, self.pid};
  if (!slot.state.compare_exchange_strong(seen, pack(reaping))) return false;
  KIBOKO_STEP("reaping");
  sign_as_reaper(slot, reaping.generation, self, region.load_nonce());
  KIBOKO_STEP("reaper signed");
  wipe(region, index);
  slot.reaper_start.store(0);
  slot.reaper_nonce.store(0);
  slot.reaper_pid_ns.store(0);
  KIBOKO_STEP("reaper unsigned");
  slot.state.store(pack({reaping.generation, SlotState::Free, 0}));
  KIBOKO_STEP("freed");
  return true;
}

template <class Gone>
unsigned take_back_if(Mapping& region, const ProcessIdentity& self, Gone gone) {
  unsigned count = 0;
  const unsigned end = blocks_in_use(region) * kBlock;
  for (unsigned index = 0; index < end; ++index) {
    const std::uint64_t seen = region.ext().slots[index].state.load();
    const SlotWord word = unpack(seen);
    if (word.state != SlotState::Free && gone(index, word) && take_back(region, index, seen, self)) ++count;
  }
  return count;
}

unsigned reap(Mapping& region, const ProcessIdentity& self, Depth depth) {
  return take_back_if(region, self, [&](unsigned index, SlotWord word) { return is_dead(region, index, word, depth); });
}

// A slot that is free here but has a pid in the first part belongs to a library that knows the first part only.
bool is_foreign(const HamiSlot& slot, std::uint64_t self_ns, std::uint32_t* pid) {
  const std::int32_t stranger = slot.pid.load();
  *pid = stranger > 0 ? static_cast<std::uint32_t>(stranger) : 0;
  return *pid != 0 && liveness_of(*pid, 0, self_ns) != Liveness::Dead;
}

enum class Attempt : std::uint8_t { Claimed, Taken, Foreign, DiskFull };

void free_claimed(Mapping& region, unsigned index, SlotWord claiming) {
  region.end_presence(index);
  wipe_identity(region.ext().slots[index]);
  region.ext().slots[index].state.store(pack({claiming.generation, SlotState::Free, 0}));
}

// From here to Live the slot is this process's alone; its live bit is clear until its charges are known to be zero.
Attempt fill_claimed(Mapping& region, unsigned index, SlotWord claiming, const ProcessIdentity& self,
                     std::uint64_t nonce, std::uint32_t* stranger) {
  SlotIdentity& slot = region.ext().slots[index];
  slot.nonce.store(nonce);
  slot.start_time.store(self.start_time);
  KIBOKO_STEP("start time written");
  slot.pid_ns.store(self.pid_ns);
  KIBOKO_STEP("identity written");
  if (!region.reserve_slot(index)) return Attempt::DiskFull;
  if (region.show_presence(index)) slot.flags.fetch_or(kSlotShowsPresence);
  HamiSlot& mirror = region.hami().slots[index];
  if (is_foreign(mirror, self.pid_ns, stranger)) return Attempt::Foreign;
  wipe_mirror(mirror);
  wipe_charges(region.ext(), index);
  region.ext().header.live[index / kBlock].fetch_or(1ull << (index % kBlock));
  KIBOKO_STEP("live bit set");
  std::uint64_t expected = pack(claiming);
  if (!slot.state.compare_exchange_strong(expected, pack({claiming.generation, SlotState::Live, self.pid})))
    return Attempt::Taken;
  KIBOKO_STEP("live");
  mirror.pid.store(static_cast<std::int32_t>(self.pid));
  KIBOKO_STEP("mirror pid written");
  mirror.status.store(1);
  raise_to(region.hami().slot_count, static_cast<std::int32_t>(index + 1));
  KIBOKO_STEP("claimed");
  return Attempt::Claimed;
}

Attempt try_claim(Mapping& region, unsigned index, const ProcessIdentity& self, std::uint64_t nonce, Slot* out,
                  std::uint32_t* stranger) {
  SlotIdentity& slot = region.ext().slots[index];
  std::uint64_t seen = slot.state.load();
  const SlotWord word = unpack(seen);
  const SlotWord claiming{word.generation + 1, SlotState::Claiming, self.pid};
  if (word.state != SlotState::Free || !slot.state.compare_exchange_strong(seen, pack(claiming))) return Attempt::Taken;
  KIBOKO_STEP("claiming");
  const Attempt attempt = fill_claimed(region, index, claiming, self, nonce, stranger);
  if (attempt == Attempt::Foreign || attempt == Attempt::DiskFull) free_claimed(region, index, claiming);
  *out = Slot{index, claiming.generation};
  return attempt;
}

Attempt claim_lowest(Mapping& region, const ProcessIdentity& self, std::uint64_t nonce, Slot* out,
                     std::uint32_t* stranger) {
  for (unsigned block = 0; block < kBlocks; ++block) {
    if (block >= blocks_in_use(region)) {
      if (!region.reserve_identities(block)) return Attempt::DiskFull;
      raise_to<std::uint64_t>(region.ext().header.slot_blocks, block + 1);
    }
    for (unsigned index = block * kBlock; index < (block + 1) * kBlock; ++index) {
      const Attempt attempt = try_claim(region, index, self, nonce, out, stranger);
      if (attempt != Attempt::Taken) return attempt;
    }
  }
  return Attempt::Taken;
}

}  // namespace

std::uint64_t pack(SlotWord word) {
  return static_cast<std::uint64_t>(word.generation) << 32 | static_cast<std::uint64_t>(word.state) << kStateShift |
         (word.pid & kPidMask);
}

SlotWord unpack(std::uint64_t word) {
  const std::uint64_t state = (word >> kStateShift) & ((1u << kStateBits) - 1);
  // A state that nobody writes is treated as one whose holder must be found dead first: nothing is lost by waiting.
  return {static_cast<std::uint32_t>(word >> 32), state <= 3 ? static_cast<SlotState>(state) : SlotState::Reaping,
          static_cast<std::uint32_t>(word & kPidMask)};
}

bool claim_slot(Mapping& region, const ProcessIdentity& self, std::uint64_t nonce, Slot* out, PageError* error) {
  const os::KeepErrno keep;
  region.set_load_nonce(nonce);
  note_namespace(region.ext().header, self.pid_ns);
  take_back_if(region, self, [&](unsigned index, SlotWord word) {
    return is_former_self(region.ext().slots[index], word, self, nonce) || is_dead(region, index, word, Depth::Quick);
  });
  std::uint32_t stranger = 0;
  Attempt attempt = claim_lowest(region, self, nonce, out, &stranger);
  if (attempt == Attempt::Taken && reap(region, self, Depth::Thorough) != 0)
    attempt = claim_lowest(region, self, nonce, out, &stranger);
  switch (attempt) {
    case Attempt::Claimed:
      return true;
    case Attempt::DiskFull:
      return refuse(error, "region: no space on disk for another process; free some space in its file system");
    case Attempt::Foreign:
      return refuse(error, "region: process ", stranger,
                    " uses it through another library; end it, or give it a grant of its own");
    case Attempt::Taken:
      break;
  }
  return refuse(error, "region: all ", kMaxSlots, " slots are used by live processes; end some of this grant's");
}

void release_slot(Mapping& region, const Slot& slot) {
  const os::KeepErrno keep;
  if (slot.index >= kMaxSlots) return;
  const std::uint64_t seen = region.ext().slots[slot.index].state.load();
  const SlotWord word = unpack(seen);
  const ProcessIdentity self = ProcessIdentity::self();
  if (word.state == SlotState::Live && word.generation == slot.generation && word.pid == self.pid)
    take_back(region, slot.index, seen, self);
}

unsigned reap_dead_slots(Mapping& region) {
  const os::KeepErrno keep;
  return reap(region, ProcessIdentity::self(), Depth::Thorough);
}

bool holder_is_dead(const Mapping& region, unsigned index, std::uint16_t generation_low) {
  const os::KeepErrno keep;
  if (index >= kMaxSlots) return true;
  const SlotIdentity& slot = region.ext().slots[index];
  const SlotWord word = unpack(slot.state.load());
  if (word.state == SlotState::Free || (word.generation & 0xffff) != generation_low) return true;
  return word.state == SlotState::Live && is_dead(region, index, word, Depth::Thorough);
}

}  // namespace kiboko::region
