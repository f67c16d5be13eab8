// Contexts, the current one of each thread, and what lives in a context.
#pragma once

#include <unordered_set>

#include "driver.h"
#include "timeline.h"

namespace sim {

inline constexpr int kLimits = 10;

struct Context : Object<Tag::kContext> {
  static constexpr Tag kTag = Tag::kContext;
  int ordinal = 0;
  unsigned flags = 0;
  unsigned api_version = 0x0c0a;
  bool primary = false;
  bool active = false;
  int retained = 0;  // primary: cuDevicePrimaryCtxRetain less Release
  std::uint64_t id = 0;
  std::uint64_t charged = 0;        // device memory of the bare context
  std::uint64_t blocking_tail = 0;  // Queue::lock: latest end among its blocking streams
  std::uint64_t gone_tail = 0;      // Queue::lock: latest end among streams that were destroyed with work on them
  Stream legacy;
  std::vector<Stream*> streams;  // Driver::lock: created ones and per-thread ones
  std::unordered_set<Module*> modules;
  std::unordered_set<int> peers;
  std::size_t limits[kLimits];
  int cache_config = 0;
  int shared_config = 1;

  Queue& queue() const { return *driver.queues[ordinal]; }
};

// Threads that one multiprocessor holds.
unsigned threads_per_sm(const Product& spec);

// The current context of this thread; nullptr when there is none or it is gone.
Context* current_context();
// 201 when there is none, 709 when it has been destroyed.
CUresult require_context(Context*& context);
// The context behind a handle that must be alive.
CUresult find_context(CUcontext given, Context*& context);

// 0, legacy, per-thread or a created stream.
CUresult find_stream(CUstream given, StreamMode mode, Stream*& stream);

void set_current(Context* context);  // replaces the top of the stack
Context* primary_of(int ordinal);
// Makes the primary context active (a retain without a count is what some calls imply).
CUresult retain_primary(int ordinal, Context*& context);

bool valid_ordinal(CUdevice device);

// The channel of this process on the device, claimed at the first need.
CUresult ensure_channel(Queue& queue);

// Frees what belongs to a context that goes. Each in the file that makes such things.
void free_memory_of(Context& context);
void free_modules_of(Context& context);
void free_arrays_of(Context& context);

}  // namespace sim
