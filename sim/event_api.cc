// cuEvent*: points in simulated time.
#include "capture.h"
#include "context.h"
#include "device_internal.h"
#include "launch.h"
#include "pool.h"

using namespace sim;

namespace {

CUresult find_event(CUevent given, Event*& event) {
  event = object<Event>(given);
  return event == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult record(Stream& stream, CUevent given, unsigned flags) {
  Event* event = nullptr;
  if (const CUresult result = find_event(given, event); result != CUDA_SUCCESS) return result;
  if (stream.capture != nullptr) return capture_record(stream, *event, flags);
  if (event->imported) return CUDA_ERROR_NOT_SUPPORTED;
  event->capture = nullptr;
  Work work;
  work.kind = Work::Kind::kRecord;
  work.timed = (event->flags & kEventDisableTiming) == 0;
  work.record = std::make_shared<Record>();
  work.record->queue = stream.queue;
  RecordPtr record = work.record;
  submit(stream, std::move(work));
  event->record = record;
  if (event->shared != nullptr && record->state == Record::State::kPlaced) {
    event->shared->channel = static_cast<std::uint32_t>(stream.queue->channel);
    event->shared->target = record->v;
  }
  return CUDA_SUCCESS;
}

// An event of another process: reached when that process's virtual time is, or when it is gone.
bool foreign_reached(const SharedEvent& shared) {
  const std::uint64_t target = shared.target;
  if (target == 0) return true;
  const Channel& channel = driver.shared->channels[shared.channel];
  TimeGuard guard(*driver.shared, channel.device);
  advance(*driver.shared, channel.device);
  return channel.state != ChannelState::kLive || channel.vtime >= target;
}

CUresult query(Event& event) {
  if (event.capture != nullptr) return CUDA_ERROR_CAPTURED_EVENT;
  if (event.imported) return foreign_reached(*event.shared) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
  const RecordPtr record = event.record;
  return record == nullptr || is_reached(*record) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult elapsed(float* out, CUevent first, CUevent second) {
  Event* start = nullptr;
  Event* end = nullptr;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = find_event(first, start); result != CUDA_SUCCESS) return result;
  if (const CUresult result = find_event(second, end); result != CUDA_SUCCESS) return result;
  const RecordPtr from = start->record;
  const RecordPtr to = end->record;
  if (from == nullptr || to == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (((start->flags | end->flags) & kEventDisableTiming) != 0) return CUDA_ERROR_INVALID_HANDLE;
  if (!is_reached(*from) || !is_reached(*to)) return CUDA_ERROR_NOT_READY;
  const auto difference = static_cast<std::int64_t>(wall_time(*to) - wall_time(*from));
  *out = static_cast<float>(static_cast<double>(difference) / 1e6);
  return CUDA_SUCCESS;
}

}  // namespace

namespace sim {

CUresult record_on(Stream& stream, CUevent event) { return record(stream, event, 0); }

CUresult wait_event(Stream& stream, Event& event, unsigned flags) {
  if (stream.capture != nullptr || event.capture != nullptr) return capture_wait(stream, event, flags);
  Work work;
  if (event.imported) {
    work.kind = Work::Kind::kWaitValue;
    const SharedEvent* shared = event.shared;
    const std::uint64_t target = shared->target;
    const std::uint32_t channel = shared->channel;
    work.ready = [=] {
      const Channel& other = driver.shared->channels[channel];
      return target == 0 || other.state != ChannelState::kLive || other.vtime >= target;
    };
  } else {
    if (event.record == nullptr) return CUDA_SUCCESS;
    work.kind = Work::Kind::kWaitRecord;
    work.record = event.record;
  }
  submit(stream, std::move(work));
  return CUDA_SUCCESS;
}

}  // namespace sim

SIM_FN(cuEventCreate, (CUevent * out, unsigned flags), (out, flags)) {
  if (out == nullptr || flags > 7) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & kEventInterprocess) != 0 && (flags & kEventDisableTiming) == 0) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  auto* event = new Event;
  event->context = context;
  event->flags = flags;
  *out = handle<CUevent>(event);
  return CUDA_SUCCESS;
}

static CUresult destroy_event(CUevent given) {
  Event* event = nullptr;
  if (const CUresult result = find_event(given, event); result != CUDA_SUCCESS) return result;
  if (event->shared != nullptr && !event->imported) {
    TableGuard guard(*driver.shared);
    event->shared->state = 0;
  }
  delete event;
  return CUDA_SUCCESS;
}
SIM_FN(cuEventDestroy, (CUevent event), (event)) { return destroy_event(event); }
SIM_FN(cuEventDestroy_v2, (CUevent event), (event)) { return destroy_event(event); }

SIM_STREAM_FN(cuEventRecord, (CUevent event, CUstream given), (event, given)) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  return record(*stream, event, 0);
}
SIM_STREAM_FN(cuEventRecordWithFlags, (CUevent event, CUstream given, unsigned flags), (event, given, flags)) {
  if (flags > 1) return CUDA_ERROR_INVALID_VALUE;
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  return record(*stream, event, flags);
}
SIM_FN(cuEventQuery, (CUevent given), (given)) {
  Event* event = nullptr;
  if (const CUresult result = find_event(given, event); result != CUDA_SUCCESS) return result;
  return query(*event);
}
SIM_FN(cuEventSynchronize, (CUevent given), (given)) {
  Event* event = nullptr;
  if (const CUresult result = find_event(given, event); result != CUDA_SUCCESS) return result;
  if (event->capture != nullptr) return CUDA_ERROR_CAPTURED_EVENT;
  if (event->imported) {
    wait_foreign(*event->context, [&] { return foreign_reached(*event->shared); });
    return CUDA_SUCCESS;
  }
  const RecordPtr record = event->record;
  if (record != nullptr) wait_reached(*record, (event->flags & kEventBlockingSync) == 0);
  trim_pools(event->context->ordinal);
  return CUDA_SUCCESS;
}
SIM_FN(cuEventElapsedTime, (float* out, CUevent start, CUevent end), (out, start, end)) {
  return elapsed(out, start, end);
}
SIM_FN(cuEventElapsedTime_v2, (float* out, CUevent start, CUevent end), (out, start, end)) {
  return elapsed(out, start, end);
}

static CUresult context_event(CUcontext given, CUevent waited, bool recording) {
  Context* context = nullptr;
  Event* event = nullptr;
  if (const CUresult result = find_context(given, context); result != CUDA_SUCCESS) return result;
  if (const CUresult result = find_event(waited, event); result != CUDA_SUCCESS) return result;
  return recording ? record(context->legacy, waited, 0) : wait_event(context->legacy, *event, 0);
}
SIM_FN(cuCtxRecordEvent, (CUcontext context, CUevent event), (context, event)) {
  return context_event(context, event, true);
}
SIM_FN(cuCtxWaitEvent, (CUcontext context, CUevent event), (context, event)) {
  return context_event(context, event, false);
}
