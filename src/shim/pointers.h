// Which pointer or handle stands for how much charged memory: what a free must refund.
//
// One table per key space, because a VMM handle may have the value of somebody's pointer. Sharded by hash, open
// addressing; a table or a shard of it is held for a few instructions, never while the driver runs. Entries live in
// pages mapped by us, so that a program with its own malloc is left alone; shards begin small and share pages, so that
// a program with few allocations has few of them. Deletion shifts entries back instead of leaving tombstones, so that
// age does not slow a look-up. Any thread may call; the child of a fork must not (state.h:
// Forked).
//
// A key that the driver hands out while we still hold it was freed on a way that we do not see: the old entry is
// displaced, and the caller refunds it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "region/os.h"

namespace kiboko::shim {

// Zeroed room for entries, or nullptr. Below a page it is cut from pages that all tables share; given back, it serves
// whoever grows next.
void* take_room(std::size_t bytes);
void give_room(void* room, std::size_t bytes);
inline constexpr std::size_t kLeastRoom = 512;

class SpinBit {
 public:
  explicit SpinBit(std::atomic<std::uint32_t>& word) : word_(word) { take(word_); }
  ~SpinBit() { word_.store(0, std::memory_order_release); }
  SpinBit(const SpinBit&) = delete;
  SpinBit& operator=(const SpinBit&) = delete;

  static void take(std::atomic<std::uint32_t>& word) {
    if (__builtin_expect(word.exchange(1, std::memory_order_acquire) != 0, 0)) wait(word);
  }

 private:
  static void wait(std::atomic<std::uint32_t>& word);  // and take it
  std::atomic<std::uint32_t>& word_;
};

// Most programs allocate from one thread, and two locked instructions are half the price of an entry. So a table
// belongs to the first thread that uses it, which only marks itself busy; when a second one comes, the kernel's
// membarrier orders the two once, and from then on everybody takes the shards' spin bits. Where there is no
// membarrier, the spin bits are used from the start.
class Bias {
 public:
  // True: the table is the calling thread's until leave().
  bool enter() {
    const std::uintptr_t owner = owner_.load(std::memory_order_acquire);
    if (__builtin_expect(owner != mark(), 0)) return owner != kEverybody && enter_slowly();
    busy_.store(1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the membarrier of who takes it from us does the rest
    if (__builtin_expect(owner_.load(std::memory_order_relaxed) == mark(), 1)) return true;
    leave();
    return enter_slowly();
  }
  void leave() { busy_.store(0, std::memory_order_release); }

 private:
  static constexpr std::uintptr_t kNobody = 0, kEverybody = 1, kChanging = 2;  // else the owner's mark
  static std::uintptr_t mark();
  bool enter_slowly();

  std::atomic<std::uintptr_t> owner_{kNobody};
  std::atomic<std::uint32_t> busy_{0};
};

extern __thread char thread_mark;
inline std::uintptr_t Bias::mark() { return reinterpret_cast<std::uintptr_t>(&thread_mark); }

class Hold {
 public:
  Hold(Bias& bias, std::atomic<std::uint32_t>& word) : bias_(bias), word_(word), biased_(bias.enter()) {
    if (!biased_) SpinBit::take(word_);
  }
  ~Hold() {
    if (__builtin_expect(biased_, 1))
      bias_.leave();
    else
      word_.store(0, std::memory_order_release);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  Bias& bias_;
  std::atomic<std::uint32_t>& word_;
  const bool biased_;
};

// Entry: a plain struct with `std::uint64_t key`, 0 = empty.
template <class Entry, unsigned kShardBits>
class Table {
 public:
  // Stores `entry`. What had its key until now goes to *displaced, otherwise displaced->key is 0. False: no memory.
  // Entries of two words travel in registers: written as two and read as one they would stall the processor.
  bool put(Entry entry, Entry* displaced) {
    displaced->key = 0;
    Shard& shard = shard_of(entry.key);
    const Hold held(bias_, shard.lock);
    if (shard.count + shard.count / 2 >= shard.capacity && !grow(shard)) return false;
    Entry& place = shard.entries[slot_of(shard, entry.key)];
    if (place.key != 0)
      *displaced = place;
    else
      ++shard.count;
    place = entry;
    return true;
  }

  bool find(std::uint64_t key, Entry* out) {
    Shard& shard = shard_of(key);
    const Hold held(bias_, shard.lock);
    const Entry* entry = entry_of(shard, key);
    if (entry != nullptr) *out = *entry;
    return entry != nullptr;
  }

  // Takes out the entry of `key`; none has key 0.
  Entry take(std::uint64_t key) {
    Shard& shard = shard_of(key);
    const Hold held(bias_, shard.lock);
    Entry out{};
    if (const Entry* entry = entry_of(shard, key); entry != nullptr) {
      out = *entry;
      erase(shard, static_cast<std::size_t>(entry - shard.entries));
    }
    return out;
  }

  // Calls keep(entry), which may change all but the key; false removes it. Returns whether there was one.
  template <class Keep>
  bool change(std::uint64_t key, Keep&& keep) {
    Shard& shard = shard_of(key);
    const Hold held(bias_, shard.lock);
    Entry* entry = entry_of(shard, key);
    if (entry == nullptr) return false;
    if (!keep(*entry)) erase(shard, static_cast<std::size_t>(entry - shard.entries));
    return true;
  }

  // Visits every entry, some perhaps twice; drop(entry) = true removes it.
  template <class Drop>
  void sweep(Drop&& drop) {
    for (Shard& shard : shards_) {
      const Hold held(bias_, shard.lock);
      for (std::size_t at = 0; at < shard.capacity; ++at)
        while (shard.entries[at].key != 0 && drop(static_cast<const Entry&>(shard.entries[at]))) erase(shard, at);
    }
  }

 private:
  struct alignas(64) Shard {
    std::atomic<std::uint32_t> lock{0};
    unsigned shift = 0;  // 64 - log2(capacity)
    std::size_t capacity = 0, count = 0;
    Entry* entries = nullptr;
  };
  static constexpr std::size_t kFirstCapacity = sizeof(Entry) <= 16 ? 32 : 8;
  static_assert(kFirstCapacity * sizeof(Entry) <= kLeastRoom);

  static std::uint64_t hash(std::uint64_t key) {
    key ^= key >> 32;
    return key * 0x9e3779b97f4a7c15ULL;
  }
  Shard& shard_of(std::uint64_t key) { return shards_[hash(key) >> (64 - kShardBits)]; }
  static std::size_t home(const Shard& shard, std::uint64_t key) { return (hash(key) << kShardBits) >> shard.shift; }

  // Where `key` is, or where it belongs: always within capacity, because a shard is never full.
  static std::size_t slot_of(const Shard& shard, std::uint64_t key) {
    std::size_t at = home(shard, key);
    while (shard.entries[at].key != 0 && shard.entries[at].key != key) at = (at + 1) & (shard.capacity - 1);
    return at;
  }

  static Entry* entry_of(Shard& shard, std::uint64_t key) {
    if (shard.count == 0 || key == 0) return nullptr;
    Entry& entry = shard.entries[slot_of(shard, key)];
    return entry.key == key ? &entry : nullptr;
  }

  // Moves later entries of the same run back, so that no hole parts an entry from its home.
  static void erase(Shard& shard, std::size_t hole) {
    const std::size_t mask = shard.capacity - 1;
    for (std::size_t at = (hole + 1) & mask; shard.entries[at].key != 0; at = (at + 1) & mask) {
      const std::size_t from_home = (at - home(shard, shard.entries[at].key)) & mask;
      if (from_home < ((at - hole) & mask)) continue;  // its home lies behind the hole: it stays
      shard.entries[hole] = shard.entries[at];
      hole = at;
    }
    shard.entries[hole].key = 0;
    --shard.count;
  }

  static bool grow(Shard& shard) {
    const std::size_t capacity = shard.capacity == 0 ? kFirstCapacity : 2 * shard.capacity;
    auto* entries = static_cast<Entry*>(take_room(capacity * sizeof(Entry)));
    if (entries == nullptr) return shard.count + 1 < shard.capacity;  // slower, but there is room
    Entry* old = shard.entries;
    const std::size_t old_capacity = shard.capacity;
    shard.entries = entries;
    shard.capacity = capacity;
    shard.shift = 64U - static_cast<unsigned>(__builtin_ctzll(capacity));
    for (std::size_t i = 0; i < old_capacity; ++i)
      if (old[i].key != 0) entries[slot_of(shard, old[i].key)] = old[i];
    if (old != nullptr) give_room(old, old_capacity * sizeof(Entry));
    return true;
  }

  alignas(64) Bias bias_;
  Shard shards_[1U << kShardBits];
};

// ---- device addresses ----------------------------------------------------------------------------------------------

enum class PointerKind : unsigned { Plain, Foreign, Pool };  // Foreign: another's memory, charged to its creator

inline constexpr std::uint64_t kUnitBytes = 512;  // every charge is a multiple

struct PointerEntry {
  std::uint64_t key;
  std::uint64_t units : 36;  // charged bytes / kUnitBytes
  std::uint64_t device : 4;
  std::uint64_t kind : 4;
  std::uint64_t owner : 16;  // index of its context, or of its pool
  std::uint64_t unused : 4;
  std::uint64_t bytes() const { return units * kUnitBytes; }
  PointerKind what() const { return static_cast<PointerKind>(kind); }
};
static_assert(sizeof(PointerEntry) == 16);

inline PointerEntry pointer_entry(std::uint64_t address, std::uint64_t bytes, unsigned device, PointerKind kind,
                                  unsigned owner) {
  PointerEntry entry{};
  entry.key = address;
  entry.units = (bytes / kUnitBytes) & ((1ULL << 36) - 1);
  entry.device = device & 15U;
  entry.kind = static_cast<unsigned>(kind) & 15U;
  entry.owner = owner & 0xffffU;
  return entry;
}
extern Table<PointerEntry, 6> pointers;

// ---- everything else -----------------------------------------------------------------------------------------------

struct HandleEntry {
  std::uint64_t key;
  std::uint64_t bytes;
  std::uint64_t link;    // Mapping: its allocation; Allocation: the one that this handle is another name of, or 0
  std::uint32_t serial;  // Allocation: tells it from a later one with the same handle
  std::uint32_t link_serial;
  std::uint32_t references;
  std::uint16_t owner;  // index of its context
  std::uint16_t device;
};
using HandleTable = Table<HandleEntry, 3>;

extern HandleTable allocations;  // VMM handles
extern HandleTable mappings;     // VMM addresses
extern HandleTable binds;        // of VMM handles to multicast objects
extern HandleTable arrays;       // mipmapped ones too
extern HandleTable modules;
extern HandleTable libraries;
extern HandleTable graphs;
extern HandleTable pools;

}  // namespace kiboko::shim
