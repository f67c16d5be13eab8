#include "nvml_state.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>

#include "device.h"

namespace sim {
namespace {

// In a sticky directory the kernel refuses O_CREAT on somebody else's file, so the existing file is tried first.
int open_or_make(const char* path) {
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
  for (int attempt = 0; attempt < 3; ++attempt) {
    int file = open(path, kFlags);
    if (file >= 0 || errno != ENOENT) return file;
    file = open(path, kFlags | O_CREAT | O_EXCL, 0666);
    if (file >= 0) {
      fchmod(file, 0666);  // whatever the umask says
      return file;
    }
    if (errno != EEXIST) return -1;
  }
  return -1;
}

void* futex_word(const ManagementState& state) { return const_cast<std::atomic<std::uint32_t>*>(&state.bell); }

}  // namespace

ManagementState* attach_management(const std::string& set_name, std::string& error) {
  const std::string path = management_path(set_name);
  const int file = open_or_make(path.c_str());
  struct stat info;
  void* address = MAP_FAILED;
  if (file >= 0 && fstat(file, &info) == 0 &&
      (info.st_size >= static_cast<off_t>(sizeof(ManagementState)) || ftruncate(file, sizeof(ManagementState)) == 0)) {
    address = mmap(nullptr, sizeof(ManagementState), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (address == MAP_FAILED) error = path + ": cannot open: " + strerror(errno);
  if (file >= 0) close(file);
  return address == MAP_FAILED ? nullptr : static_cast<ManagementState*>(address);
}

void post_event(ManagementState& state, int device, std::uint64_t type, std::uint64_t data) {
  const std::uint64_t sequence = state.claimed.fetch_add(1) + 1;
  HealthEvent& slot = state.events[sequence % kHealthEvents];
  slot.sequence.store(0);
  slot.monotonic_ns = now_ns();
  slot.type = type;
  slot.data = data;
  slot.device = device;
  slot.sequence.store(sequence);
  state.bell.fetch_add(1);
  syscall(SYS_futex, futex_word(state), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

bool next_event(const ManagementState& state, std::uint64_t& cursor, EventCopy& out) {
  const std::uint64_t newest = state.claimed.load();
  if (newest > kHealthEvents && cursor < newest - kHealthEvents) cursor = newest - kHealthEvents;
  // An unfinished event (its writer is at work, or was killed) is passed over only when a later one is complete.
  for (std::uint64_t sequence = cursor + 1; sequence <= newest; ++sequence) {
    const HealthEvent& slot = state.events[sequence % kHealthEvents];
    if (slot.sequence.load() != sequence) continue;
    out = {slot.type, slot.data, slot.device};
    if (slot.sequence.load() != sequence) continue;
    cursor = sequence;
    return true;
  }
  return false;
}

void wait_for_event(const ManagementState& state, std::uint32_t seen, std::uint64_t timeout_ms) {
  const timespec timeout{static_cast<time_t>(timeout_ms / 1000), static_cast<long>(timeout_ms % 1000) * 1'000'000};
  syscall(SYS_futex, futex_word(state), FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

}  // namespace sim
