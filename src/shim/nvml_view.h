// What NVML's hooks answer from: the region's books, and which of the driver's processes are the grant's.
//
// Values on the stack of one hook; any thread.
#pragma once

#include <string.h>

#include "shim/route.h"
#include "shim/state.h"

namespace kiboko::shim {

inline constexpr unsigned kScratch = 512;  // entries of the driver's own lists that we can filter
inline constexpr unsigned kNoInstance = 0xffffffff;

struct View {
  enum Kind { Physical, Grant, Variables, Unreadable } kind;
  region::Mapping* books;  // null: nobody has charged anything yet
};

// Of this process now.
View view();
// The device's index in the books, or -1.
int index_in(const View& seen, nvmlDevice_t device);

// The program's own or another of its grant: {pid as the caller knows it, bytes charged}.
struct Process {
  unsigned pid;
  std::uint64_t used;
};

struct Own {
  region::ProcessIdentity self = region::ProcessIdentity::self();
  const region::Extension& ext;
  int device;

  Own(const View& seen, int index) : ext(seen.books->ext()), device(index) {}

  // The process of slot `index`: pid 0 if there is none that the caller could name.
  Process at(unsigned index) const {
    const region::SlotIdentity& slot = ext.slots[index];
    const region::SlotWord word = region::unpack(slot.state.load(std::memory_order_acquire));
    if (word.state != region::SlotState::Live) return {0, 0};
    const std::uint64_t pid_ns = slot.pid_ns.load(std::memory_order_relaxed);
    if (pid_ns != self.pid_ns) return {0, 0};
    if (region::liveness_of(word.pid, slot.start_time.load(std::memory_order_relaxed), pid_ns) ==
        region::Liveness::Dead)
      return {0, 0};
    return {word.pid, ext.charges[index / 8].charged[device][index % 8].load(std::memory_order_relaxed)};
  }

  template <class F>
  void each(F&& visit) const {
    for (unsigned block = 0; block < region::kMaxSlots / 64; ++block)
      for (std::uint64_t live = ext.header.live[block].load(std::memory_order_acquire); live != 0; live &= live - 1) {
        const unsigned index = block * 64 + static_cast<unsigned>(__builtin_ctzll(live));
        if (const Process process = at(index); process.pid != 0) visit(process, index);
      }
  }

  // The driver names processes by the host's pids or by the container's, by its version.
  Process find(unsigned driver_pid, unsigned* host_pid = nullptr) const {
    Process found{0, 0};
    each([&](const Process& process, unsigned index) {
      const std::uint32_t on_host = ext.slots[index].host_pid.load(std::memory_order_relaxed);
      if (process.pid != driver_pid && on_host != driver_pid) return;
      found = process;
      if (host_pid != nullptr) *host_pid = on_host;
    });
    return found;
  }
};

template <class Entry>
Entry entry_of(const Process& process) {
  Entry entry;
  memset(static_cast<void*>(&entry), 0, sizeof entry);
  entry.pid = process.pid;
  entry.used = process.used;
  if constexpr (requires { entry.gpu_instance; }) entry.gpu_instance = entry.compute_instance = kNoInstance;
  return entry;
}

// Fills as the driver does: `count` comes in as the room and goes out as the number written, or needed.
template <class Entry>
class Filler {
 public:
  Filler(Entry* out, unsigned room) : out_(out), room_(out == nullptr ? 0 : room) {}
  void add(const Entry& entry) {
    if (count_ < room_) out_[count_] = entry;
    ++count_;
  }
  nvmlReturn_t finish(unsigned* count) const {
    *count = count_;
    return count_ > room_ ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
  }
  bool empty() const { return count_ == 0; }

 private:
  Entry* out_;
  unsigned room_, count_ = 0;
};

// What has charged memory on the device: these are compute processes all.
template <class Entry>
void add_charged(const View& seen, int index, Filler<Entry>& out) {
  if (index < 0) return;
  const Own own(seen, index);
  own.each([&](const Process& process, unsigned) {
    if (process.used != 0) out.add(entry_of<Entry>(process));
  });
}

// Of the driver's own list, the entries that are processes of the grant, named and measured by us.
template <class Entry>
void add_known(const View& seen, int index, const Entry* driver, unsigned count, Filler<Entry>& out) {
  if (index < 0) return;
  const Own own(seen, index);
  for (unsigned i = 0; i < count; ++i) {
    const Process process = own.find(driver[i].pid);
    if (process.pid == 0) continue;
    Entry entry = driver[i];
    entry.pid = process.pid;
    if constexpr (requires { entry.used; }) entry.used = process.used;
    out.add(entry);
  }
}

inline bool refuses(nvmlReturn_t result) { return result != NVML_SUCCESS && result != NVML_ERROR_INSUFFICIENT_SIZE; }

}  // namespace kiboko::shim
