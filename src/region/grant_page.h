// The grant page: what one grant may use, as a 4 KiB file. It is the only authority on limits.
//
// The agent creates and writes it through a private mapping of its own; every program of the grant maps it read-only
// (a futex may wait on a read-only mapping). A page has three parts:
//   identity   written once, covered by a checksum: grant, owner, region path, the devices
//   settings   two copies, each with a checksum; the low bit of `generation` names the valid one. A resize fills the
//              other copy and then moves the generation on, so that a writer killed at any instruction leaves a page
//              that still holds exactly the old or the new limits
//   live       single words that the agent keeps moving: rates, contention, corrections, its heartbeat
// Little endian, LP64. Times are CLOCK_MONOTONIC nanoseconds. Changing an offset needs a new kGrantPageVersion.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace kiboko::region {

inline constexpr std::uint64_t kGrantPageMagic = 0x45474150'4f424b31;  // "1KBOPAGE" as bytes in the file
inline constexpr std::uint32_t kGrantPageVersion = 1;
inline constexpr std::size_t kGrantPageBytes = 4096;
inline constexpr std::size_t kMaxDevices = 16;

// When a compute limit counts. The words are those of HAMi's GPU_CORE_UTILIZATION_POLICY, but for Elastic.
enum class CorePolicy : std::uint32_t {
  Default = 0,  // only while somebody else uses the device too
  Force = 1,    // always
  Disable = 2,  // never; the counters are still kept
  Elastic = 3,  // as Default, but the limit is a floor: the agent lends what others leave idle (rate_permyriad)
};

struct GrantIdentityDevice {
  char uuid[64];                 // as cuDeviceGetUuid and NVML write it: "GPU-…" or "MIG-…"; NUL-terminated
  std::uint64_t physical_bytes;  // as NVML reports the total
};

struct GrantIdentity {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t bytes;     // kGrantPageBytes
  std::uint64_t checksum;  // checksum_of() over this struct with this word as 0
  std::uint32_t owner_uid;
  std::uint32_t device_count;  // 1..kMaxDevices
  char grant_id[64];
  char owner[128];        // for people: "alice: python train.py" or "<pod uid>/<container>"
  char region_path[256];  // absolute
  GrantIdentityDevice devices[kMaxDevices];
};

struct GrantSettingsDevice {
  std::uint64_t limit_bytes;   // 0 = no limit of ours
  std::uint32_t core_percent;  // 1..100; 0 = no limit of ours
  std::uint32_t reserved;
};

struct GrantSettings {
  std::uint64_t checksum;     // over the rest of this struct, seeded with the generation it belongs to
  std::uint32_t core_policy;  // CorePolicy
  std::uint32_t priority;     // 0 = high, 1 = low, as HAMi's CUDA_TASK_PRIORITY
  GrantSettingsDevice devices[kMaxDevices];
};

// Single-word stores only, moved some times a second at most, so that devices may share cache lines. All of it may be
// absent (zero): then nothing is corrected.
struct GrantLiveDevice {
  std::atomic<std::uint64_t> contended_until_ns;  // others use the device too; CorePolicy::Default limits until then
  std::atomic<std::uint64_t> give_back_ns;        // ever-growing: device time charged that others had used
  std::atomic<std::uint32_t> rate_permyriad;      // effective rate in 1/10000 of the device; 0 = core_percent counts
  std::atomic<std::uint32_t> blocked;             // 1 = launch nothing until blocked_until_ns
  std::atomic<std::uint64_t> blocked_until_ns;
  std::atomic<std::int64_t> correction_bytes;  // memory that others see on the device but no slot charged
  std::atomic<std::uint32_t> in_flight_us;     // most work to have in flight, so that a higher priority may have the
                                               // device soon; 0 = as usual
  std::atomic<std::uint32_t> watched;  // 1 = lower priorities wait for this grant's work: say when it begins and ends
  std::atomic<std::uint64_t> reserved;
};
static_assert(sizeof(GrantLiveDevice) == 56);

struct GrantLive {
  std::atomic<std::uint64_t> generation;       // settings[generation & 1] is valid; futex word (its low half)
  std::atomic<std::uint64_t> heartbeat_ns;     // the agent's, once a second
  std::atomic<std::uint32_t> reap_generation;  // moves when the agent saw a process of this grant die
  std::atomic<std::uint32_t> wake;             // futex word: moves when any live word that may end a wait changes
  GrantLiveDevice devices[kMaxDevices];
  std::atomic<std::uint32_t> suspended;  // 1 = launch and copy nothing, for as long as the heartbeat is no minute old
  std::atomic<std::uint32_t> reserved;
};

struct GrantPage {
  GrantIdentity identity;
  GrantSettings settings[2];
  GrantLive live;
  std::uint8_t unused[kGrantPageBytes - sizeof(GrantIdentity) - 2 * sizeof(GrantSettings) - sizeof(GrantLive)];
};

static_assert(std::is_standard_layout_v<GrantPage> && sizeof(GrantPage) == kGrantPageBytes);
static_assert(sizeof(GrantIdentity) == 1632 && sizeof(GrantSettings) == 272 && sizeof(GrantLive) == 928);
static_assert(offsetof(GrantPage, settings) == 1632 && offsetof(GrantPage, live) == 2176);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// What a reader or writer of the page (or of any small text) got wrong. No allocation: the shim uses it too.
struct PageError {
  char text[320];
};

// 64-bit FNV-1a over `bytes`, started from `seed`.
std::uint64_t checksum_of(const void* bytes, std::size_t size, std::uint64_t seed);
std::uint64_t identity_checksum(const GrantIdentity& identity);
std::uint64_t settings_checksum(const GrantSettings& settings, std::uint64_t generation);

// Opens and verifies a page for reading: a regular file of exactly 4 KiB, not a link, owned by uid 0 or by the
// process's own user, not writable by others, right magic, version and checksums. Returns the mapping (never
// unmapped: its words are read for the life of the process) or nullptr with *error filled. No lock, no allocation.
const GrantPage* open_grant_page(const char* path, PageError* error);

// Verifies bytes already in memory (`size` and alignment may be anything); the fuzz target and `kiboko grants show`
// use it. Beside the checksums: texts end, counts and percentages are in range, the region path is absolute.
bool check_grant_page(const void* bytes, std::size_t size, PageError* error);

// Copies the settings that are valid now; if that copy is damaged, the other one. False when neither copy verifies
// after a few tries (the writer moves on in between at most once per try); the caller then keeps what it had or,
// having nothing, refuses.
bool read_settings(const GrantPage& page, GrantSettings* out);

// Writer side, agent only; the checksum in the argument is not looked at. `seal_new_page` takes a page whose identity
// is filled but for magic, version, bytes and checksum. `publish_settings` is safe against being killed anywhere in
// it, and wakes the waiters itself.
void seal_new_page(GrantPage& page, const GrantSettings& first);
void publish_settings(GrantPage& page, const GrantSettings& next);
// Moves `wake` on and wakes every waiter of this page.
void wake_waiters(GrantPage& page);

}  // namespace kiboko::region
