// Channels: who is on a device, and how the others find out that somebody is gone.
//
// The proof of life is a robust mutex held by a thread of the process: when the process dies, by whatever means, or
// executes another program, the kernel sets FUTEX_OWNER_DIED in the mutex word, in every pid namespace alike, before
// the process becomes a zombie. So asking whether somebody lives costs one load. A mutex word of 0 means that the
// thread ended and no other has taken over yet; then /proc is asked.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device_internal.h"

namespace sim {
namespace {

std::uint64_t own_pid_namespace() {
  struct stat info;
  return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

std::uint32_t life_word(const Channel& channel) {
  return static_cast<std::uint32_t>(__atomic_load_n(&channel.life.__data.__lock, __ATOMIC_RELAXED));
}

void read_command(char (&command)[16]) {
  memset(command, 0, sizeof command);
  const int file = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  const ssize_t size = read(file, command, sizeof command - 1);
  close(file);
  if (size > 0 && command[size - 1] == '\n') command[size - 1] = 0;
}

// A channel that nobody's robust list can still point into: its life is free, or the kernel has closed the book on it.
bool is_reusable(const Channel& channel) {
  const std::uint32_t word = life_word(channel);
  return channel.state != ChannelState::kLive && (word == 0 || (word & FUTEX_OWNER_DIED) != 0);
}

int choose_channel(const Shared& shared) {
  int oldest = -1;
  const int limit = static_cast<int>(shared.channel_limit.load());
  for (int i = 0; i < limit; ++i) {
    const Channel& channel = shared.channels[i];
    if (!is_reusable(channel)) continue;
    if (channel.state == ChannelState::kFree) return i;
    if (oldest < 0 || channel.died_ns < shared.channels[oldest].died_ns) oldest = i;
  }
  // A fresh one as long as few are in use, so that the log of a dead process stays readable for a while.
  if (limit < kMaxChannels &&
      (oldest < 0 || limit < 64 || now_ns() - shared.channels[oldest].died_ns < 60'000'000'000)) {
    return limit;
  }
  return oldest;
}

void reset(Channel& channel) {
  channel.memory_used = 0;
  channel.contexts = 0;
  channel.vtime = 1;
  channel.work_end = 1;
  channel.turn_count = 0;
  channel.segment_head = 0;
  channel.segment_tail = 0;
  channel.busy.total_ns = 0;
  if (channel.state != ChannelState::kFree)
    memset(static_cast<void*>(channel.busy.buckets), 0, sizeof channel.busy.buckets);
  channel.died_ns = 0;
  init_robust(channel.life);
}

}  // namespace

void init_robust(pthread_mutex_t& mutex) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

bool read_process(int pid, std::uint64_t& start_time, char& state) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char text[1024];
  const ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  if (size <= 0) return false;
  text[size] = 0;
  const char* after_name = strrchr(text, ')');
  if (after_name == nullptr || after_name[1] == 0) return false;
  state = after_name[2];
  const char* field = after_name + 2;
  for (int i = 3; i < 22 && field != nullptr; ++i) {
    field = strchr(field, ' ');
    if (field != nullptr) ++field;
  }
  if (field == nullptr) return false;
  start_time = strtoull(field, nullptr, 10);
  return true;
}

bool is_alive(const Channel& channel) {
  const std::uint32_t word = life_word(channel);
  if ((word & FUTEX_OWNER_DIED) != 0) return false;
  if (word != 0) return true;
  if (channel.pid_namespace != own_pid_namespace()) return true;
  std::uint64_t start_time = 0;
  char state = 0;
  if (!read_process(channel.pid, start_time, state)) return false;
  return start_time == channel.start_time && state != 'Z' && state != 'X';
}

void drop_life(Channel& channel) { pthread_mutex_unlock(&channel.life); }

void adopt_life(Channel& channel) {
  const int result = pthread_mutex_trylock(&channel.life);
  if (result == EOWNERDEAD) pthread_mutex_consistent(&channel.life);
}

int claim_channel(Shared& shared, int device) {
  TableGuard guard(shared);
  const int index = choose_channel(shared);
  if (index < 0) return -1;
  Channel& channel = shared.channels[index];
  reset(channel);
  char state = 0;
  channel.device = device;
  channel.pid = getpid();
  channel.uid = getuid();
  channel.pid_namespace = own_pid_namespace();
  read_process(channel.pid, channel.start_time, state);
  read_command(channel.command);
  channel.born_ns = now_ns();
  pthread_mutex_lock(&channel.life);
  if (static_cast<std::uint64_t>(index) >= shared.channel_limit)
    shared.channel_limit = static_cast<std::uint64_t>(index) + 1;
  channel.state = ChannelState::kLive;
  return index;
}

void bury(Shared& shared, int index) {
  Channel& channel = shared.channels[index];
  Device& device = shared.devices[channel.device];
  if (channel.state != ChannelState::kLive) return;
  MemoryGuard guard(shared, channel.device);
  for (int i = 0; i < static_cast<int>(device.shared_limit.load()); ++i) {
    for (std::uint16_t& holder : device.shared[i].holders) {
      if (holder == index + 1) holder = 0;
    }
    if (static_cast<int>(device.shared[i].charged) == index + 1) device.shared[i].charged = 0;
  }
  channel.died_ns = now_ns();
  channel.state = ChannelState::kDead;
  channel.work_end = channel.vtime.load();
  Word& word = device.wanting[index / 64];
  word = word & ~(std::uint64_t{1} << (index % 64));
  if (device.holder == static_cast<std::uint64_t>(index) + 1) device.holder = 0;
  recount_memory(shared, channel.device);
}

void release_channel(Shared& shared, int index) {
  TimeGuard guard(shared, shared.channels[index].device);
  advance(shared, shared.channels[index].device);
  bury(shared, index);
}

int reap(Shared& shared, int device) {
  int buried = 0;
  for (int i = 0; i < static_cast<int>(shared.channel_limit.load()); ++i) {
    const Channel& channel = shared.channels[i];
    if (channel.state != ChannelState::kLive || channel.device != device || is_alive(channel)) continue;
    TimeGuard guard(shared, device);
    if (channel.device != device || is_alive(channel)) continue;  // buried by another, and the slot taken again
    bury(shared, i);
    ++buried;
  }
  return buried;
}

}  // namespace sim
