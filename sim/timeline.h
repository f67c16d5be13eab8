// Streams, events and kernels of this process: the order of work within the process's virtual time.
//
// Work is *placed* when it is submitted: its beginning and end in virtual time follow from the end of its stream, of
// what it waits for, and from the SMs that earlier submitted kernels leave free. Nothing placed ever moves. Work
// whose beginning cannot be known yet (it follows a host function, waits for a value in memory, or for another
// device) is *deferred*: it queues on its stream and is placed by whoever next submits, queries or waits.
//
// A Queue is this process on one device. Access locks it and the shared device and brings both to the present.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "driver.h"

namespace sim {

inline constexpr std::size_t kPendingLaunches = 1024;  // per stream, then the launching call blocks

// One recording of an event. Shared by the event and by the work that waits for it.
struct Record {
  enum class State { kDeferred, kPlaced };
  State state = State::kDeferred;
  Queue* queue = nullptr;
  std::uint64_t v = 0;     // virtual time at which it is reached
  std::uint64_t wall = 0;  // CLOCK_MONOTONIC when it was reached, 0 = not yet worked out
};
using RecordPtr = std::shared_ptr<Record>;

struct Work {
  enum class Kind { kKernel, kTime, kHost, kCallback, kRecord, kWaitRecord, kWaitValue, kAction, kGraph, kMark };
  Kind kind = Kind::kTime;
  std::uint64_t duration = 0;           // kKernel, kTime
  std::uint32_t sms = 0;                // kKernel
  bool counts = false;                  // takes one of the stream's pending launches
  bool timed = true;                    // kRecord
  RecordPtr record;                     // kRecord, kWaitRecord
  CUhostFn host = nullptr;              // kHost
  CUstreamCallback callback = nullptr;  // kCallback
  void* user_data = nullptr;
  std::function<void()> action;             // done when placed: bytes moved, memory freed
  std::function<bool()> ready;              // kWaitValue, foreign events
  std::shared_ptr<const struct Plan> plan;  // kGraph
  std::uint64_t sequence = 0;
  bool running = false;  // its host function is being run by some thread
};

struct Stream : Object<Tag::kStream> {
  static constexpr Tag kTag = Tag::kStream;
  Context* context = nullptr;
  Queue* queue = nullptr;
  unsigned flags = 0;
  int priority = 0;
  std::uint64_t id = 0;
  bool legacy = false;
  std::uint64_t tail = 0;  // virtual time at which everything placed so far is done
  std::deque<Work> deferred;
  std::unique_ptr<std::uint64_t[]> ends;  // of the last kPendingLaunches launches, a ring
  std::uint64_t launches = 0;
  std::shared_ptr<struct Capture> capture;  // non-null while it is being captured
  std::vector<struct Node*> frontier;       // what the next captured work follows

  bool blocking() const { return (flags & kStreamNonBlocking) == 0; }
};

struct Event : Object<Tag::kEvent> {
  static constexpr Tag kTag = Tag::kEvent;
  Context* context = nullptr;
  unsigned flags = 0;
  RecordPtr record;               // the latest; null before the first
  SharedEvent* shared = nullptr;  // seen by other processes
  bool imported = false;
  std::shared_ptr<struct Capture> capture;  // recorded last in a stream that was being captured
  std::vector<struct Node*> captured;       // what it stands for there
};

// SMs in use over virtual time: steps, ascending; each holds until the next one's begin; the last has used == 0.
struct Step {
  std::uint64_t begin;
  std::uint32_t used;
};

struct Queue {
  std::mutex lock;
  int ordinal = 0;
  int device = 0;    // in the shared set
  int channel = -1;  // -1 until the first context
  std::uint32_t sms = 0;
  std::deque<Step> steps;
  std::deque<std::pair<std::uint64_t, RecordPtr>> stamps;  // placed, timed, not yet reached; ascending
  std::vector<Stream*> streams;                            // all of this device, every context
  int deferring = 0;                                       // streams with deferred work

  Channel& shared_channel() const { return driver.shared->channels[channel]; }
};

// Locks the queue and the shared device, and brings them to the present.
class Access {
 public:
  explicit Access(Queue& queue);
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
  std::uint64_t vtime() const { return queue_.shared_channel().vtime.load(std::memory_order_relaxed); }
  std::uint64_t now() const { return now_; }

 private:
  Queue& queue_;
  std::unique_lock<std::mutex> local_;
  TimeGuard shared_;
  std::uint64_t now_;
};

// Puts the work on the stream; blocks while the stream has as many pending launches as it takes.
void submit(Stream& stream, Work&& work);
// The fast form of a plain kernel.
void submit_kernel(Stream& stream, std::uint64_t duration, std::uint32_t sms);

bool is_idle(Stream& stream);  // everything done; runs host functions that are due
void wait_idle(Stream& stream);
void wait_context(Context& context);
bool is_reached(Record& record);  // runs host functions that are due
void wait_reached(Record& record, bool spin);
// Runs host functions that are due.
void settle(Queue& queue);
// Looks every now and then until done().
void wait_foreign(Context& context, const std::function<bool()>& done);
// CLOCK_MONOTONIC of a reached record.
std::uint64_t wall_time(Record& record);

// Forgets the stream's history when it goes; waits for nothing.
void add_stream(Stream& stream);
void remove_stream(Stream& stream);

// One kernel's time and room, by its name, its first parameter and its grid.
struct KernelCost {
  std::uint64_t duration;
  std::uint32_t sms;
};
KernelCost kernel_cost(const Device& device, bool spin, std::uint64_t spin_ns, std::uint64_t blocks);
std::uint64_t copy_ns(const Device& device, std::uint64_t bytes, bool host_side);

}  // namespace sim
