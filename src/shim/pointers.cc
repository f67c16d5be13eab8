#include "shim/pointers.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kiboko::shim {

Table<PointerEntry, 6> pointers;
HandleTable allocations, mappings, arrays, modules, libraries, graphs, pools;

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

void* map_pages(std::size_t bytes) {
  const region::os::KeepErrno keep;
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages == MAP_FAILED ? nullptr : pages;
}

void unmap_pages(void* pages, std::size_t bytes) {
  const region::os::KeepErrno keep;
  munmap(pages, bytes);
}

}  // namespace kiboko::shim
