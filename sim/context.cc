#include "context.h"

#include <algorithm>

#include "capture.h"
#include "memory.h"
#include "pool.h"

namespace sim {
namespace {

// The stack of current contexts, the streams of this thread, and the channels whose proof of life it holds.
struct ThreadState {
  std::vector<Context*> stack;
  std::vector<std::pair<Context*, Stream*>> streams;
  std::vector<int> lives;
  ~ThreadState() {
    if (driver.state != State::kReady) return;
    for (const int channel : lives) {
      drop_life(driver.shared->channels[channel]);
      driver.lives_dropped.fetch_add(1);
    }
  }
};
thread_local ThreadState thread_state;

Context* primaries[kMaxDevices];

void adopt_lives() {
  for (int i = 0; i < driver.device_count; ++i) {
    const int channel = driver.queues[i]->channel;
    if (channel < 0 || driver.shared->channels[channel].life.__data.__lock != 0) continue;
    adopt_life(driver.shared->channels[channel]);
    thread_state.lives.push_back(channel);
    driver.lives_dropped.fetch_sub(1);
  }
}

constexpr std::size_t kDefaultLimits[kLimits] = {1024, 1048576, 8388608, 2, 2048, 128, 0, 0, 0, 0};

// Stacks, printf's buffer and malloc's heap, as far as they are more than a bare context has.
std::uint64_t memory_of_limit(const Context& context, int limit, std::size_t value) {
  constexpr int kStack = 0, kHeap = 2;
  if (limit > kHeap || value <= kDefaultLimits[limit]) return 0;
  const Product& spec = device_at(context.ordinal).spec;
  const std::uint64_t each = limit == kStack ? std::uint64_t{spec.sm_count} * threads_per_sm(spec) : 1;
  return rounded((value - kDefaultLimits[limit]) * each);
}

CUresult set_limit(Context& context, int limit, std::size_t value) {
  if (value >> 40 != 0) return CUDA_ERROR_INVALID_VALUE;
  const std::uint64_t before = memory_of_limit(context, limit, context.limits[limit]);
  const std::uint64_t after = memory_of_limit(context, limit, value);
  const int channel = context.queue().channel;
  if (after > before && !charge(*driver.shared, channel, after - before)) return CUDA_ERROR_OUT_OF_MEMORY;
  if (after < before) refund(*driver.shared, channel, before - after);
  context.charged += after - before;
  context.limits[limit] = value;
  return CUDA_SUCCESS;
}

CUresult open_context(Context& context) {
  std::copy(std::begin(kDefaultLimits), std::end(kDefaultLimits), context.limits);
  Queue& queue = context.queue();
  if (const CUresult result = ensure_channel(queue); result != CUDA_SUCCESS) return result;
  context.charged = device_at(context.ordinal).spec.context_mib * kMiB;
  if (!charge(*driver.shared, queue.channel, context.charged)) return CUDA_ERROR_OUT_OF_MEMORY;
  queue.shared_channel().contexts.fetch_add(1);
  context.id = driver.next_id.fetch_add(1);
  context.legacy.context = &context;
  context.legacy.queue = &queue;
  context.legacy.legacy = true;
  context.legacy.id = driver.next_id.fetch_add(1);
  add_stream(context.legacy);
  context.active = true;
  return CUDA_SUCCESS;
}

void close_context(Context& context) {
  wait_context(context);
  context.active = false;
  free_modules_of(context);
  free_arrays_of(context);
  free_memory_of(context);
  Queue& queue = context.queue();
  std::vector<Stream*> streams;
  {
    std::lock_guard<std::mutex> lock(driver.lock);
    streams.swap(context.streams);
  }
  for (Stream* stream : streams) {
    remove_stream(*stream);
    stream->tag = Tag{};  // kept: threads may still have it as their per-thread stream
  }
  remove_stream(context.legacy);
  context.legacy.tail = 0;
  context.blocking_tail = 0;
  context.peers.clear();
  refund(*driver.shared, queue.channel, context.charged);
  queue.shared_channel().contexts.fetch_sub(1);
}

CUresult make_context(CUcontext* out, unsigned flags, CUdevice device) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  auto* context = new Context;
  context->ordinal = device;
  context->flags = flags;
  if (const CUresult result = open_context(*context); result != CUDA_SUCCESS) {
    delete context;
    return result;
  }
  thread_state.stack.push_back(context);
  *out = handle<CUcontext>(context);
  return CUDA_SUCCESS;
}

Stream* per_thread_stream(Context& context) {
  for (const auto& [owner, stream] : thread_state.streams) {
    if (owner == &context && stream->tag == Tag::kStream) return stream;
  }
  auto* stream = new Stream;
  stream->context = &context;
  stream->queue = &context.queue();
  stream->id = driver.next_id.fetch_add(1);
  add_stream(*stream);
  std::lock_guard<std::mutex> lock(driver.lock);
  context.streams.push_back(stream);
  thread_state.streams.emplace_back(&context, stream);
  return stream;
}

}  // namespace

bool valid_ordinal(CUdevice device) { return device >= 0 && device < driver.device_count; }

CUresult ensure_channel(Queue& queue) {
  std::lock_guard<std::mutex> lock(queue.lock);
  if (driver.lives_dropped.load(std::memory_order_relaxed) > 0) adopt_lives();
  if (queue.channel >= 0) return CUDA_SUCCESS;
  reap(*driver.shared, queue.device);
  const int channel = claim_channel(*driver.shared, queue.device);
  if (channel < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  queue.channel = channel;
  thread_state.lives.push_back(channel);
  return CUDA_SUCCESS;
}

Context* current_context() { return thread_state.stack.empty() ? nullptr : thread_state.stack.back(); }

CUresult require_context(Context*& context) {
  context = current_context();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!context->active) return context->primary ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (driver.lives_dropped.load(std::memory_order_relaxed) > 0) ensure_channel(context->queue());
  return CUDA_SUCCESS;
}

CUresult find_context(CUcontext given, Context*& context) {
  context = object<Context>(given);
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  return context->active ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult find_stream(CUstream given, StreamMode mode, Stream*& stream) {
  const bool legacy = given == CU_STREAM_LEGACY || (given == nullptr && mode == StreamMode::kLegacy);
  if (!legacy && given != nullptr && given != CU_STREAM_PER_THREAD) {
    stream = object<Stream>(given);
    return stream == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
  }
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  stream = legacy ? &context->legacy : per_thread_stream(*context);
  if (legacy && captures_active.load(std::memory_order_relaxed) > 0) return forbid_implicit(*stream);
  return CUDA_SUCCESS;
}

void set_current(Context* context) {
  auto& stack = thread_state.stack;
  if (!stack.empty()) stack.pop_back();
  if (context != nullptr) stack.push_back(context);
}

Context* primary_of(int ordinal) {
  if (primaries[ordinal] == nullptr) {
    auto* context = new Context;
    context->ordinal = ordinal;
    context->primary = true;
    primaries[ordinal] = context;
  }
  return primaries[ordinal];
}

std::mutex primary_lock;

CUresult retain_primary(int ordinal, Context*& context) {
  std::lock_guard<std::mutex> lock(primary_lock);
  context = primary_of(ordinal);
  if (!context->active) {
    if (const CUresult result = open_context(*context); result != CUDA_SUCCESS) return result;
  }
  ++context->retained;
  return CUDA_SUCCESS;
}

}  // namespace sim

using namespace sim;

// --- primary contexts ------------------------------------------------------------------------------------------------

SIM_FN(cuDevicePrimaryCtxRetain, (CUcontext * out, CUdevice device), (out, device)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  Context* context = nullptr;
  const CUresult result = retain_primary(device, context);
  if (result == CUDA_SUCCESS) *out = handle<CUcontext>(context);
  return result;
}

static CUresult release_primary(CUdevice device, bool all) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard<std::mutex> lock(primary_lock);
  Context* context = primary_of(device);
  if (!context->active) return all ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
  if (!all && --context->retained > 0) return CUDA_SUCCESS;
  close_context(*context);
  context->retained = 0;
  return CUDA_SUCCESS;
}
SIM_FN(cuDevicePrimaryCtxRelease, (CUdevice device), (device)) { return release_primary(device, false); }
SIM_FN(cuDevicePrimaryCtxRelease_v2, (CUdevice device), (device)) { return release_primary(device, false); }
SIM_FN(cuDevicePrimaryCtxReset, (CUdevice device), (device)) { return release_primary(device, true); }
SIM_FN(cuDevicePrimaryCtxReset_v2, (CUdevice device), (device)) { return release_primary(device, true); }

static CUresult set_primary_flags(CUdevice device, unsigned flags) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard<std::mutex> lock(primary_lock);
  primary_of(device)->flags = flags;
  return CUDA_SUCCESS;
}
SIM_FN(cuDevicePrimaryCtxSetFlags, (CUdevice device, unsigned flags), (device, flags)) {
  std::unique_lock<std::mutex> lock(primary_lock);
  const bool active = valid_ordinal(device) && primary_of(device)->active;
  lock.unlock();
  return active ? CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE : set_primary_flags(device, flags);
}
SIM_FN(cuDevicePrimaryCtxSetFlags_v2, (CUdevice device, unsigned flags), (device, flags)) {
  return set_primary_flags(device, flags);
}
SIM_FN(cuDevicePrimaryCtxGetState, (CUdevice device, unsigned* flags, int* active), (device, flags, active)) {
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  if (flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard<std::mutex> lock(primary_lock);
  *flags = primary_of(device)->flags;
  *active = primary_of(device)->active ? 1 : 0;
  return CUDA_SUCCESS;
}

// --- created contexts ------------------------------------------------------------------------------------------------

SIM_FN(cuCtxCreate, (CUcontext * out, unsigned flags, CUdevice device), (out, flags, device)) {
  return make_context(out, flags, device);
}
SIM_FN(cuCtxCreate_v2, (CUcontext * out, unsigned flags, CUdevice device), (out, flags, device)) {
  return make_context(out, flags, device);
}
SIM_FN(cuCtxCreate_v3, (CUcontext * out, void* affinity, int count, unsigned flags, CUdevice device),
       (out, affinity, count, flags, device)) {
  if (count < 0 || (count > 0 && affinity == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  return make_context(out, flags, device);
}
SIM_FN(cuCtxCreate_v4, (CUcontext * out, CUctxCreateParams* params, unsigned flags, CUdevice device),
       (out, params, flags, device)) {
  if (params != nullptr && params->affinity_count < 0) return CUDA_ERROR_INVALID_VALUE;
  return make_context(out, flags, device);
}

static std::mutex attached_lock;
static auto& attached = kept_to_the_end<std::unordered_map<const Context*, int>>();  // cuCtxAttach less cuCtxDetach

static bool let_go(const Context* context) {
  std::lock_guard<std::mutex> lock(attached_lock);
  const auto found = attached.find(context);
  if (found == attached.end()) return false;
  if (--found->second == 0) attached.erase(found);
  return true;
}

static CUresult destroy_context(CUcontext given) {
  Context* context = nullptr;
  if (const CUresult result = find_context(given, context); result != CUDA_SUCCESS) return result;
  if (context->primary) return CUDA_ERROR_INVALID_CONTEXT;
  if (current_context() == context) set_current(nullptr);
  while (let_go(context)) {
  }
  close_context(*context);
  return CUDA_SUCCESS;
}
SIM_FN(cuCtxDestroy, (CUcontext context), (context)) { return destroy_context(context); }
SIM_FN(cuCtxDestroy_v2, (CUcontext context), (context)) { return destroy_context(context); }
// The last one ends the context.
SIM_FN(cuCtxDetach, (CUcontext given), (given)) {
  Context* context = nullptr;
  if (const CUresult result = find_context(given, context); result != CUDA_SUCCESS) return result;
  return let_go(context) ? CUDA_SUCCESS : destroy_context(given);
}
SIM_FN(cuCtxAttach, (CUcontext * out, unsigned flags), (out, flags)) {
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  const CUresult result = require_context(context);
  if (result != CUDA_SUCCESS) return result;
  std::lock_guard<std::mutex> lock(attached_lock);
  ++attached[context];
  *out = handle<CUcontext>(context);
  return result;
}

// --- the current one -------------------------------------------------------------------------------------------------

static CUresult push_context(CUcontext given) {
  Context* context = nullptr;
  if (const CUresult result = find_context(given, context); result != CUDA_SUCCESS) return result;
  thread_state.stack.push_back(context);
  return CUDA_SUCCESS;
}
SIM_FN(cuCtxPushCurrent, (CUcontext context), (context)) { return push_context(context); }
SIM_FN(cuCtxPushCurrent_v2, (CUcontext context), (context)) { return push_context(context); }

static CUresult pop_context(CUcontext* out) {
  if (thread_state.stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  if (out != nullptr) *out = handle<CUcontext>(thread_state.stack.back());
  thread_state.stack.pop_back();
  return CUDA_SUCCESS;
}
SIM_FN(cuCtxPopCurrent, (CUcontext * out), (out)) { return pop_context(out); }
SIM_FN(cuCtxPopCurrent_v2, (CUcontext * out), (out)) { return pop_context(out); }

SIM_FN(cuCtxSetCurrent, (CUcontext given), (given)) {
  if (given == nullptr) {
    set_current(nullptr);
    return CUDA_SUCCESS;
  }
  Context* context = nullptr;
  if (const CUresult result = find_context(given, context); result != CUDA_SUCCESS) return result;
  set_current(context);
  return CUDA_SUCCESS;
}
SIM_FN(cuCtxGetCurrent, (CUcontext * out), (out)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = handle<CUcontext>(current_context());
  return CUDA_SUCCESS;
}
SIM_FN(cuCtxGetDevice, (CUdevice * out), (out)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  const CUresult result = require_context(context);
  if (result == CUDA_SUCCESS) *out = context->ordinal;
  return result;
}
// With a context argument; NULL means the current one.
static CUresult given_or_current(CUcontext given, Context*& context) {
  return given == nullptr ? require_context(context) : find_context(given, context);
}
SIM_FN(cuCtxGetDevice_v2, (CUdevice * out, CUcontext given), (out, given)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  const CUresult result = given_or_current(given, context);
  if (result == CUDA_SUCCESS) *out = context->ordinal;
  return result;
}
static CUresult synchronize(CUcontext given) {
  Context* context = nullptr;
  if (const CUresult result = given_or_current(given, context); result != CUDA_SUCCESS) return result;
  if (const CUresult result = forbid_unsafe(); result != CUDA_SUCCESS) return result;
  wait_context(*context);
  trim_pools(context->ordinal);
  return CUDA_SUCCESS;
}
SIM_FN(cuCtxSynchronize, (), ()) { return synchronize(nullptr); }
SIM_FN(cuCtxSynchronize_v2, (CUcontext given), (given)) { return synchronize(given); }

// --- properties ------------------------------------------------------------------------------------------------------

SIM_FN(cuCtxGetId, (CUcontext given, unsigned long long* out), (given, out)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  const CUresult result = given_or_current(given, context);
  if (result == CUDA_SUCCESS) *out = context->id;
  return result;
}
SIM_FN(cuCtxGetApiVersion, (CUcontext given, unsigned* out), (given, out)) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  const CUresult result = given_or_current(given, context);
  if (result == CUDA_SUCCESS) *out = context->api_version;
  return result;
}

// Reads or writes one property of the current context.
template <class Use>
static CUresult with_current(const void* required, Use use) {
  if (required == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  const CUresult result = require_context(context);
  if (result != CUDA_SUCCESS) return result;
  return use(*context);
}
SIM_FN(cuCtxGetFlags, (unsigned* out), (out)) {
  return with_current(out, [&](Context& context) { return *out = context.flags, CUDA_SUCCESS; });
}
SIM_FN(cuCtxSetFlags, (unsigned flags), (flags)) {
  return with_current(&flags, [&](Context& context) { return context.flags = flags, CUDA_SUCCESS; });
}
SIM_FN(cuCtxGetLimit, (std::size_t * out, int limit), (out, limit)) {
  if (limit < 0 || limit >= kLimits) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  return with_current(out, [&](Context& context) { return *out = context.limits[limit], CUDA_SUCCESS; });
}
SIM_FN(cuCtxSetLimit, (int limit, std::size_t value), (limit, value)) {
  if (limit < 0 || limit >= kLimits) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  return with_current(&value, [&](Context& context) { return set_limit(context, limit, value); });
}
SIM_FN(cuCtxGetCacheConfig, (int* out), (out)) {
  return with_current(out, [&](Context& context) { return *out = context.cache_config, CUDA_SUCCESS; });
}
SIM_FN(cuCtxSetCacheConfig, (int config), (config)) {
  return with_current(&config, [&](Context& context) { return context.cache_config = config, CUDA_SUCCESS; });
}
SIM_FN(cuCtxGetSharedMemConfig, (int* out), (out)) {
  return with_current(out, [&](Context& context) { return *out = context.shared_config, CUDA_SUCCESS; });
}
SIM_FN(cuCtxSetSharedMemConfig, (int config), (config)) {
  return with_current(&config, [&](Context& context) { return context.shared_config = config, CUDA_SUCCESS; });
}
SIM_FN(cuCtxGetStreamPriorityRange, (int* least, int* greatest), (least, greatest)) {
  return with_current(&least, [&](Context&) {
    if (least != nullptr) *least = 0;
    if (greatest != nullptr) *greatest = -5;
    return CUDA_SUCCESS;
  });
}
SIM_FN(cuCtxResetPersistingL2Cache, (), ()) {
  static const int kAny = 0;
  return with_current(&kAny, [](Context&) { return CUDA_SUCCESS; });
}
static CUresult peer(CUcontext given, bool enable) {
  Context* other = nullptr;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  if (const CUresult result = find_context(given, other); result != CUDA_SUCCESS) return result;
  if (other->ordinal == context->ordinal) return CUDA_ERROR_INVALID_DEVICE;
  if (enable) {
    return context->peers.insert(other->ordinal).second ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
  }
  return context->peers.erase(other->ordinal) > 0 ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}
SIM_FN(cuCtxEnablePeerAccess, (CUcontext other, unsigned flags), (other, flags)) {
  return flags != 0 ? CUDA_ERROR_INVALID_VALUE : peer(other, true);
}
SIM_FN(cuCtxDisablePeerAccess, (CUcontext other), (other)) { return peer(other, false); }
