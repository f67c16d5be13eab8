#include "shim/pointers.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kiboko::shim {

Table<PointerEntry, 6> pointers;
HandleTable allocations, mappings, binds, arrays, modules, libraries, graphs, pools;

__thread char thread_mark = 0;

namespace {

// linux/membarrier.h is younger than the oldest systems we build on.
constexpr int kMembarrierExpedited = 1 << 3, kMembarrierRegister = 1 << 4;

bool membarrier(int command) {
  const region::os::KeepErrno keep;
#ifdef SYS_membarrier
  return syscall(SYS_membarrier, command, 0, 0) == 0;
#else
  return false;
#endif
}

// Once per process: with other threads running it takes the kernel some milliseconds.
bool membarrier_registered() {
  static std::atomic<int> registered{0};
  if (registered.load(std::memory_order_relaxed) == 0)
    registered.store(membarrier(kMembarrierRegister) ? 1 : -1, std::memory_order_relaxed);
  return registered.load(std::memory_order_relaxed) > 0;
}

}  // namespace

void SpinBit::wait(std::atomic<std::uint32_t>& word) {
  unsigned spins = 0;
  do {
    while (word.load(std::memory_order_relaxed) != 0)
      if (++spins % 64 != 0)
        region::os::pause_cpu();
      else
        region::os::yield_cpu();  // the holder may have been descheduled
  } while (word.exchange(1, std::memory_order_acquire) != 0);
}

bool Bias::enter_slowly() {
  std::uintptr_t owner = kNobody;
  const std::uintptr_t first = membarrier_registered() ? mark() : kEverybody;
  if (owner_.compare_exchange_strong(owner, first, std::memory_order_acq_rel)) return first == mark() && enter();
  if (owner > kChanging && owner_.compare_exchange_strong(owner, kChanging, std::memory_order_acq_rel)) {
    // It was registered, so it does not fail; if it did, stores become visible within that time all the same.
    if (!membarrier(kMembarrierExpedited)) region::os::sleep_ns(50'000'000);
    // The owner is seen busy now if it was, and at its next attempt sees that the table is its own no more.
    while (busy_.load(std::memory_order_acquire) != 0) region::os::yield_cpu();
    owner_.store(kEverybody, std::memory_order_release);
  }
  while (owner_.load(std::memory_order_acquire) == kChanging) region::os::yield_cpu();
  return false;
}

// ---- room ----------------------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t kOwnPages = 4096;          // from this size on, room is mapped for itself
constexpr std::size_t kSharedBytes = 64 * 1024;  // mapped at once; what nobody touches takes no memory

struct Spare {
  Spare* next;
};
std::atomic<std::uint32_t> room_lock{0};  // taken last, and no system call but mmap under it
Spare* spares[3];                         // of 512, 1,024 and 2,048 bytes
char* fresh = nullptr;                    // zeroed
std::size_t fresh_bytes = 0;

void* map_pages(std::size_t bytes) {
  const region::os::KeepErrno keep;
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages == MAP_FAILED ? nullptr : pages;
}

unsigned size_class(std::size_t bytes) { return bytes <= kLeastRoom ? 0 : bytes <= 2 * kLeastRoom ? 1 : 2; }

}  // namespace

void* take_room(std::size_t bytes) {
  if (bytes >= kOwnPages) return map_pages(bytes);
  const unsigned size = size_class(bytes);
  const SpinBit held(room_lock);
  if (Spare* spare = spares[size]; spare != nullptr) {
    spares[size] = spare->next;
    return memset(static_cast<void*>(spare), 0, kLeastRoom << size);
  }
  if (fresh_bytes < kLeastRoom << size) {
    void* pages = map_pages(kSharedBytes);
    if (pages == nullptr) return nullptr;
    fresh = static_cast<char*>(pages);
    fresh_bytes = kSharedBytes;
  }
  void* room = fresh;
  fresh += kLeastRoom << size;
  fresh_bytes -= kLeastRoom << size;
  return room;
}

void give_room(void* room, std::size_t bytes) {
  if (bytes >= kOwnPages) {
    const region::os::KeepErrno keep;
    munmap(room, bytes);
    return;
  }
  const SpinBit held(room_lock);
  auto* spare = static_cast<Spare*>(room);
  spare->next = spares[size_class(bytes)];
  spares[size_class(bytes)] = spare;
}

}  // namespace kiboko::shim
