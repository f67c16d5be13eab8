// What the agent knows of a region: a copy, read with pread from the tenant's file and never mapped.
//
// The tenant may write any bytes and cut the file at any moment; whatever it does, a snapshot is plain values in range
// (indexes, counts and lengths), and everything else in it is the tenant's claim. Only live pieces are read: the
// header, the devices of the grant, the live slots. A RegionSnapshot is large (about 0.8 MiB); keep one and read into
// it again. One thread at a time per snapshot.
#pragma once

#include "region/layout.h"

namespace kiboko::region {

struct SnapshotCounters {
  std::uint64_t busy_ns, launches, throttled_ns, oom_refusals;
};

struct SnapshotSlot {
  unsigned index;
  std::uint32_t generation;
  std::uint32_t pid;       // in the tenant's namespace, as the tenant says
  std::uint32_t host_pid;  // 0 = not known; as the tenant says
  std::uint32_t flags;     // of SlotIdentity
  std::uint64_t start_time;
  std::uint64_t pid_ns;
  std::uint64_t nonce;
  std::uint64_t charged[kMaxDevices];  // bytes
  SnapshotCounters counters[kMaxDevices];
};

struct SnapshotDevice {
  std::uint64_t charged;       // over all live slots, saturating
  std::uint64_t limit_mirror;  // what the first part shows as memory limit
  std::uint64_t core_mirror;   // and as compute limit, percent
  std::int64_t tat_ns;
  std::uint64_t applied_give_back_ns, charged_ns, covered_ns, last_launch_ns, longest_unit_ns, backlog_until_ns;
  std::uint64_t busy_until_ns;  // the latest of its processes' words
  std::uint32_t waiting;
  std::uint64_t waits[kWaitLengths];  // as WaitCounts::count
  bool has_cover;                     // false: `cover` is left as it was
  std::uint64_t cover[kCoverWords];   // as DeviceWords::cover
};

struct RegionSnapshot {
  std::uint64_t nonce;                // of the region's creation: another one means another region
  std::uint64_t mirrored_generation;  // of the page that the limits in the first part were taken from
  unsigned device_count;
  char grant_id[64];
  std::int32_t recent_kernel;
  SnapshotDevice devices[kMaxDevices];  // the first device_count
  unsigned slot_count;
  SnapshotSlot slots[kMaxSlots];  // the first slot_count, by rising index; slots that were live when they were read
};

enum class SnapshotCover : std::uint8_t { Skip, Read };

// False with *error filled when the file is not a region, is of another version, or is shorter than one; `out` is then
// not to be used. `fd` needs only to be readable.
bool read_snapshot(int fd, SnapshotCover cover, RegionSnapshot* out, PageError* error);

// Device time (ns) that two grants both covered between `from_ns` and `to_ns`, as far as their rings still hold it.
std::uint64_t overlap_ns(const SnapshotDevice& a, const SnapshotDevice& b, std::uint64_t from_ns, std::uint64_t to_ns);

}  // namespace kiboko::region
