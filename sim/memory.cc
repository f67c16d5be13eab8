#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <vector>

#include "context.h"
#include "graph.h"
#include "pool.h"

namespace sim {

std::mutex memory_lock;

namespace {

constexpr std::size_t kClasses = kMiB / kSmallUnit + 1;  // up to 1 MiB, which what is a little less rounds up to

// One 2 MiB block of the range: cut into slots of one size, or part of one large allocation.
struct Block {
  Allocation** slots;  // small: one per slot, null = free
  std::uint32_t unit;  // small: slot size; 0: large or unused
  Allocation* large;
  std::uint64_t file;  // small: the shared file the block lies in, once one of its allocations was exported
};

struct Range {
  std::uint64_t base = 0, size = 0;
  std::uint64_t next = 0;  // blocks never used begin here
  Block* blocks = nullptr;
  std::vector<std::uint64_t> free_slots[kClasses];
  std::unordered_map<std::uint64_t, std::vector<std::uint64_t>> free_large;  // blocks -> addresses
  std::vector<Allocation*> spare;
};
Range* range;  // made at the first allocation, never undone

void* reserve(std::uint64_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return address == MAP_FAILED ? nullptr : address;
}

// Address space may be limited: take less when less is to be had.
bool make_range() {
  constexpr std::uint64_t kSizes[] = {std::uint64_t{4} << 40, std::uint64_t{1} << 40, std::uint64_t{256} << 30,
                                      std::uint64_t{64} << 30, std::uint64_t{8} << 30};
  for (const std::uint64_t size : kSizes) {
    void* address = reserve(size + kBlock);
    if (address == nullptr) continue;
    void* blocks = reserve(size / kBlock * sizeof(Block));
    if (blocks == nullptr) return false;
    madvise(address, size + kBlock, MADV_DONTDUMP);
    range = new Range;
    range->base = round_up(reinterpret_cast<std::uint64_t>(address), kBlock);
    range->size = size;
    range->next = range->base;
    range->blocks = static_cast<Block*>(blocks);
    return true;
  }
  return false;
}

Block& block_of(std::uint64_t address) { return range->blocks[(address - range->base) / kBlock]; }

std::uint64_t fresh_blocks(std::uint64_t count) {
  if (range->next + count * kBlock > range->base + range->size) return 0;
  const std::uint64_t address = range->next;
  range->next += count * kBlock;
  return address;
}

std::uint64_t take_small(std::uint64_t charged) {
  auto& free_slots = range->free_slots[charged / kSmallUnit];
  if (free_slots.empty()) {
    const std::uint64_t block = fresh_blocks(1);
    if (block == 0) return 0;
    const std::uint64_t count = kBlock / charged;
    block_of(block) = {new Allocation*[count](), static_cast<std::uint32_t>(charged), nullptr, 0};
    for (std::uint64_t i = count; i-- > 0;) free_slots.push_back(block + i * charged);
  }
  const std::uint64_t address = free_slots.back();
  free_slots.pop_back();
  return address;
}

// The range is used up: join neighbouring free pieces and look for one that is large enough.
std::uint64_t take_joined(std::uint64_t count) {
  std::map<std::uint64_t, std::uint64_t> pieces;  // address -> blocks
  for (const auto& [blocks, addresses] : range->free_large) {
    for (const std::uint64_t address : addresses) pieces[address] = blocks;
  }
  range->free_large.clear();
  std::uint64_t found = 0;
  for (auto piece = pieces.begin(); piece != pieces.end();) {
    auto next = std::next(piece);
    while (next != pieces.end() && piece->first + piece->second * kBlock == next->first) {
      piece->second += next->second;
      next = pieces.erase(next);
    }
    if (found == 0 && piece->second >= count) {
      found = piece->first;
      if (piece->second > count) range->free_large[piece->second - count].push_back(found + count * kBlock);
    } else {
      range->free_large[piece->second].push_back(piece->first);
    }
    piece = next;
  }
  return found;
}

std::uint64_t take_large(std::uint64_t charged) {
  const std::uint64_t count = charged / kBlock;
  auto& addresses = range->free_large[count];
  if (!addresses.empty()) {
    const std::uint64_t address = addresses.back();
    addresses.pop_back();
    return address;
  }
  const std::uint64_t fresh = fresh_blocks(count);
  return fresh != 0 ? fresh : take_joined(count);
}

}  // namespace

Allocation* take_address(std::uint64_t charged) {
  if (range == nullptr && !make_range()) return nullptr;
  const bool small = charged <= kMiB;
  const std::uint64_t address = small ? take_small(charged) : take_large(charged);
  if (address == 0) return nullptr;
  Allocation* allocation;
  if (range->spare.empty()) {
    allocation = new Allocation;
  } else {
    allocation = range->spare.back();
    range->spare.pop_back();
    *allocation = Allocation{};
  }
  allocation->address = address;
  allocation->charged = charged;
  if (small) {
    Block& block = block_of(address);
    block.slots[address % kBlock / block.unit] = allocation;
  } else {
    Block* first = &block_of(address);
    std::for_each(first, first + charged / kBlock, [&](Block& block) { block.large = allocation; });
  }
  return allocation;
}

void give_address(Allocation* allocation) {
  const std::uint64_t address = allocation->address;
  const std::uint64_t charged = allocation->charged;
  void* pages = reinterpret_cast<void*>(address);
  if (allocation->backed) {
    mmap(pages, charged, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  } else if (allocation->touched && charged >= 64 * 1024 && (charged > kMiB || block_of(address).file == 0)) {
    const std::uint64_t first = round_up(address, 4096);
    madvise(reinterpret_cast<void*>(first), (address + charged) / 4096 * 4096 - first, MADV_DONTNEED);
  }
  if (charged <= kMiB) {
    Block& block = block_of(address);
    block.slots[address % kBlock / block.unit] = nullptr;
    range->free_slots[charged / kSmallUnit].push_back(address);
  } else {
    Block* first = &block_of(address);
    std::for_each(first, first + charged / kBlock, [](Block& block) { block.large = nullptr; });
    range->free_large[charged / kBlock].push_back(address);
  }
  range->spare.push_back(allocation);
}

Allocation* find_allocation(CUdeviceptr address) {
  if (range == nullptr || address < range->base || address >= range->next) return nullptr;
  const Block& block = block_of(address);
  Allocation* found = block.large;
  if (block.unit != 0) {
    const std::uint64_t slot = address % kBlock / block.unit;
    found = slot < kBlock / block.unit ? block.slots[slot] : nullptr;
  }
  return found != nullptr && address < found->address + found->charged ? found : nullptr;
}

std::uint64_t& block_file(const Allocation& allocation) { return block_of(allocation.address).file; }

bool move_to_file(std::uint64_t address, std::uint64_t bytes, int file, bool has_content) {
  void* pages = reinterpret_cast<void*>(address);
  for (std::uint64_t done = 0; has_content && done < bytes;) {
    const ssize_t written = pwrite(file, static_cast<char*>(pages) + done, bytes - done, static_cast<off_t>(done));
    if (written <= 0) return false;
    done += static_cast<std::uint64_t>(written);
  }
  return mmap(pages, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file, 0) != MAP_FAILED;
}

CUresult allocate(Context& context, std::uint64_t bytes, MemoryKind kind, CUdeviceptr* out) {
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (bytes > (std::uint64_t{1} << 48)) return CUDA_ERROR_OUT_OF_MEMORY;
  const std::uint64_t charged = rounded(bytes);
  const int channel = context.queue().channel;
  if (!charge(*driver.shared, channel, charged)) return CUDA_ERROR_OUT_OF_MEMORY;
  std::unique_lock<std::mutex> lock(memory_lock);
  Allocation* allocation = take_address(charged);
  if (allocation == nullptr) {
    lock.unlock();
    refund(*driver.shared, channel, charged);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  allocation->bytes = bytes;
  allocation->context = &context;
  allocation->ordinal = context.ordinal;
  allocation->kind = kind;
  allocation->touched = kind == MemoryKind::kManaged;  // the host writes there without asking us
  allocation->id = driver.next_id.fetch_add(1, std::memory_order_relaxed);
  *out = allocation->address;
  return CUDA_SUCCESS;
}

void release(Allocation* allocation) {
  if (allocation->kind == MemoryKind::kPool) return return_to_pool(allocation);
  if (allocation->kind == MemoryKind::kGraph) return return_to_graph(allocation);
  const int channel = driver.queues[allocation->ordinal]->channel;
  const std::uint64_t charged = allocation->charged;
  const bool pays = allocation->shared == 0;
  if (allocation->shared != 0) leave_shared(*allocation);
  {
    std::lock_guard<std::mutex> lock(memory_lock);
    give_address(allocation);
  }
  if (pays) refund(*driver.shared, channel, charged);
}

bool is_accessible(CUdeviceptr address, std::uint64_t bytes) {
  if (bytes == 0) return true;
  if (address == 0) return false;
  bool ours = false;
  if (is_mapped_range(address, bytes, ours)) return true;
  if (ours) return false;  // reserved, but nothing is mapped there
  std::lock_guard<std::mutex> lock(memory_lock);
  if (range == nullptr || address < range->base || address >= range->base + range->size) return true;
  const Allocation* allocation = find_allocation(address);
  return allocation != nullptr && address + bytes <= allocation->address + allocation->charged;
}

bool is_device_address(CUdeviceptr address) {
  bool ours = false;
  is_mapped_range(address, 1, ours);
  if (ours) return true;
  std::lock_guard<std::mutex> lock(memory_lock);
  return range != nullptr && address >= range->base && address < range->base + range->size;
}

bool touch(CUdeviceptr address, std::uint64_t bytes) {
  if (!is_accessible(address, bytes)) return false;
  std::lock_guard<std::mutex> lock(memory_lock);
  if (Allocation* allocation = find_allocation(address)) allocation->touched = true;
  return true;
}

void free_memory_of(Context& context) {
  std::vector<Allocation*> mine;
  {
    std::lock_guard<std::mutex> lock(memory_lock);
    if (range == nullptr) return;
    for (std::uint64_t address = range->base; address < range->next; address += kBlock) {
      const Block& block = block_of(address);
      if (block.large != nullptr && block.large->address == address) mine.push_back(block.large);
      for (std::uint64_t i = 0; block.unit != 0 && i < kBlock / block.unit; ++i) {
        if (block.slots[i] != nullptr) mine.push_back(block.slots[i]);
      }
    }
    std::erase_if(mine, [&](const Allocation* allocation) {
      return allocation->context != &context || allocation->kind == MemoryKind::kPool;
    });
  }
  for (Allocation* allocation : mine) release(allocation);
}

}  // namespace sim
