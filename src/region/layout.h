// The region: one file per grant that its processes share, and the bytes of it that others read.
//
// The tenant owns and writes this file; nothing in it is trusted by the agent, which only copies it with pread.
// First part: byte for byte the shared region v1.2 of HAMi-core, so that HAMi's monitor reads it (offsets measured
// from HAMi-core 8f3a89c). Its two semaphores are initialised to 1 and never taken; its slots are never moved, a free
// one has pid 0, status 0 and zero totals. Second part: our extension, from the next page on. Slot i is the same
// process in both parts. Pages are reserved before they are touched, so a full disk is an error and not a SIGBUS.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "region/grant_page.h"

namespace kiboko::region {

inline constexpr std::size_t kMaxSlots = 1024;
inline constexpr unsigned kSlotBits = 10;  // of a word that names a slot beside something else
static_assert(kMaxSlots == std::size_t{1} << kSlotBits);
template <class T>
using Shared = std::atomic<T>;

// ---- first part: HAMi-core v1.2 -----------------------------------------------------------------------------------

inline constexpr std::int32_t kHamiMagic = 19920718;

struct HamiUsage {  // bytes
  Shared<std::uint64_t> context, module, data, offset, total;
  Shared<std::uint64_t> spare[3];
};
struct HamiUtil {
  Shared<std::uint64_t> decoder, encoder, sm;  // percent
  Shared<std::uint64_t> spare[3];
};
struct HamiSlot {
  Shared<std::int32_t> pid;  // in the tenant's pid namespace; 0 = free
  Shared<std::int32_t> host_pid;
  HamiUsage used[kMaxDevices];
  Shared<std::uint64_t> monitor_used[kMaxDevices];
  HamiUtil util[kMaxDevices];
  Shared<std::int32_t> status;  // 0 free or dead, 1 running, 2 suspended
  std::int32_t pad;
  Shared<std::uint64_t> sequence;  // always even here: we never lock
  Shared<std::uint64_t> spare[2];
};
static_assert(sizeof(HamiSlot) == 1960 && offsetof(HamiSlot, monitor_used) == 1032 &&
              offsetof(HamiSlot, util) == 1160 && offsetof(HamiSlot, status) == 1928 &&
              offsetof(HamiSlot, sequence) == 1936);

struct HamiRegion {
  Shared<std::int32_t> magic;                  // written last at creation
  std::uint32_t major_version, minor_version;  // 1, 2
  std::int32_t sm_init;
  Shared<std::uint64_t> owner_pid;  // stays 0
  std::uint8_t semaphore[32];       // a glibc sem_t, value 1, process-shared
  Shared<std::uint64_t> device_count;
  char uuids[kMaxDevices][96];
  Shared<std::uint64_t> memory_limit[kMaxDevices];  // bytes; mirrors the grant page, a lower value is honoured
  Shared<std::uint64_t> sm_limit[kMaxDevices];      // percent; likewise
  HamiSlot slots[kMaxSlots];
  Shared<std::int32_t> slot_count;          // highest ever used + 1
  Shared<std::int32_t> utilization_switch;  // the monitor writes 0 or 1
  Shared<std::int32_t> recent_kernel;       // the shim writes 2, the monitor counts down, -1 = blocked
  Shared<std::int32_t> priority;
  Shared<std::int64_t> last_kernel_time;  // unix seconds
  std::uint8_t post_init_semaphore[32];
};
static_assert(sizeof(HamiRegion) == 2008952 && offsetof(HamiRegion, device_count) == 56 &&
              offsetof(HamiRegion, uuids) == 64 && offsetof(HamiRegion, memory_limit) == 1600 &&
              offsetof(HamiRegion, sm_limit) == 1728 && offsetof(HamiRegion, slots) == 1856 &&
              offsetof(HamiRegion, slot_count) == 2008896 && offsetof(HamiRegion, priority) == 2008908 &&
              offsetof(HamiRegion, last_kernel_time) == 2008912);

// ---- second part: ours --------------------------------------------------------------------------------------------

inline constexpr std::uint64_t kExtensionMagic = 0x4e4f4947'45524b31;  // "1KREGION" as bytes in the file
inline constexpr std::uint32_t kExtensionVersion = 1;
inline constexpr std::size_t kExtensionOffset = 2011136;  // the page after the first part
inline constexpr std::size_t kExtensionBytes = 1u << 20;
inline constexpr std::size_t kRegionBytes = kExtensionOffset + kExtensionBytes;

struct ExtensionHeader {
  Shared<std::uint64_t> magic;  // written last at creation
  std::uint32_t version;
  std::uint32_t header_bytes;  // sizeof(ExtensionHeader)
  std::uint64_t bytes;         // kExtensionBytes
  std::uint64_t nonce;         // of this creation
  std::uint32_t device_count;
  std::uint32_t reserved;
  char grant_id[64];
  Shared<std::uint64_t> live[kMaxSlots / 64];  // bit i: slot i may hold charges; bounds every sum
  Shared<std::uint64_t> slot_blocks;           // blocks of 64 slots ever used; bounds every scan; only grows
  Shared<std::uint64_t> pid_ns;                // of the first process that claimed a slot; 0 = none yet
  Shared<std::uint64_t> pid_ns_mixed;          // 1 = some process came from another pid namespace
  Shared<std::uint64_t> mirrored_generation;   // of the page that the v1.2 limits were taken from
  Shared<std::uint64_t> reserved_words[26];
};
static_assert(sizeof(ExtensionHeader) == 472);

// Device time that this grant's work covered, as a ring of words: 16 bits of epoch, then 48 bits of 20 µs each. A
// word whose epoch is not the reader's is stale and counts as empty. It lets several processes charge the union of
// their busy time, and lets the agent see where two grants overlapped.
inline constexpr std::uint64_t kCoverBitNs = 20'000;
inline constexpr unsigned kCoverBits = 48;
inline constexpr std::uint64_t kCoverWordNs = kCoverBitNs * kCoverBits;  // 0.96 ms
inline constexpr std::size_t kCoverWords = 1024;                         // about 983 ms
inline constexpr unsigned kBusyWords = 5;

// Governor words of one device. Each line is written by any process of the grant, with single atomic operations.
struct alignas(64) DeviceWords {
  // -- line 0: the bucket
  Shared<std::int64_t> tat_ns;                 // theoretical arrival time of the next launch
  Shared<std::uint64_t> applied_give_back_ns;  // how much of the page's give_back_ns is in tat_ns
  Shared<std::uint64_t> charged_ns;            // device time charged; grows, but for corrections of estimates
  Shared<std::uint64_t> covered_ns;            // ever-growing: device time covered (union); cover() keeps it
  Shared<std::uint64_t> last_launch_ns;        // coarse: moved at lease refills
  Shared<std::uint64_t> longest_unit_ns;       // longest kernel or graph seen, decaying
  Shared<std::uint32_t> waiting;               // threads in the gate now (a hint: a crash may leave it too high)
  std::uint32_t pad0;
  Shared<std::uint64_t> backlog_until_ns;  // when what is launched is expected to be done
  // -- line 1: locks
  Shared<std::uint64_t> memory_lock;  // see memory_lock.h; 0 = free
  // Whose work of unknown length is in flight: {deadline, ms of CLOCK_MONOTONIC:54, slot:10}; 0 = nobody's.
  Shared<std::uint64_t> probe;
  // Until when work of a process is in flight or waited for, at slot % kBusyWords: neighbours of lower priority wait
  // for it. 0 = none, or only its own limit holds it back. Processes that share a word may shorten each other's.
  Shared<std::uint64_t> busy_until_ns[kBusyWords];
  Shared<std::uint64_t> first_in_line;  // of those whom the bucket holds back: line.h; 0 = nobody
  // -- the timeline
  Shared<std::uint64_t> cover[kCoverWords];
};
static_assert(sizeof(DeviceWords) == 128 + 8 * kCoverWords);

// Flags of a slot.
inline constexpr std::uint32_t kSlotCheckpointed = 1, kSlotSuspended = 2;
inline constexpr std::uint32_t kSlotShowsPresence = 4;  // its process holds a lock on the file (mapping.h)

inline constexpr std::uint32_t kSlotImports = 8;  // its process has opened memory that others made

// Who a slot belongs to. `state` packs {generation:32, state:8, unused:2, pid:22}; one compare-and-swap moves it. In a
// free slot all other words are zero, so a word that is not zero was written by the slot's present holder.
struct alignas(64) SlotIdentity {
  Shared<std::uint64_t> state;
  Shared<std::uint64_t> start_time;  // field 22 of /proc/<pid>/stat
  Shared<std::uint64_t> pid_ns;      // inode of the pid namespace
  Shared<std::uint64_t> nonce;       // of this load of the library
  Shared<std::uint32_t> host_pid;    // 0 = not known
  Shared<std::uint32_t> flags;       // kSlotCheckpointed, …
  // Whoever is taking the slot back (state Reaping, whose pid is the reaper's).
  Shared<std::uint64_t> reaper_start;   // {generation:16, start time:48}; counts if the generation is the state's
  Shared<std::uint64_t> reaper_pid_ns;  // written before reaper_start
  Shared<std::uint64_t> reaper_nonce;   // likewise
};
static_assert(sizeof(SlotIdentity) == 64);

// Memory charged, grouped so that summing one device over 8 slots reads one cache line.
struct alignas(64) ChargeGroup {
  Shared<std::uint64_t> charged[kMaxDevices][8];  // bytes; [device][slot % 8]
};
static_assert(sizeof(ChargeGroup) == 1024);

// Ever-growing counters of one slot on one device; lost when the slot is reused, so readers keep the last value.
struct SlotCounters {
  Shared<std::uint64_t> busy_ns;  // device time from start to end, other processes' slices included
  Shared<std::uint64_t> launches;
  Shared<std::uint64_t> throttled_ns;  // time its threads waited in the gate
  Shared<std::uint64_t> oom_refusals;
};
struct SlotCounterBlock {
  SlotCounters device[kMaxDevices];
};
static_assert(sizeof(SlotCounterBlock) == 512);

// How long threads waited in the gate of one device, counted by length: count[i] holds waits of at most
// kShortestWaitNs << i, the last one all that were longer. Ever-growing, for all processes of the grant together.
inline constexpr std::uint64_t kShortestWaitNs = 16'000;
inline constexpr unsigned kWaitLengths = 16;
struct WaitCounts {
  Shared<std::uint64_t> count[kWaitLengths];
};
constexpr unsigned wait_length(std::uint64_t ns) {
  const std::uint64_t times = ns == 0 ? 0 : (ns - 1) / kShortestWaitNs;
  const unsigned length = times == 0 ? 0 : 64 - static_cast<unsigned>(__builtin_clzll(times));
  return length < kWaitLengths ? length : kWaitLengths - 1;
}

struct Extension {
  ExtensionHeader header;
  std::uint8_t pad0[4096 - sizeof(ExtensionHeader)];
  DeviceWords devices[kMaxDevices];
  WaitCounts waits[kMaxDevices];
  SlotIdentity slots[kMaxSlots];
  ChargeGroup charges[kMaxSlots / 8];
  SlotCounterBlock counters[kMaxSlots];
};
static_assert(sizeof(Extension) <= kExtensionBytes);
static_assert(offsetof(Extension, devices) == 4096 && offsetof(Extension, slots) % 4096 == 0);
static_assert(std::is_standard_layout_v<HamiRegion> && std::is_standard_layout_v<Extension>);

}  // namespace kiboko::region
