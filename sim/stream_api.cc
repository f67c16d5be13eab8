// cuStream*: streams, waiting, host functions, values in memory. Capturing is in capture.cc.
#include <string.h>

#include "capture.h"
#include "context.h"
#include "memory.h"
#include "pool.h"

using namespace sim;

namespace {

CUresult make_stream(CUstream* out, unsigned flags, int priority) {
  if (out == nullptr || flags > kStreamNonBlocking) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  auto* stream = new Stream;
  stream->context = context;
  stream->queue = &context->queue();
  stream->flags = flags;
  stream->priority = priority > 0 ? 0 : priority < -5 ? -5 : priority;
  stream->id = driver.next_id.fetch_add(1);
  add_stream(*stream);
  std::lock_guard<std::mutex> lock(driver.lock);
  context->streams.push_back(stream);
  *out = handle<CUstream>(stream);
  return CUDA_SUCCESS;
}

// As the real one: work still on the stream goes on; the handle is gone at once.
CUresult destroy_stream(CUstream given) {
  Stream* stream = object<Stream>(given);
  if (stream == nullptr || stream->legacy) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture != nullptr) abandon_capture(*stream);
  bool deferred = false;
  {
    std::lock_guard<std::mutex> lock(stream->queue->lock);
    deferred = !stream->deferred.empty();
  }
  if (deferred) wait_idle(*stream);
  remove_stream(*stream);
  {
    std::lock_guard<std::mutex> lock(driver.lock);
    std::erase(stream->context->streams, stream);
  }
  delete stream;
  return CUDA_SUCCESS;
}

bool holds(std::uint64_t now, std::uint64_t value, unsigned flags, bool wide) {
  const std::uint64_t mask = wide ? ~std::uint64_t{0} : 0xffffffff;
  switch (flags & 3) {
    case 0: {
      const std::uint64_t difference = (now - value) & mask;
      return (difference >> (wide ? 63 : 31)) == 0;  // cyclic >=
    }
    case 1:
      return ((now ^ value) & mask) == 0;
    case 2:
      return (now & value & mask) != 0;
    default:
      return (~(now | value) & mask) != 0;
  }
}

std::uint64_t read_value(CUdeviceptr address, bool wide) {
  if (wide) return __atomic_load_n(reinterpret_cast<std::uint64_t*>(address), __ATOMIC_ACQUIRE);
  return __atomic_load_n(reinterpret_cast<std::uint32_t*>(address), __ATOMIC_ACQUIRE);
}

CUresult wait_value(Stream& stream, CUdeviceptr address, std::uint64_t value, unsigned flags, bool wide) {
  if (address % (wide ? 8 : 4) != 0 || !is_accessible(address, wide ? 8 : 4)) return CUDA_ERROR_INVALID_VALUE;
  if (stream.capture != nullptr) return refuse_capture(stream);
  Work work;
  work.kind = Work::Kind::kWaitValue;
  work.ready = [=] { return holds(read_value(address, wide), value, flags, wide); };
  submit(stream, std::move(work));
  return CUDA_SUCCESS;
}

CUresult write_value(Stream& stream, CUdeviceptr address, std::uint64_t value, bool wide) {
  if (address % (wide ? 8 : 4) != 0 || !touch(address, wide ? 8 : 4)) return CUDA_ERROR_INVALID_VALUE;
  if (stream.capture != nullptr) return refuse_capture(stream);
  Work work;
  work.kind = Work::Kind::kHost;  // like a host function: what came before must be done when it is seen
  work.user_data = reinterpret_cast<void*>(address);
  work.action = [=] {
    if (wide) {
      __atomic_store_n(reinterpret_cast<std::uint64_t*>(address), value, __ATOMIC_RELEASE);
    } else {
      __atomic_store_n(reinterpret_cast<std::uint32_t*>(address), static_cast<std::uint32_t>(value), __ATOMIC_RELEASE);
    }
  };
  submit(stream, std::move(work));
  settle(*stream.queue);
  return CUDA_SUCCESS;
}

CUresult batch(Stream& stream, unsigned count, const CUstreamBatchMemOpParams* list) {
  if (list == nullptr && count > 0) return CUDA_ERROR_INVALID_VALUE;
  constexpr int kWait32 = 1, kWrite32 = 2, kWait64 = 4, kWrite64 = 5, kBarrier = 6, kFlush = 3;
  for (unsigned i = 0; i < count; ++i) {
    const auto& op = list[i].value;
    CUresult result = CUDA_SUCCESS;
    if (op.operation == kWait32) {
      result = wait_value(stream, op.address, op.value32, op.flags, false);
    } else if (op.operation == kWait64) {
      result = wait_value(stream, op.address, op.value64, op.flags, true);
    } else if (op.operation == kWrite32) {
      result = write_value(stream, op.address, op.value32, false);
    } else if (op.operation == kWrite64) {
      result = write_value(stream, op.address, op.value64, true);
    } else if (op.operation != kBarrier && op.operation != kFlush) {
      result = CUDA_ERROR_INVALID_VALUE;
    }
    if (result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

}  // namespace

#define SIM_FIND_STREAM(given) \
  Stream* stream = nullptr;    \
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found

SIM_FN(cuStreamCreate, (CUstream * out, unsigned flags), (out, flags)) { return make_stream(out, flags, 0); }
SIM_FN(cuStreamCreateWithPriority, (CUstream * out, unsigned flags, int priority), (out, flags, priority)) {
  return make_stream(out, flags, priority);
}
SIM_FN(cuStreamDestroy, (CUstream stream), (stream)) { return destroy_stream(stream); }
SIM_FN(cuStreamDestroy_v2, (CUstream stream), (stream)) { return destroy_stream(stream); }

SIM_STREAM_FN(cuStreamSynchronize, (CUstream given), (given)) {
  SIM_FIND_STREAM(given);
  if (const CUresult result = forbid_in_capture(stream); result != CUDA_SUCCESS) return result;
  wait_idle(*stream);
  trim_pools(stream->context->ordinal);
  return CUDA_SUCCESS;
}
SIM_STREAM_FN(cuStreamQuery, (CUstream given), (given)) {
  SIM_FIND_STREAM(given);
  if (const CUresult result = forbid_in_capture(stream); result != CUDA_SUCCESS) return result;
  return is_idle(*stream) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
SIM_STREAM_FN(cuStreamWaitEvent, (CUstream given, CUevent waited, unsigned flags), (given, waited, flags)) {
  SIM_FIND_STREAM(given);
  Event* event = object<Event>(waited);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (flags > 1) return CUDA_ERROR_INVALID_VALUE;
  return wait_event(*stream, *event, flags);
}

// --- host functions --------------------------------------------------------------------------------------------------

SIM_STREAM_FN(cuLaunchHostFunc, (CUstream given, CUhostFn function, void* user_data), (given, function, user_data)) {
  SIM_FIND_STREAM(given);
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture != nullptr) return capture_host(*stream, function, user_data);
  Work work;
  work.kind = Work::Kind::kHost;
  work.host = function;
  work.user_data = user_data;
  work.counts = false;
  submit(*stream, std::move(work));
  return CUDA_SUCCESS;
}
SIM_STREAM_FN(cuStreamAddCallback, (CUstream given, CUstreamCallback callback, void* user_data, unsigned flags),
              (given, callback, user_data, flags)) {
  SIM_FIND_STREAM(given);
  if (callback == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture != nullptr) return refuse_capture(*stream);
  Work work;
  work.kind = Work::Kind::kCallback;
  work.callback = callback;
  work.user_data = user_data;
  submit(*stream, std::move(work));
  return CUDA_SUCCESS;
}

// --- values in memory ------------------------------------------------------------------------------------------------

#define SIM_VALUE_FNS(suffix)                                                                    \
  SIM_TWIN_FN_(cuStreamWaitValue32##suffix, cuStreamWaitValue32##suffix##_ptsz,                  \
               (CUstream given, CUdeviceptr address, std::uint32_t value, unsigned flags),       \
               (given, address, value, flags)) {                                                 \
    SIM_FIND_STREAM(given);                                                                      \
    return wait_value(*stream, address, value, flags, false);                                    \
  }                                                                                              \
  SIM_TWIN_FN_(cuStreamWaitValue64##suffix, cuStreamWaitValue64##suffix##_ptsz,                  \
               (CUstream given, CUdeviceptr address, std::uint64_t value, unsigned flags),       \
               (given, address, value, flags)) {                                                 \
    SIM_FIND_STREAM(given);                                                                      \
    return wait_value(*stream, address, value, flags, true);                                     \
  }                                                                                              \
  SIM_TWIN_FN_(cuStreamWriteValue32##suffix, cuStreamWriteValue32##suffix##_ptsz,                \
               (CUstream given, CUdeviceptr address, std::uint32_t value, unsigned flags),       \
               (given, address, value, flags)) {                                                 \
    SIM_FIND_STREAM(given);                                                                      \
    return write_value(*stream, address, value, false);                                          \
  }                                                                                              \
  SIM_TWIN_FN_(cuStreamWriteValue64##suffix, cuStreamWriteValue64##suffix##_ptsz,                \
               (CUstream given, CUdeviceptr address, std::uint64_t value, unsigned flags),       \
               (given, address, value, flags)) {                                                 \
    SIM_FIND_STREAM(given);                                                                      \
    return write_value(*stream, address, value, true);                                           \
  }                                                                                              \
  SIM_TWIN_FN_(cuStreamBatchMemOp##suffix, cuStreamBatchMemOp##suffix##_ptsz,                    \
               (CUstream given, unsigned count, CUstreamBatchMemOpParams* list, unsigned flags), \
               (given, count, list, flags)) {                                                    \
    SIM_FIND_STREAM(given);                                                                      \
    return flags != 0 ? CUDA_ERROR_INVALID_VALUE : batch(*stream, count, list);                  \
  }
SIM_VALUE_FNS()
SIM_VALUE_FNS(_v2)

// --- properties ------------------------------------------------------------------------------------------------------

#define SIM_STREAM_PROPERTY(symbol, type, expression)                 \
  SIM_STREAM_FN(symbol, (CUstream given, type * out), (given, out)) { \
    SIM_FIND_STREAM(given);                                           \
    if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;              \
    *out = expression;                                                \
    return CUDA_SUCCESS;                                              \
  }
SIM_STREAM_PROPERTY(cuStreamGetPriority, int, stream->priority)
SIM_STREAM_PROPERTY(cuStreamGetFlags, unsigned, stream->flags)
SIM_STREAM_PROPERTY(cuStreamGetId, unsigned long long, stream->id)
SIM_STREAM_PROPERTY(cuStreamGetCtx, CUcontext, handle<CUcontext>(stream->context))
SIM_STREAM_PROPERTY(cuStreamGetDevice, CUdevice, stream->context->ordinal)

SIM_TWIN_FN_(cuStreamGetCtx_v2, cuStreamGetCtx_v2_ptsz, (CUstream given, CUcontext* out, void** green),
             (given, out, green)) {
  SIM_FIND_STREAM(given);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = handle<CUcontext>(stream->context);
  if (green != nullptr) *green = nullptr;
  return CUDA_SUCCESS;
}
SIM_STREAM_FN(cuStreamCopyAttributes, (CUstream to, CUstream from), (to, from)) {
  Stream* source = nullptr;
  if (const CUresult found = find_stream(from, mode, source); found != CUDA_SUCCESS) return found;
  SIM_FIND_STREAM(to);
  stream->priority = source->priority;
  return CUDA_SUCCESS;
}
// The one attribute with an effect anybody could see is the priority; the others read as zero.
SIM_STREAM_FN(cuStreamGetAttribute, (CUstream given, int attribute, void* value), (given, attribute, value)) {
  SIM_FIND_STREAM(given);
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  constexpr int kPriority = 8;
  memset(value, 0, 64);
  if (attribute == kPriority) memcpy(value, &stream->priority, sizeof stream->priority);
  return CUDA_SUCCESS;
}
SIM_STREAM_FN(cuStreamSetAttribute, (CUstream given, int attribute, const void* value), (given, attribute, value)) {
  SIM_FIND_STREAM(given);
  return value == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
SIM_STREAM_FN(cuStreamAttachMemAsync, (CUstream given, CUdeviceptr address, std::size_t bytes, unsigned flags),
              (given, address, bytes, flags)) {
  SIM_FIND_STREAM(given);
  return is_accessible(address, 1) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
