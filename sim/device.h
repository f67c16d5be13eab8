// The simulated devices: one file in shared memory that every program using the simulated driver maps at once.
//
// Whoever comes first makes the file (`/dev/shm/kiboko-sim-<name>`, mode 0666); its devices then stay as they are until
// the file is removed. Nobody owns it: all users are equal, may have different uids, and may be killed at any
// instruction. Three kinds of state, each with its own protection:
//
//   Device::memory_lock   memory_used of the device and of its channels, membership of channels
//   Device::time_lock     who holds the device, until when, and each channel's timeline and busy log
//   Channel::life         held by the owning process for as long as it lives; the kernel marks it when the owner dies
//
// All are robust mutexes: a lock whose owner died is taken over and the sums it protects are computed again from
// the channels. Lock order: time_lock, then memory_lock. No lock is held across a system call that can block.
//
// A *channel* is one process on one device. Its *virtual time* counts the nanoseconds during which the process held
// the device and had work; it stands still while others have their turn. `work_end` is the virtual time at which
// everything submitted so far is done, so `vtime < work_end` means "wants the device". That one number is all other
// processes need to know of a process: the order of its work within virtual time is the process's own business.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "products.h"

namespace sim {

inline constexpr std::uint64_t kMagic = 0x4d49534f4b4f4249;  // "IBOKOSIM"
inline constexpr std::uint32_t kLayoutVersion = 2;
inline constexpr int kMaxDevices = 16;
inline constexpr int kMaxChannels = 1024;
inline constexpr int kMaxShared = 512;  // allocations per device that more than one process may hold
inline constexpr int kMaxHolders = 32;
inline constexpr int kMaxEvents = 1024;  // events that other processes may wait for
inline constexpr int kSlices = 4096;     // turns remembered per channel
inline constexpr int kSegments = 2048;   // stretches of kernel time known ahead, per channel
inline constexpr int kBuckets = 32768;   // busy log: one bucket per millisecond, so 32 s
inline constexpr std::uint64_t kBucketNs = 1'000'000;
inline constexpr std::uint64_t kMiB = 1024 * 1024;

using Word = std::atomic<std::uint64_t>;
static_assert(Word::is_always_lock_free);

struct Uuid {
  unsigned char bytes[16];
};

// Constants of the simulation, taken from the environment of whoever makes the file (sim/README.md).
struct Constants {
  std::uint64_t slice_ns;           // turn of a process while others want the device
  std::uint64_t wave_ns;            // one wave of blocks of an ordinary kernel
  std::uint64_t blocks_per_sm;      // blocks that fit on one SM
  std::uint64_t copy_latency_ns;    // added to each copy
  std::uint64_t host_bytes_per_us;  // copies between host and device
};

// One uninterrupted turn: virtual time (v_begin, v_begin + length] passed at wall_begin … wall_begin + length.
struct Turn {
  std::uint64_t v_begin;
  std::uint64_t wall_begin;
  std::uint64_t length;
};

// Virtual time [begin, end) during which at least one kernel runs.
struct Segment {
  std::uint64_t begin;
  std::uint64_t end;
};

// Busy nanoseconds within one millisecond of CLOCK_MONOTONIC; `millisecond` tells which, low 32 bits.
struct Bucket {
  std::atomic<std::uint32_t> millisecond;
  std::atomic<std::uint32_t> busy_ns;
};

struct BusyLog {
  Word total_ns;
  Bucket buckets[kBuckets];
};

enum class ChannelState : std::uint32_t { kFree = 0, kLive = 1, kDead = 2 };

// One process on one device.
struct Channel {
  std::atomic<ChannelState> state;
  std::int32_t device;
  std::int32_t pid;  // as its own pid namespace counts
  std::uint32_t uid;
  std::uint64_t start_time;     // field 22 of /proc/<pid>/stat
  std::uint64_t pid_namespace;  // inode of /proc/self/ns/pid
  char command[16];
  std::uint64_t born_ns;
  std::uint64_t died_ns;
  pthread_mutex_t life;

  Word memory_used;  // memory_lock: bytes charged to this process, contexts and modules included
  Word contexts;     // number of contexts

  // time_lock from here on.
  Word vtime;
  Word work_end;
  Word turn_count;    // turns ever; the newest is turns[(turn_count - 1) % kSlices]
  Word segment_head;  // segments [head, tail) lie wholly or partly ahead of vtime
  Word segment_tail;
  BusyLog busy;  // truth about compute: kernel time of this process while it held the device
  Turn turns[kSlices];
  Segment segments[kSegments];
};

// An allocation that other processes may open (IPC, shareable handles): charged to one process at a time, outside its
// Channel::memory_used, so that handing it on when that process dies is one store.
struct SharedAllocation {
  std::atomic<std::uint32_t> state;    // 0 free, 1 in use
  std::uint32_t charged;               // channel index + 1
  std::uint64_t id;                    // never used twice; names the backing file
  std::uint64_t bytes;                 // as charged
  std::uint16_t holders[kMaxHolders];  // channel index + 1 of everyone who has it open, the charged one included
};

// What one step of the simulation is about to change, as it was before.
struct Journal {
  Word channel;  // index + 1, 0 = no step under way
  std::uint64_t vtime, busy_ns, device_busy_ns, turn_count;
  Turn turn;
};

struct Device {
  char product[32];  // key into products()
  char name[64];
  Uuid uuid;
  Product spec;  // numbers of this device; its key and name pointers are null here, use product and name
  std::uint32_t numa_node;
  std::uint32_t pci_domain, pci_bus, pci_slot;
  std::uint64_t memory_total;     // bytes, as the management library reports; of a unified device the host's
  std::uint64_t memory_reserved;  // bytes kept by the driver

  pthread_mutex_t memory_lock;
  Word memory_used;  // sum over the channels

  pthread_mutex_t time_lock;
  Word clock;                       // simulated up to this CLOCK_MONOTONIC time
  Word holder;                      // channel index + 1, 0 = nobody
  Word turn_end;                    // when the holder's turn is over
  Word last_holder;                 // channel index + 1: where the round goes on
  Word wanting[kMaxChannels / 64];  // bit per channel: vtime < work_end
  Journal journal;                  // the step being written, for whoever finds the lock's owner dead
  BusyLog busy;                     // union over all processes (they never overlap)

  SharedAllocation shared[kMaxShared];  // memory_lock
  Word shared_limit;                    // no entry in use at or beyond this index
};

// Events other processes may wait for.
struct SharedEvent {
  std::atomic<std::uint32_t> state;  // 0 free, 1 in use
  std::uint32_t channel;
  std::uint64_t id;
  Word target;  // virtual time of `channel`; 0 = never recorded
};

struct Shared {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t device_count;
  std::uint64_t bytes;
  char name[64];
  Constants constants;
  pthread_mutex_t table_lock;  // claiming channels and shared events; taken before any device's locks
  Word next_id;                // of shared allocations and events
  Word channel_limit;          // no channel was ever used at or beyond this index
  Device devices[kMaxDevices];
  SharedEvent events[kMaxEvents];
  Channel channels[kMaxChannels];
};

// --- making and attaching ------------------------------------------------------------------------------------------

// What KIBOKO_SIM says, or "default"; a name with a '/' is the path itself.
std::string path_of(const std::string& name);
// The file of what the management library adds: health, events, settings.
std::string management_path(const std::string& name);

// Opens the set called `name`, making it from `devices` ("2xH100-80GB,1xA10-24GB" or the path of a YAML file; empty =
// one H100-80GB) if there is none. nullptr and one sentence in `error` on failure. The mapping is never undone.
Shared* attach(const std::string& name, const std::string& devices, std::string& error);
// The same, but the set must hold just these devices: one that nobody is on is replaced, one in use is an error.
Shared* demand(const std::string& name, const std::string& devices, std::string& error);
// How many processes of the set have a context, over all its devices.
std::size_t processes_on(Shared& shared);
// Takes the set's files away, whoever still maps them. False: the main one stays.
bool remove_files(const std::string& name, const Shared& shared, std::string& error);
// The same with KIBOKO_SIM and KIBOKO_SIM_DEVICES.
Shared* attach_from_environment(std::string& error);

// --- reading, for anyone; each brings the state up to date first -----------------------------------------------------

std::uint64_t now_ns();  // CLOCK_MONOTONIC

struct MemoryUse {
  std::uint64_t total;  // with what the driver reserves
  std::uint64_t reserved;
  std::uint64_t used;  // by processes
  std::uint64_t free;  // total - reserved - used; on a unified device what the host has available, less used
};
MemoryUse memory_use(Shared& shared, int device);

struct ProcessUse {
  int channel;
  bool alive;
  std::int32_t pid;
  std::uint32_t uid;
  std::uint64_t start_time;
  std::uint64_t pid_namespace;
  std::string command;
  std::uint64_t memory_used;
  std::uint64_t contexts;
  std::uint64_t busy_ns;  // ever
  std::uint64_t born_ns;
  std::uint64_t died_ns;  // 0 while alive
};
// Processes with a context on the device; with_dead adds those whose log is still kept.
std::vector<ProcessUse> processes_of(Shared& shared, int device, bool with_dead = false);

// Busy nanoseconds in [from, to) of CLOCK_MONOTONIC, by the busy log (whole milliseconds: the ends are prorated).
std::uint64_t device_busy_ns(Shared& shared, int device, std::uint64_t from, std::uint64_t to);
std::uint64_t process_busy_ns(Shared& shared, int channel, std::uint64_t from, std::uint64_t to);

// The host's memory, as the kernel tells it; what unified devices use.
struct HostMemory {
  std::uint64_t total;
  std::uint64_t available;
};
HostMemory host_memory();

// "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
std::string uuid_text(const Uuid& uuid);

// --- for the driver library ------------------------------------------------------------------------------------------

// Locks and repairs a robust mutex. The repair is chosen by what the mutex protects.
class TimeGuard {
 public:
  TimeGuard(Shared& shared, int device);
  ~TimeGuard();
  TimeGuard(const TimeGuard&) = delete;
  TimeGuard& operator=(const TimeGuard&) = delete;

 private:
  Device& device_;
};

// Claims a channel for this process, -1 when all are taken. The calling thread holds its life.
int claim_channel(Shared& shared, int device);
// Gives back everything the channel has; its busy log stays until the channel is needed again.
void release_channel(Shared& shared, int channel);
// A thread that ends hands the proof of life over: adopt_life by any other thread of the process takes it up again.
void drop_life(Channel& channel);
void adopt_life(Channel& channel);
bool is_alive(const Channel& channel);
// Releases the channels of processes that have died. Returns how many.
int reap(Shared& shared, int device);

// Charges bytes to the channel, or returns false: the device has not got them (the dead are reaped first).
bool charge(Shared& shared, int channel, std::uint64_t bytes);
void refund(Shared& shared, int channel, std::uint64_t bytes);

// Allocations that several processes hold. share moves `bytes` the channel has been charged into an entry of the table
// and returns its index, -1 when the table is full. leave frees the entry with its last holder.
int share_allocation(Shared& shared, int channel, std::uint64_t bytes, std::uint64_t id);
bool join_allocation(Shared& shared, int channel, int index, std::uint64_t id);
void leave_allocation(Shared& shared, int channel, int index);
// The file with the bytes of a shared allocation.
std::string shared_file(const Shared& shared, std::uint64_t id);

// With time_lock held: simulates up to now and returns it (never before the device's clock).
std::uint64_t advance(Shared& shared, int device);
// With time_lock held: more work has been submitted; the channel wants the device until virtual time `work_end`.
void extend_work(Shared& shared, int channel, std::uint64_t work_end);
// With time_lock held, after advance: when virtual time `target` of the channel is reached if nobody submits more.
// Never late; early (a bound) when the answer is far away.
std::uint64_t predict(Shared& shared, int channel, std::uint64_t target);
// With time_lock held: adds kernel time [begin, end). false: no room, wait until the first segment has passed.
bool add_segment(Channel& channel, std::uint64_t begin, std::uint64_t end);
// With time_lock held: when virtual time v was reached; v must not lie ahead.
std::uint64_t wall_of(const Channel& channel, std::uint64_t v);

}  // namespace sim
