#include "timeline.h"

#include <errno.h>
#include <time.h>

#include <algorithm>

#include "context.h"
#include "graph.h"

namespace sim {
namespace {

constexpr std::uint64_t kSpinNs = 60'000;      // the last stretch of a wait is spun, as the driver does by default
constexpr std::uint64_t kLookNs = 50'000'000;  // a long wait looks again: somebody in front may have died
constexpr std::uint64_t kPollNs = 50'000;      // waiting for memory to change or for another device

std::uint64_t load(const Word& word) { return word.load(std::memory_order_relaxed); }

// The virtual time at which the next work on the stream may begin, as far as order goes.
std::uint64_t ready_time(const Stream& stream, std::uint64_t vtime) {
  std::uint64_t ready = std::max(stream.tail, vtime);
  if (stream.legacy) ready = std::max(ready, stream.context->blocking_tail);
  if (!stream.legacy && stream.blocking()) ready = std::max(ready, stream.context->legacy.tail);
  return ready;
}

void move_tail(Stream& stream, std::uint64_t end) {
  stream.tail = std::max(stream.tail, end);
  if (!stream.legacy && stream.blocking()) {
    stream.context->blocking_tail = std::max(stream.context->blocking_tail, end);
  }
}

// Work deferred earlier on a stream that this one has to follow by the rules of the legacy default stream.
bool is_order_blocked(const Stream& stream, std::uint64_t sequence) {
  const Queue& queue = *stream.queue;
  if (queue.deferring == 0 || !(stream.legacy || stream.blocking())) return false;
  for (const Stream* other : queue.streams) {
    if (other == &stream || other->context != stream.context || other->deferred.empty()) continue;
    const bool related = stream.legacy ? other->blocking() : other->legacy;
    if (related && other->deferred.front().sequence < sequence) return true;
  }
  return false;
}

// --- room on the SMs -----------------------------------------------------------------------------------------------

void trim_steps(Queue& queue, std::uint64_t vtime) {
  while (queue.steps.size() > 1 && queue.steps[1].begin <= vtime) queue.steps.pop_front();
  if (queue.steps.size() == 1 && queue.steps.front().begin <= vtime) queue.steps.clear();
}

// The index of the step that begins at `at`, made by splitting if need be.
std::size_t split_at(std::deque<Step>& steps, std::uint64_t at) {
  const auto next = std::lower_bound(steps.begin(), steps.end(), at,
                                     [](const Step& step, std::uint64_t time) { return step.begin < time; });
  const auto index = static_cast<std::size_t>(next - steps.begin());
  if (next != steps.end() && next->begin == at) return index;
  const std::uint32_t used = index == 0 ? 0 : steps[index - 1].used;
  steps.insert(next, Step{at, used});
  return index;
}

// Takes `sms` for [begin, begin + duration) at the earliest begin >= ready where they are free throughout.
std::uint64_t take_sms(Queue& queue, std::uint64_t ready, std::uint64_t duration, std::uint32_t sms) {
  auto& steps = queue.steps;
  if (steps.empty() || ready >= steps.back().begin) {
    const std::size_t count = steps.size();
    if (count >= 2 && steps.back().begin == ready && steps[count - 2].used == sms) {
      steps.back().begin = ready + duration;
    } else {
      if (count > 0 && steps.back().begin == ready) steps.pop_back();
      steps.push_back({ready, sms});
      steps.push_back({ready + duration, 0});
    }
    return ready;
  }
  const auto after = std::upper_bound(steps.begin(), steps.end(), ready,
                                      [](std::uint64_t time, const Step& step) { return time < step.begin; });
  std::size_t i = after == steps.begin() ? 0 : static_cast<std::size_t>(after - steps.begin()) - 1;
  std::uint64_t begin = ready;
  for (; i < steps.size(); ++i) {
    const bool last = i + 1 == steps.size();
    if (steps[i].begin < begin + duration && steps[i].used + sms > queue.sms && !last) {
      begin = std::max(begin, steps[i + 1].begin);
      continue;
    }
    if (last || steps[i + 1].begin >= begin + duration) break;
  }
  const std::size_t first = split_at(steps, begin);
  const std::size_t end = split_at(steps, begin + duration);
  for (std::size_t k = first; k < end; ++k) steps[k].used += sms;
  const auto same = [](const Step& a, const Step& b) { return a.used == b.used; };
  const auto low = steps.begin() + static_cast<std::ptrdiff_t>(first > 0 ? first - 1 : 0);
  const auto high = steps.begin() + static_cast<std::ptrdiff_t>(std::min(end + 1, steps.size()));
  steps.erase(std::unique(low, high, same), high);
  return begin;
}

void note_kernel_time(Queue& queue, std::uint64_t begin, std::uint64_t end) {
  Channel& channel = queue.shared_channel();
  if (add_segment(channel, begin, end)) return;
  // Hundreds of alternations in one graph: the gap before the last stretch is counted as busy.
  Segment& last = channel.segments[(load(channel.segment_tail) - 1) % kSegments];
  last.end = std::max(last.end, end);
}

std::uint64_t place_kernel(Queue& queue, std::uint64_t ready, std::uint64_t duration, std::uint32_t sms) {
  duration = std::max<std::uint64_t>(duration, 1);
  const std::uint64_t begin = take_sms(queue, ready, duration, std::min(sms, queue.sms));
  note_kernel_time(queue, begin, begin + duration);
  extend_work(*driver.shared, queue.channel, begin + duration);
  return begin + duration;
}

// --- placing -------------------------------------------------------------------------------------------------------

void add_stamp(Queue& queue, const RecordPtr& record) {
  auto at = queue.stamps.end();
  while (at != queue.stamps.begin() && std::prev(at)->first > record->v) --at;
  queue.stamps.insert(at, {record->v, record});
}

void place_record(Queue& queue, Work& work, std::uint64_t ready, std::uint64_t vtime) {
  Record& record = *work.record;
  record.queue = &queue;
  record.v = std::max(ready, vtime + 1);  // reached only while the process holds the device
  record.wall = 0;
  record.state = Record::State::kPlaced;
  if (work.timed) add_stamp(queue, work.record);
  extend_work(*driver.shared, queue.channel, record.v);
}

std::uint64_t place_graph_record(Queue& queue, const PlanStep& step, std::uint64_t ready, std::uint64_t vtime) {
  Event* event = object<Event>(step.node->event);
  if (event == nullptr) return ready;
  Work work;
  work.timed = (event->flags & kEventDisableTiming) == 0;
  work.record = std::make_shared<Record>();
  place_record(queue, work, ready, vtime);
  event->record = work.record;
  return work.record->v;
}

bool has_reached(const Record& record) {
  return record.state == Record::State::kPlaced && load(record.queue->shared_channel().vtime) >= record.v;
}

// When the work ends if it begins at `ready`; false when that cannot be said yet.
bool place_part(Queue& queue, Work& work, std::uint64_t ready, std::uint64_t vtime, std::uint64_t& end) {
  end = ready;
  switch (work.kind) {
    case Work::Kind::kKernel:
      end = place_kernel(queue, ready, work.duration, work.sms);
      return true;
    case Work::Kind::kTime:
      if (work.action) work.action();
      end = ready + work.duration;
      if (end > ready) extend_work(*driver.shared, queue.channel, end);
      return true;
    case Work::Kind::kAction:
      work.action();
      return true;
    case Work::Kind::kRecord:
      place_record(queue, work, ready, vtime);
      end = work.record->v;
      return true;
    case Work::Kind::kWaitRecord:
      if (work.record->state == Record::State::kDeferred) return false;
      if (work.record->queue != &queue) return has_reached(*work.record);
      end = std::max(ready, work.record->v);
      return true;
    case Work::Kind::kWaitValue:
      return work.ready();
    case Work::Kind::kMark:
      return true;
    case Work::Kind::kHost:
    case Work::Kind::kCallback:
    case Work::Kind::kGraph:
      break;
  }
  return false;
}

std::uint64_t place_graph(Queue& queue, const Plan& plan, std::uint64_t ready, std::uint64_t vtime) {
  static thread_local std::vector<std::uint64_t> ends;
  ends.assign(plan.steps.size(), ready);
  std::uint64_t last = ready;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const PlanStep& step = plan.steps[i];
    std::uint64_t begin = ready;
    for (std::uint32_t k = step.before_begin; k < step.before_end; ++k) begin = std::max(begin, ends[plan.before[k]]);
    std::uint64_t end = begin;
    if (step.kind == PlanStep::Kind::kKernel) {
      end = place_kernel(queue, begin, step.duration, step.sms);
    } else if (step.kind == PlanStep::Kind::kTime) {
      end = begin + step.duration;
      extend_work(*driver.shared, queue.channel, end);
    } else if (step.kind == PlanStep::Kind::kRecord) {
      end = place_graph_record(queue, step, begin, vtime);
    }
    ends[i] = end;
    last = std::max(last, end);
  }
  return last;
}

void count_launch(Stream& stream) {
  if (!stream.ends) stream.ends = std::make_unique<std::uint64_t[]>(kPendingLaunches);
  stream.ends[stream.launches++ % kPendingLaunches] = stream.tail;
}

bool place(Stream& stream, Work& work, std::uint64_t vtime) {
  if (is_order_blocked(stream, work.sequence)) return false;
  Queue& queue = *stream.queue;
  const std::uint64_t ready = ready_time(stream, vtime);
  std::uint64_t end = ready;
  if (work.kind == Work::Kind::kGraph) {
    end = place_graph(queue, *work.plan, ready, vtime);
  } else if (!place_part(queue, work, ready, vtime, end)) {
    return false;
  }
  move_tail(stream, end);
  if (work.counts) count_launch(stream);
  return true;
}

// Places whatever can be placed by now.
void pump(Queue& queue, std::uint64_t vtime) {
  for (bool progress = queue.deferring > 0; progress;) {
    progress = false;
    for (Stream* stream : queue.streams) {
      while (!stream->deferred.empty() && place(*stream, stream->deferred.front(), vtime)) {
        stream->deferred.pop_front();
        if (stream->deferred.empty()) --queue.deferring;
        progress = true;
      }
    }
  }
}

void defer(Stream& stream, Work&& work) {
  if (stream.deferred.empty()) ++stream.queue->deferring;
  stream.deferred.push_back(std::move(work));
}

// When the stream can take one more launch: 0 = now, else the virtual time to wait for.
std::uint64_t full_until(const Stream& stream, std::uint64_t vtime) {
  if (stream.launches >= kPendingLaunches) {
    const std::uint64_t oldest = stream.ends[stream.launches % kPendingLaunches];
    if (oldest > vtime) return oldest;
  }
  const Channel& channel = stream.queue->shared_channel();
  const std::uint64_t head = load(channel.segment_head);
  if (load(channel.segment_tail) - head >= kSegments - 8) return channel.segments[head % kSegments].end;
  return 0;
}

// --- waiting -------------------------------------------------------------------------------------------------------

void sleep_until(std::uint64_t when, bool spin) {
  std::uint64_t now = now_ns();
  if (when <= now) return;
  const std::uint64_t slack = spin ? kSpinNs : 0;
  if (when - now > slack) {
    const std::uint64_t until = std::min(when - slack, now + kLookNs);
    const timespec time{static_cast<time_t>(until / 1'000'000'000), static_cast<long>(until % 1'000'000'000)};
    if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == EINTR) return;
    now = now_ns();
    if (when > now + kSpinNs) return;
  }
  if (!spin) return;
  while (now_ns() < when) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

struct DueHost {
  Stream* stream = nullptr;
  CUhostFn host = nullptr;
  CUstreamCallback callback = nullptr;
  void* user_data = nullptr;
  CUstream handle = nullptr;
  std::function<void()> action;
};

DueHost find_due_host(Queue& queue, std::uint64_t vtime) {
  for (Stream* stream : queue.streams) {
    if (stream->deferred.empty()) continue;
    Work& front = stream->deferred.front();
    if (front.kind != Work::Kind::kHost && front.kind != Work::Kind::kCallback) continue;
    if (front.running || is_order_blocked(*stream, front.sequence) || ready_time(*stream, vtime) > vtime) continue;
    front.running = true;
    return {
        stream,      front.host, front.callback, front.user_data, stream->legacy ? nullptr : handle<CUstream>(stream),
        front.action};
  }
  return {};
}

// Runs the host functions whose turn has come, in this thread, no lock held.
void run_due_hosts(Queue& queue) {
  for (;;) {
    DueHost due;
    {
      Access access(queue);
      if (queue.deferring == 0) return;
      pump(queue, access.vtime());
      due = find_due_host(queue, access.vtime());
    }
    if (due.stream == nullptr) return;
    if (due.action) due.action();
    if (due.host != nullptr) due.host(due.user_data);
    if (due.callback != nullptr) due.callback(due.handle, CUDA_SUCCESS, due.user_data);
    Access access(queue);
    move_tail(*due.stream, access.vtime());
    due.stream->deferred.pop_front();
    if (due.stream->deferred.empty()) --queue.deferring;
    pump(queue, access.vtime());
  }
}

// Work may hang on other devices of this process: bring them up to date too.
void refresh_others(const Queue& mine) {
  for (int i = 0; i < driver.device_count; ++i) {
    Queue* queue = driver.queues[i];
    if (queue == nullptr || queue == &mine || queue->channel < 0) continue;
    run_due_hosts(*queue);
    Access access(*queue);
    pump(*queue, access.vtime());
  }
}

bool spins(const Context* context) { return (context->flags & 7) != kContextBlockingSync; }

// Waits until done(access) says 0; any other answer is the time at which to look again.
template <class Done>
void wait_for(Queue& queue, bool spin, Done done) {
  for (;;) {
    run_due_hosts(queue);
    bool foreign = false;
    std::uint64_t again = 0;
    {
      Access access(queue);
      pump(queue, access.vtime());
      again = done(access);
      foreign = queue.deferring > 0;
    }
    if (again == 0) return;
    if (foreign) refresh_others(queue);
    sleep_until(again, spin);
  }
}

std::uint64_t look_again(const Queue& queue, const Access& access, std::uint64_t target) {
  if (target <= access.vtime()) return 0;
  return std::max(predict(*driver.shared, queue.channel, target), access.now() + 1);
}

std::uint64_t stream_again(Stream& stream, const Access& access) {
  if (!stream.deferred.empty()) {
    const std::uint64_t ready = ready_time(stream, access.vtime());
    const std::uint64_t again = look_again(*stream.queue, access, ready);
    return again != 0 ? again : access.now() + kPollNs;
  }
  if (stream.queue->deferring > 0 && is_order_blocked(stream, ~std::uint64_t{0})) return access.now() + kPollNs;
  return look_again(*stream.queue, access, ready_time(stream, 0));
}

}  // namespace

// --- access ----------------------------------------------------------------------------------------------------------

Access::Access(Queue& queue)
    : queue_(queue),
      local_(queue.lock),
      shared_(*driver.shared, queue.device),
      now_(advance(*driver.shared, queue.device)) {
  const std::uint64_t v = vtime();
  trim_steps(queue, v);
  while (!queue.stamps.empty() && queue.stamps.front().first <= v) {
    queue.stamps.front().second->wall = wall_of(queue.shared_channel(), queue.stamps.front().first);
    queue.stamps.pop_front();
  }
}

Access::~Access() = default;

// --- submitting ------------------------------------------------------------------------------------------------------

void submit(Stream& stream, Work&& work) {
  Queue& queue = *stream.queue;
  if (queue.deferring > 0) run_due_hosts(queue);
  for (;;) {
    std::uint64_t again = 0;
    {
      Access access(queue);
      pump(queue, access.vtime());
      const std::uint64_t until = work.counts ? full_until(stream, access.vtime()) : 0;
      if (until != 0) {
        again = look_again(queue, access, until);
      } else if (work.counts && stream.deferred.size() >= kPendingLaunches) {
        again = access.now() + kPollNs;
      } else {
        work.sequence = driver.next_id.fetch_add(1, std::memory_order_relaxed);
        if (!stream.deferred.empty() || !place(stream, work, access.vtime())) defer(stream, std::move(work));
        return;
      }
    }
    if (queue.deferring > 0) run_due_hosts(queue);
    sleep_until(again, spins(stream.context));
  }
}

void submit_kernel(Stream& stream, std::uint64_t duration, std::uint32_t sms) {
  Queue& queue = *stream.queue;
  {
    Access access(queue);
    const std::uint64_t vtime = access.vtime();
    if (queue.deferring == 0 && full_until(stream, vtime) == 0) {
      move_tail(stream, place_kernel(queue, ready_time(stream, vtime), duration, sms));
      count_launch(stream);
      return;
    }
  }
  Work work;
  work.kind = Work::Kind::kKernel;
  work.duration = duration;
  work.sms = sms;
  work.counts = true;
  submit(stream, std::move(work));
}

// --- querying --------------------------------------------------------------------------------------------------------

bool is_idle(Stream& stream) {
  run_due_hosts(*stream.queue);
  if (stream.queue->deferring > 0) refresh_others(*stream.queue);
  Access access(*stream.queue);
  pump(*stream.queue, access.vtime());
  return stream_again(stream, access) == 0;
}

void wait_idle(Stream& stream) {
  wait_for(*stream.queue, spins(stream.context), [&](const Access& access) { return stream_again(stream, access); });
}

void wait_context(Context& context) {
  Queue& queue = context.queue();
  wait_for(queue, spins(&context), [&](const Access& access) {
    std::uint64_t latest = look_again(queue, access, context.gone_tail);
    for (Stream* stream : queue.streams) {
      if (stream->context == &context) latest = std::max(latest, stream_again(*stream, access));
    }
    return latest;
  });
}

bool is_reached(Record& record) {
  if (record.state == Record::State::kPlaced && record.wall != 0) return true;
  if (record.queue == nullptr) return false;
  if (record.state == Record::State::kDeferred) {
    run_due_hosts(*record.queue);
    refresh_others(*record.queue);
  }
  Access access(*record.queue);
  pump(*record.queue, access.vtime());
  return has_reached(record);
}

void wait_reached(Record& record, bool spin) {
  wait_for(*record.queue, spin, [&](const Access& access) -> std::uint64_t {
    if (record.state == Record::State::kDeferred) return access.now() + kPollNs;
    return look_again(*record.queue, access, record.v);
  });
}

void settle(Queue& queue) {
  if (queue.deferring > 0) run_due_hosts(queue);
}

void wait_foreign(Context& context, const std::function<bool()>& done) {
  while (!done()) {
    settle(context.queue());
    sleep_until(now_ns() + kPollNs, false);
  }
}

std::uint64_t wall_time(Record& record) {
  Access access(*record.queue);
  if (record.wall == 0) record.wall = wall_of(record.queue->shared_channel(), record.v);
  return record.wall;
}

void add_stream(Stream& stream) {
  std::lock_guard<std::mutex> lock(stream.queue->lock);
  stream.queue->streams.push_back(&stream);
}

void remove_stream(Stream& stream) {
  std::lock_guard<std::mutex> lock(stream.queue->lock);
  if (!stream.deferred.empty()) {
    --stream.queue->deferring;
    stream.deferred.clear();
  }
  stream.context->gone_tail = std::max(stream.context->gone_tail, stream.tail);
  std::erase(stream.queue->streams, &stream);
}

// --- costs -----------------------------------------------------------------------------------------------------------

KernelCost kernel_cost(const Device& device, bool spin, std::uint64_t spin_ns, std::uint64_t blocks) {
  const Constants& constants = driver.shared->constants;
  const std::uint64_t per_wave = constants.blocks_per_sm * device.spec.sm_count;
  const std::uint64_t waves = std::max<std::uint64_t>(1, (blocks + per_wave - 1) / per_wave);
  const std::uint64_t sms = (blocks + constants.blocks_per_sm - 1) / constants.blocks_per_sm;
  return {spin ? std::max<std::uint64_t>(spin_ns, 1) : waves * constants.wave_ns,
          static_cast<std::uint32_t>(std::clamp<std::uint64_t>(sms, 1, device.spec.sm_count))};
}

std::uint64_t copy_ns(const Device& device, std::uint64_t bytes, bool host_side) {
  const Constants& constants = driver.shared->constants;
  const std::uint64_t bytes_per_us =
      host_side ? constants.host_bytes_per_us : std::uint64_t{device.spec.bandwidth_gbs} * 1000 / 2;
  return constants.copy_latency_ns + bytes * 1000 / std::max<std::uint64_t>(bytes_per_us, 1);
}

}  // namespace sim
