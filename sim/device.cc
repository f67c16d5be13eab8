// Time and memory of the simulated devices. The file itself is made in device_file.cc.
//
// The timeline is not run by anybody: whoever holds time_lock brings it up to the present (advance), turn by turn.
// A step changes one channel and the device; it is written behind a journal, so that a process killed half-way
// through leaves something that the next one can undo. (Only the millisecond buckets of that one step may then
// count twice; the totals do not.)
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "device_internal.h"

namespace sim {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::uint64_t get(const Word& word) { return word.load(kRelaxed); }
void set(Word& word, std::uint64_t value) { word.store(value, kRelaxed); }
void add(Word& word, std::uint64_t value) { set(word, get(word) + value); }

void mark_wanting(Device& device, int channel, bool wants) {
  Word& word = device.wanting[channel / 64];
  const std::uint64_t bit = std::uint64_t{1} << (channel % 64);
  set(word, wants ? get(word) | bit : get(word) & ~bit);
}

bool is_wanting(const Device& device, int channel) {
  return (get(device.wanting[channel / 64]) >> (channel % 64) & 1) != 0;
}

// The first wanting channel at or after `from`, going round; -1 if there is none.
int next_wanting(const Device& device, int from) {
  constexpr int kWords = kMaxChannels / 64;
  from %= kMaxChannels;
  for (int i = 0; i <= kWords; ++i) {
    const int index = (from / 64 + i) % kWords;
    std::uint64_t word = get(device.wanting[index]);
    if (i == 0) word &= ~std::uint64_t{0} << (from % 64);
    if (i == kWords) word &= ~(~std::uint64_t{0} << (from % 64));
    if (word != 0) return index * 64 + __builtin_ctzll(word);
  }
  return -1;
}

void add_busy(BusyLog& log, std::uint64_t from, std::uint64_t to) {
  set(log.total_ns, get(log.total_ns) + (to - from));
  if (to - from > (kBuckets - 1) * kBucketNs) from = to - (kBuckets - 1) * kBucketNs;
  while (from < to) {
    const std::uint64_t millisecond = from / kBucketNs;
    const std::uint64_t end = std::min(to, (millisecond + 1) * kBucketNs);
    Bucket& bucket = log.buckets[millisecond % kBuckets];
    const auto tag = static_cast<std::uint32_t>(millisecond);
    const auto busy = static_cast<std::uint32_t>(end - from);
    if (bucket.millisecond.load(kRelaxed) == tag) {
      bucket.busy_ns.store(bucket.busy_ns.load(kRelaxed) + busy, kRelaxed);
    } else {
      bucket.busy_ns.store(busy, kRelaxed);
      bucket.millisecond.store(tag, kRelaxed);
    }
    from = end;
  }
}

// Kernel time within the next `run` ns of the channel's virtual time goes to the busy logs.
void log_kernels(Device& device, Channel& channel, std::uint64_t clock, std::uint64_t run) {
  const std::uint64_t from = get(channel.vtime);
  const std::uint64_t to = from + run;
  const std::uint64_t tail = get(channel.segment_tail);
  for (std::uint64_t i = get(channel.segment_head); i < tail; ++i) {
    const Segment& segment = channel.segments[i % kSegments];
    if (segment.begin >= to) break;
    const std::uint64_t begin = std::max(segment.begin, from);
    const std::uint64_t end = std::min(segment.end, to);
    if (begin < end) {
      add_busy(channel.busy, clock + (begin - from), clock + (end - from));
      add_busy(device.busy, clock + (begin - from), clock + (end - from));
    }
    if (segment.end > to) break;
    set(channel.segment_head, i + 1);
  }
}

void log_turn(Channel& channel, std::uint64_t clock, std::uint64_t run) {
  const std::uint64_t count = get(channel.turn_count);
  const std::uint64_t v = get(channel.vtime);
  if (count > 0) {
    Turn& last = channel.turns[(count - 1) % kSlices];
    if (last.wall_begin + last.length == clock && last.v_begin + last.length == v) {
      last.length += run;
      return;
    }
  }
  channel.turns[count % kSlices] = {v, clock, run};
  set(channel.turn_count, count + 1);
}

void run_channel(Device& device, Channel& channel, int index, std::uint64_t run) {
  const std::uint64_t clock = get(device.clock);
  const std::uint64_t turns = get(channel.turn_count);
  Journal& journal = device.journal;
  journal.vtime = get(channel.vtime);
  journal.busy_ns = get(channel.busy.total_ns);
  journal.device_busy_ns = get(device.busy.total_ns);
  journal.turn_count = turns;
  if (turns > 0) journal.turn = channel.turns[(turns - 1) % kSlices];
  journal.channel.store(static_cast<std::uint64_t>(index) + 1, std::memory_order_release);

  log_kernels(device, channel, clock, run);
  log_turn(channel, clock, run);
  set(channel.vtime, get(channel.vtime) + run);
  set(device.clock, clock + run);
  journal.channel.store(0, std::memory_order_release);
}

void undo_step(Shared& shared, Device& device) {
  Journal& journal = device.journal;
  const std::uint64_t index = journal.channel.load(std::memory_order_acquire);
  if (index == 0) return;
  Channel& channel = shared.channels[index - 1];
  const std::uint64_t clock_moved = get(channel.vtime) - journal.vtime;
  if (clock_moved == 0) {
    set(channel.busy.total_ns, journal.busy_ns);
    set(device.busy.total_ns, journal.device_busy_ns);
    set(channel.turn_count, journal.turn_count);
    if (journal.turn_count > 0) channel.turns[(journal.turn_count - 1) % kSlices] = journal.turn;
    std::uint64_t head = get(channel.segment_head);
    while (head > 0 && channel.segments[(head - 1) % kSegments].end > journal.vtime &&
           get(channel.segment_tail) - head < kSegments - 1) {
      --head;
    }
    set(channel.segment_head, head);
  } else {
    const std::uint64_t turns = get(channel.turn_count);  // the step is complete but for the device's clock
    const Turn& last = channel.turns[(turns - 1) % kSlices];
    set(device.clock, std::max(get(device.clock), last.wall_begin + last.length));
  }
  journal.channel.store(0, std::memory_order_release);
}

// Gives the device to the next in the round; buries the dead it meets.
int give_turn(Shared& shared, int device_index) {
  Device& device = shared.devices[device_index];
  for (;;) {
    const int next = next_wanting(device, static_cast<int>(get(device.last_holder)));
    if (next < 0) {
      set(device.holder, 0);
      return -1;
    }
    if (is_alive(shared.channels[next])) {
      set(device.holder, static_cast<std::uint64_t>(next) + 1);
      set(device.last_holder, static_cast<std::uint64_t>(next) + 1);
      set(device.turn_end, get(device.clock) + shared.constants.slice_ns);
      return next;
    }
    bury(shared, next);
  }
}

// Whoever is alone has turn after turn: the one under way ends at a whole number of them.
void begin_turns_anew(Device& device, std::uint64_t slice) {
  const std::uint64_t clock = get(device.clock);
  const std::uint64_t end = get(device.turn_end);
  if (clock >= end) set(device.turn_end, end + ((clock - end) / slice + 1) * slice);
}

bool others_want(const Device& device, int channel) {
  const int next = next_wanting(device, channel + 1);
  return next >= 0 && next != channel;
}

}  // namespace

std::uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// --- locks -----------------------------------------------------------------------------------------------------------

TimeGuard::TimeGuard(Shared& shared, int device) : device_(shared.devices[device]) {
  if (pthread_mutex_lock(&device_.time_lock) != EOWNERDEAD) return;
  undo_step(shared, device_);
  for (int i = 0; i < static_cast<int>(get(shared.channel_limit)); ++i) {
    const Channel& channel = shared.channels[i];
    if (channel.device == device || is_wanting(device_, i)) {
      mark_wanting(device_, i,
                   channel.device == device && channel.state == ChannelState::kLive &&
                       get(channel.vtime) < get(channel.work_end));
    }
  }
  pthread_mutex_consistent(&device_.time_lock);
}

TimeGuard::~TimeGuard() { pthread_mutex_unlock(&device_.time_lock); }

MemoryGuard::MemoryGuard(Shared& shared, int device) : device_(shared.devices[device]) {
  if (pthread_mutex_lock(&device_.memory_lock) != EOWNERDEAD) return;
  recount_memory(shared, device);
  pthread_mutex_consistent(&device_.memory_lock);
}

MemoryGuard::~MemoryGuard() { pthread_mutex_unlock(&device_.memory_lock); }

TableGuard::TableGuard(Shared& shared) : shared_(shared) {
  if (pthread_mutex_lock(&shared_.table_lock) == EOWNERDEAD) pthread_mutex_consistent(&shared_.table_lock);
}

TableGuard::~TableGuard() { pthread_mutex_unlock(&shared_.table_lock); }

// --- memory ----------------------------------------------------------------------------------------------------------

// With memory_lock held. A shared allocation nobody alive holds is freed, one whose payer is gone is handed on.
void recount_memory(Shared& shared, int device_index) {
  Device& device = shared.devices[device_index];
  const auto live = [&](std::uint64_t holder) {
    return holder != 0 && shared.channels[holder - 1].state == ChannelState::kLive;
  };
  std::uint64_t used = 0;
  for (int i = 0; i < static_cast<int>(get(shared.channel_limit)); ++i) {
    const Channel& channel = shared.channels[i];
    if (channel.device == device_index && channel.state == ChannelState::kLive) used += get(channel.memory_used);
  }
  for (int i = 0; i < static_cast<int>(get(device.shared_limit)); ++i) {
    SharedAllocation& entry = device.shared[i];
    if (entry.state == 0) continue;
    if (!live(entry.charged)) {
      entry.charged = 0;
      for (const std::uint16_t holder : entry.holders) {
        if (live(holder)) entry.charged = holder;
      }
      if (entry.charged == 0) {
        unlink(shared_file(shared, entry.id).c_str());
        entry.state = 0;
        continue;
      }
    }
    used += entry.bytes;
  }
  set(device.memory_used, used);
}

bool charge(Shared& shared, int channel, std::uint64_t bytes) {
  Channel& mine = shared.channels[channel];
  Device& device = shared.devices[mine.device];
  const std::uint64_t limit = device.memory_total - device.memory_reserved;
  for (int attempt = 0; attempt < 2; ++attempt) {
    {
      MemoryGuard guard(shared, mine.device);
      if (mine.state != ChannelState::kLive) return false;
      const std::uint64_t used = get(device.memory_used);
      if (bytes <= limit && used <= limit - bytes) {
        add(mine.memory_used, bytes);
        set(device.memory_used, used + bytes);
        return true;
      }
    }
    if (reap(shared, mine.device) == 0) return false;
  }
  return false;
}

void refund(Shared& shared, int channel, std::uint64_t bytes) {
  Channel& mine = shared.channels[channel];
  Device& device = shared.devices[mine.device];
  MemoryGuard guard(shared, mine.device);
  // A thread may be in the middle of a call when its process ends in order: what it held was given back with all else.
  if (mine.state != ChannelState::kLive) return;
  set(device.memory_used, get(device.memory_used) - bytes);
  set(mine.memory_used, get(mine.memory_used) - bytes);
}

MemoryUse memory_use(Shared& shared, int device_index) {
  reap(shared, device_index);
  Device& device = shared.devices[device_index];
  MemoryGuard guard(shared, device_index);
  const std::uint64_t used = get(device.memory_used);
  std::uint64_t room = device.memory_total - device.memory_reserved;
  if (device.spec.unified) room = std::min(room, host_memory().available);
  return {device.memory_total, device.memory_reserved, used, room - std::min(room, used)};
}

// --- time ------------------------------------------------------------------------------------------------------------

std::uint64_t advance(Shared& shared, int device_index) {
  Device& device = shared.devices[device_index];
  const std::uint64_t now = std::max(now_ns(), get(device.clock));
  int holder = static_cast<int>(get(device.holder)) - 1;
  if (holder >= 0 && !is_alive(shared.channels[holder])) {
    bury(shared, holder);
    holder = -1;
  }
  while (get(device.clock) < now) {
    if (holder < 0) holder = give_turn(shared, device_index);
    if (holder < 0) {
      set(device.clock, now);
      break;
    }
    Channel& channel = shared.channels[holder];
    const std::uint64_t clock = get(device.clock);
    const std::uint64_t left = get(channel.work_end) - get(channel.vtime);
    const bool alone = !others_want(device, holder);
    if (!alone && clock >= get(device.turn_end)) {
      holder = -1;
      continue;
    }
    const std::uint64_t until = alone ? now : std::min(now, get(device.turn_end));
    run_channel(device, channel, holder, std::min(left, until - clock));
    if (alone) begin_turns_anew(device, shared.constants.slice_ns);
    if (get(channel.vtime) >= get(channel.work_end)) {
      mark_wanting(device, holder, false);
      set(device.holder, 0);
      holder = -1;
    }
  }
  return now;
}

void extend_work(Shared& shared, int channel, std::uint64_t work_end) {
  Channel& mine = shared.channels[channel];
  if (work_end <= get(mine.work_end)) return;
  set(mine.work_end, work_end);
  mark_wanting(shared.devices[mine.device], channel, true);
}

std::uint64_t predict(Shared& shared, int channel, std::uint64_t target) {
  const Channel& mine = shared.channels[channel];
  const Device& device = shared.devices[mine.device];
  std::uint64_t need = target > get(mine.vtime) ? target - get(mine.vtime) : 0;
  std::uint64_t time = get(device.clock);
  if (need == 0) return time;
  struct Rival {
    int channel;
    std::uint64_t left;
  };
  Rival rivals[kMaxChannels];
  int count = 0;
  const int first = get(device.holder) != 0 ? static_cast<int>(get(device.holder)) - 1
                                            : next_wanting(device, static_cast<int>(get(device.last_holder)));
  for (int i = first; i >= 0;) {  // in the order in which they will have their turns
    rivals[count++] = {i, get(shared.channels[i].work_end) - get(shared.channels[i].vtime)};
    i = next_wanting(device, i + 1);
    if (i == first) break;
  }
  std::uint64_t turn =
      get(device.holder) != 0 && get(device.turn_end) > time ? get(device.turn_end) - time : shared.constants.slice_ns;
  for (int steps = 0; count > 1 && steps < 2048;) {
    int kept = 0;
    for (int i = 0; i < count; ++i, ++steps, turn = shared.constants.slice_ns) {
      const std::uint64_t run = std::min(turn, rivals[i].left);
      if (rivals[i].channel == channel) {
        if (need <= run) return time + need;
        need -= run;
      }
      time += run;
      rivals[i].left -= run;
      if (rivals[i].left > 0) rivals[kept++] = rivals[i];
    }
    count = kept;
  }
  return time + need;
}

bool add_segment(Channel& channel, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t head = get(channel.segment_head);
  const std::uint64_t tail = get(channel.segment_tail);
  const auto at = [&](std::uint64_t i) -> Segment& { return channel.segments[i % kSegments]; };
  if (head == tail || at(tail - 1).end < begin) {
    if (tail - head >= kSegments) return false;
    at(tail) = {begin, end};
    set(channel.segment_tail, tail + 1);
    return true;
  }
  // The first segment that touches [begin, end), searched from the end: new work is nearly always the last.
  std::uint64_t first = tail;
  while (first > head && at(first - 1).end >= begin) --first;
  std::uint64_t last = first;
  while (last < tail && at(last).begin <= end) ++last;
  if (first == last) {  // falls into a gap
    if (tail - head >= kSegments) return false;
    for (std::uint64_t i = tail; i > first; --i) at(i) = at(i - 1);
    at(first) = {begin, end};
    set(channel.segment_tail, tail + 1);
    return true;
  }
  at(first) = {std::min(at(first).begin, begin), std::max(at(last - 1).end, end)};
  const std::uint64_t removed = last - first - 1;
  if (removed > 0) {
    for (std::uint64_t i = last; i < tail; ++i) at(i - removed) = at(i);
    set(channel.segment_tail, tail - removed);
  }
  return true;
}

std::uint64_t wall_of(const Channel& channel, std::uint64_t v) {
  const std::uint64_t count = get(channel.turn_count);
  if (count == 0) return channel.born_ns;
  std::uint64_t low = count > kSlices ? count - kSlices : 0;
  std::uint64_t high = count - 1;  // the first turn with v_begin + length >= v
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    const Turn& turn = channel.turns[middle % kSlices];
    if (turn.v_begin + turn.length >= v) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const Turn& turn = channel.turns[low % kSlices];
  const std::uint64_t into = v > turn.v_begin ? v - turn.v_begin : 0;
  return turn.wall_begin + std::min(into, turn.length);
}

// --- reading ---------------------------------------------------------------------------------------------------------

std::vector<ProcessUse> processes_of(Shared& shared, int device_index, bool with_dead) {
  reap(shared, device_index);
  {
    TimeGuard guard(shared, device_index);
    advance(shared, device_index);
  }
  Device& device = shared.devices[device_index];
  std::vector<ProcessUse> all;
  MemoryGuard guard(shared, device_index);
  for (int i = 0; i < static_cast<int>(get(shared.channel_limit)); ++i) {
    const Channel& channel = shared.channels[i];
    const bool alive = channel.state == ChannelState::kLive;
    if (channel.device != device_index || channel.state == ChannelState::kFree || (!alive && !with_dead)) continue;
    std::uint64_t memory = get(channel.memory_used);
    for (int k = 0; k < static_cast<int>(get(device.shared_limit)); ++k) {
      const SharedAllocation& entry = device.shared[k];
      if (entry.state != 0 && static_cast<int>(entry.charged) == i + 1) memory += entry.bytes;
    }
    all.push_back({i, alive, channel.pid, channel.uid, channel.start_time, channel.pid_namespace,
                   std::string(channel.command, strnlen(channel.command, sizeof channel.command)), alive ? memory : 0,
                   get(channel.contexts), get(channel.busy.total_ns), channel.born_ns, alive ? 0 : channel.died_ns});
  }
  return all;
}

namespace {

std::uint64_t busy_between(const BusyLog& log, std::uint64_t from, std::uint64_t to) {
  std::uint64_t busy = 0;
  for (std::uint64_t ms = from / kBucketNs; ms * kBucketNs < to; ++ms) {
    const Bucket& bucket = log.buckets[ms % kBuckets];
    if (bucket.millisecond.load(kRelaxed) != static_cast<std::uint32_t>(ms)) continue;
    const std::uint64_t inside = std::min(to, (ms + 1) * kBucketNs) - std::max(from, ms * kBucketNs);
    busy += bucket.busy_ns.load(kRelaxed) * inside / kBucketNs;
  }
  return busy;
}

}  // namespace

std::uint64_t device_busy_ns(Shared& shared, int device, std::uint64_t from, std::uint64_t to) {
  TimeGuard guard(shared, device);
  advance(shared, device);
  return busy_between(shared.devices[device].busy, from, to);
}

std::uint64_t process_busy_ns(Shared& shared, int channel, std::uint64_t from, std::uint64_t to) {
  TimeGuard guard(shared, shared.channels[channel].device);
  advance(shared, shared.channels[channel].device);
  return busy_between(shared.channels[channel].busy, from, to);
}

}  // namespace sim
