// What the stand-in driver counts: devices, contexts, blocks of memory, pools, mappings. Included by cuda.cc alone, for
// which it is the state and the rules; cuda.cc is the list of names.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <atomic>

#include "standin.h"

namespace standin {

using Result = int;
using Pointer = unsigned long long;
constexpr Result kOk = 0, kInvalid = 1, kNoMemory = 2, kNotInitialized = 3, kInvalidDevice = 101, kInvalidContext = 201,
                 kNotFound = 500, kNotSupported = 801;

struct Context {
  int device;
  int references;  // primary: retained; created: 1 + attached
};
struct Pool {
  int device;
  uint64_t reserved, used, threshold;
};
struct Block {
  uint64_t bytes;
  int references;  // of a physical allocation; 1 for all others
  int device;
  uint32_t next_free;
  Pool* pool;
  Context* owner;
  bool multicast;  // has no memory and holds others'
};
struct Stream {
  int capturing;
};
struct Event {
  int64_t ns;
};

constexpr uint32_t kBlocks = 1 << 20;
Block blocks[kBlocks];  // entry 0 is never given out
uint32_t first_free = 0, first_unused = 1;
uint64_t used[kMaxDevices];
Context primary[kMaxDevices];
Pool default_pools[kMaxDevices];
bool initialized = false;
thread_local Context* current = nullptr;

struct Mapping {
  Pointer at;
  uint64_t bytes;
  uint32_t block;
} mappings[4096];
Pointer next_address = 1ULL << 62;

class Lock {
 public:
  Lock() {
    while (flag_.test_and_set(std::memory_order_acquire)) {
    }
  }
  ~Lock() { flag_.clear(std::memory_order_release); }

 private:
  static inline std::atomic_flag flag_;
};

uint64_t total() {
  static const uint64_t bytes = device_bytes();
  return bytes;
}
int devices() {
  static const int count = device_count();
  return count;
}
bool valid(int device) { return device >= 0 && device < devices(); }

uint64_t rounded(uint64_t bytes) {
  const uint64_t unit = bytes < (1 << 20) ? 512 : 2 << 20;
  return (bytes + unit - 1) / unit * unit;
}

bool take(int device, uint64_t bytes) {
  if (bytes > total() - used[device]) return false;
  used[device] += bytes;
  return true;
}

// Under the lock. 0 = no memory.
uint32_t new_block(int device, uint64_t bytes, Context* owner) {
  if (!take(device, bytes)) return 0;
  uint32_t id = first_free;
  if (id != 0)
    first_free = blocks[id].next_free;
  else if (first_unused < kBlocks)
    id = first_unused++;
  if (id == 0) return used[device] -= bytes, 0;
  blocks[id] = {bytes, 1, device, 0, nullptr, owner, false};
  return id;
}

struct Bind {
  uint32_t object, block;  // 0 = free
  uint64_t offset;
} binds[64];

void drop_block(uint32_t id);

// Under the lock; of one offset, or of all.
bool unbind(uint32_t object, const uint64_t* offset) {
  bool found = false;
  for (Bind& bind : binds) {
    if (bind.object != object || (offset != nullptr && bind.offset != *offset)) continue;
    bind.object = 0;
    drop_block(bind.block);
    found = true;
  }
  return found;
}

Result bind_block(uint32_t object, uint64_t offset, uint32_t block) {
  if (!blocks[object].multicast || blocks[block].references == 0) return kInvalid;
  for (Bind& bind : binds) {
    if (bind.object != 0) continue;
    bind = {object, block, offset};
    ++blocks[block].references;
    return kOk;
  }
  return kNoMemory;
}

uint32_t block_mapped_at(Pointer at) {
  for (const Mapping& mapping : mappings)
    if (mapping.bytes != 0 && at >= mapping.at && at < mapping.at + mapping.bytes) return mapping.block;
  return 0;
}

void drop_block(uint32_t id) {
  Block& block = blocks[id];
  if (--block.references > 0) return;
  if (block.multicast) unbind(id, nullptr);
  if (block.pool != nullptr) {
    Pool& pool = *block.pool;
    pool.used -= block.bytes;
    const uint64_t keep = pool.used > pool.threshold ? pool.used : pool.threshold;
    if (pool.reserved > keep) {
      used[pool.device] -= pool.reserved - keep;
      pool.reserved = keep;
    }
  } else {
    used[block.device] -= block.bytes;
  }
  block.bytes = 0;
  block.next_free = first_free;
  first_free = id;
}

// Addresses are 64 GiB apart (2 KiB in the 32-bit interface): an address names its block.
template <class P>
constexpr int kShift = sizeof(P) == 8 ? 36 : 11;

template <class P>
Result allocate(P* out, uint64_t bytes) {
  if (!initialized) return kNotInitialized;
  if (current == nullptr) return kInvalidContext;
  if (out == nullptr || bytes == 0) return kInvalid;
  Lock lock;
  const uint32_t id = new_block(current->device, rounded(bytes), current);
  if (id == 0) return kNoMemory;
  *out = static_cast<P>(id) << kShift<P>;
  return kOk;
}

template <class P>
Result release(P pointer) {
  if (pointer == 0) return kOk;
  const auto id = static_cast<uint64_t>(pointer) >> kShift<P>;
  if (id >= kBlocks || (id << kShift<P>) != pointer || blocks[id].bytes == 0) return kInvalid;
  Lock lock;
  drop_block(static_cast<uint32_t>(id));
  return kOk;
}

template <class P, class Size>
Result allocate_pitch(P* out, Size* pitch, uint64_t width, uint64_t height) {
  if (pitch == nullptr || width == 0 || height == 0) return kInvalid;
  *pitch = static_cast<Size>((width + 511) / 512 * 512);
  return allocate(out, *pitch * height);
}

template <class Size>
Result memory_info(Size* free, Size* all) {
  if (current == nullptr) return kInvalidContext;
  if (free != nullptr) *free = static_cast<Size>(total() - used[current->device]);
  if (all != nullptr) *all = static_cast<Size>(total());
  return kOk;
}

template <class Size>
Result total_memory(Size* bytes, int device) {
  if (bytes == nullptr || !valid(device)) return valid(device) ? kInvalid : kInvalidDevice;
  *bytes = static_cast<Size>(total());
  return kOk;
}

uint64_t granule() {
  static const uint64_t bytes = number("STANDIN_GRANULE", 2 << 20);
  return bytes;
}

uint64_t context_bytes() {
  static const uint64_t bytes = number("STANDIN_CONTEXT_BYTES", 256 << 20);
  return bytes;
}

Result create_context(Context** out, int device) {
  if (!initialized) return kNotInitialized;
  if (!valid(device)) return kInvalidDevice;
  if (out == nullptr) return kInvalid;
  Lock lock;
  if (!take(device, context_bytes())) return kNoMemory;
  current = *out = new Context{device, 1};
  return kOk;
}

// With a context goes all that was allocated in it.
void end_context(Context* context) {
  Lock lock;
  for (uint32_t id = 1; id < first_unused; ++id)
    if (blocks[id].bytes != 0 && blocks[id].owner == context) drop_block(id);
  used[context->device] -= context_bytes();
  if (current == context) current = nullptr;
}

Result destroy_context(Context* context) {
  if (context == nullptr) return kInvalidContext;
  end_context(context);
  delete context;
  return kOk;
}

Result attach(Context** out) {
  if (current == nullptr) return kInvalidContext;
  ++current->references;
  *out = current;
  return kOk;
}

Result detach(Context* context) {
  if (context == nullptr) return kInvalidContext;
  return --context->references > 0 ? kOk : destroy_context(context);
}

Result retain_primary(Context** out, int device) {
  if (!initialized) return kNotInitialized;
  if (!valid(device)) return kInvalidDevice;
  Lock lock;
  if (primary[device].references == 0 && !take(device, context_bytes())) return kNoMemory;
  primary[device].device = device;
  ++primary[device].references;
  *out = &primary[device];
  return kOk;
}

Result release_primary(int device, bool all) {
  if (!valid(device)) return kInvalidDevice;
  if (primary[device].references == 0) return all ? kOk : kInvalidContext;
  primary[device].references -= all ? primary[device].references : 1;
  if (primary[device].references == 0) end_context(&primary[device]);
  return kOk;
}

Result allocate_from(Pool* pool, Pointer* out, uint64_t bytes) {
  if (out == nullptr || bytes == 0) return kInvalid;
  Lock lock;
  const uint64_t size = rounded(bytes), grow = (size + (2 << 20) - 1) / (2 << 20) * (2 << 20);
  if (pool->used + size > pool->reserved) {
    if (!take(pool->device, grow)) return kNoMemory;
    pool->reserved += grow;
  }
  const uint32_t id = new_block(pool->device, 0, nullptr);
  if (id == 0) return kNoMemory;
  pool->used += blocks[id].bytes = size;
  blocks[id].pool = pool;
  *out = static_cast<Pointer>(id) << kShift<Pointer>;
  return kOk;
}

Result allocate_default(Pointer* out, uint64_t bytes) {
  if (current == nullptr) return kInvalidContext;
  default_pools[current->device].device = current->device;
  return allocate_from(&default_pools[current->device], out, bytes);
}

struct ArrayShape {
  uint64_t width, height, depth;
  int format;
  unsigned channels;
};
struct Array {
  uint32_t block;
};

Result create_array(Array** out, const ArrayShape& shape) {
  if (current == nullptr) return kInvalidContext;
  const uint64_t element = shape.format == 0x20 ? 4 : (shape.format & 0x2) != 0 || shape.format == 0x10 ? 2 : 1;
  const uint64_t row = (shape.width * element * shape.channels + 511) / 512 * 512;
  const uint64_t rows = (shape.height == 0 ? 1 : shape.height) * (shape.depth == 0 ? 1 : shape.depth);
  Lock lock;
  const uint32_t id = new_block(current->device, rounded(row * rows), current);
  if (id == 0) return kNoMemory;
  *out = new Array{id};
  return kOk;
}

Result destroy_array(Array* array) {
  if (array == nullptr) return kInvalid;
  Lock lock;
  drop_block(array->block);
  delete array;
  return kOk;
}

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

int opaque[8];  // addresses that serve as modules, functions, graphs

template <class T>
Result make(T** out, int what) {
  if (out == nullptr) return kInvalid;
  *out = reinterpret_cast<T*>(&opaque[what]);
  return kOk;
}

Result uuid_of(void* out, int device) {
  if (out == nullptr || !valid(device)) return kInvalidDevice;
  uuid(device, static_cast<unsigned char*>(out));
  return kOk;
}

}  // namespace standin
