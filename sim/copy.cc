// cuMemcpy* and cuMemset*.
//
// Kernels change no memory here, so the bytes of a copy move when it is submitted; only behind deferred work
// (host functions that may fill a buffer) do they wait for their turn. The copy takes its time on the stream all the
// same. A set to zero gives whole pages back to the host instead of writing them.
#include "copy.h"

#include <string.h>
#include <sys/mman.h>

#include <algorithm>

#include "array.h"
#include "capture.h"
#include "context.h"
#include "memory.h"

namespace sim {
namespace {

struct End {
  char* base = nullptr;
  std::size_t pitch = 0, rows = 1;
  bool host = false;
};

// Where one side of a copy lies. `bytes` is how far it reaches beyond base.
CUresult find_end(int type, void* host, CUdeviceptr device, CUarray array_handle, std::size_t pitch, std::size_t rows,
                  End& end) {
  switch (type) {
    case kMemoryTypeHost:
      end = {static_cast<char*>(host), pitch, rows, true};
      return host == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    case kMemoryTypeDevice:
    case kMemoryTypeUnified:
      end = {reinterpret_cast<char*>(device), pitch, rows, false};
      return device == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    case kMemoryTypeArray: {
      const Array* array = object<Array>(array_handle);
      if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
      end = {reinterpret_cast<char*>(array->address), array->row(), array->rows(), false};
      return CUDA_SUCCESS;
    }
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

std::uint64_t reach(std::size_t width, std::size_t height, std::size_t depth, std::size_t pitch, std::size_t plane) {
  return width + (height - 1) * std::uint64_t{pitch} + (depth - 1) * std::uint64_t{plane};
}

CUDA_MEMCPY3D as_3d(const CUDA_MEMCPY2D& copy) {
  CUDA_MEMCPY3D full{};
  full.src_x = copy.src_x;
  full.src_y = copy.src_y;
  full.src_type = copy.src_type;
  full.src_host = copy.src_host;
  full.src_device = copy.src_device;
  full.src_array = copy.src_array;
  full.src_pitch = copy.src_pitch;
  full.dst_x = copy.dst_x;
  full.dst_y = copy.dst_y;
  full.dst_type = copy.dst_type;
  full.dst_host = copy.dst_host;
  full.dst_device = copy.dst_device;
  full.dst_array = copy.dst_array;
  full.dst_pitch = copy.dst_pitch;
  full.width = copy.width;
  full.height = copy.height;
  full.depth = 1;
  return full;
}

bool is_host(CUdeviceptr address) { return !is_device_address(address); }

Move linear(void* to, const void* from, std::size_t bytes, bool host_side) {
  Move move;
  move.to = static_cast<char*>(to);
  move.from = static_cast<const char*>(from);
  move.width = bytes;
  move.host_side = host_side;
  return move;
}

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

// Work that takes time on the stream and moves bytes: now if nothing is pending that might still change them.
template <class Payload>
void submit_bytes(Stream& stream, const Payload& payload, std::uint64_t duration) {
  Work work;
  work.kind = Work::Kind::kTime;
  work.duration = duration;
  work.counts = true;
  const bool now = stream.queue->deferring == 0;
  if (!now) work.action = [payload] { run(payload); };
  submit(stream, std::move(work));
  if (now) run(payload);  // after the time was taken: moving many bytes takes the host a while, too
}

CUresult submit_move(Stream& stream, const Move& move, bool wait) {
  if (stream.capture != nullptr) return wait ? refuse_capture(stream) : capture_copy(stream, move);
  if (move.bytes() == 0) return CUDA_SUCCESS;
  submit_bytes(stream, move, copy_ns(device_at(stream.context->ordinal), move.bytes(), move.host_side));
  if (wait) wait_idle(stream);
  return CUDA_SUCCESS;
}

CUresult submit_fill(Stream& stream, const Fill& fill) {
  if (const CUresult result = check(fill); result != CUDA_SUCCESS) return result;
  if (stream.capture != nullptr) return capture_fill(stream, fill);
  if (fill.bytes() == 0) return CUDA_SUCCESS;
  submit_bytes(stream, fill, copy_ns(device_at(stream.context->ordinal), fill.bytes(), false));
  return CUDA_SUCCESS;
}

enum class Side { kHost, kDevice };

CUresult copy_linear(CUstream given, StreamMode mode, void* to, Side to_side, const void* from, Side from_side,
                     std::size_t bytes, bool wait) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  if (bytes > 0 && (to == nullptr || from == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  if (to_side == Side::kDevice && !touch(reinterpret_cast<CUdeviceptr>(to), bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (from_side == Side::kDevice && !is_accessible(reinterpret_cast<CUdeviceptr>(from), bytes)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const bool host_side = to_side == Side::kHost || from_side == Side::kHost;
  return submit_move(*stream, linear(to, from, bytes, host_side), wait);
}

CUresult copy_3d(CUstream given, StreamMode mode, const CUDA_MEMCPY3D& copy, bool wait) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  Move move;
  if (const CUresult result = lay_out(copy, move); result != CUDA_SUCCESS) return result;
  return submit_move(*stream, move, wait);
}

CUresult copy_unified(CUstream given, StreamMode mode, CUdeviceptr to, CUdeviceptr from, std::size_t bytes, bool wait) {
  return copy_linear(given, mode, pointer(to), is_host(to) ? Side::kHost : Side::kDevice, pointer(from),
                     is_host(from) ? Side::kHost : Side::kDevice, bytes, wait);
}

// A stretch of an array, as the AtoX and XtoA calls see it: its rows one after the other.
CUresult array_at(CUarray given, std::size_t offset, std::size_t bytes, void** out) {
  const Array* array = object<Array>(given);
  if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (offset + bytes > array->bytes) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<char*>(array->address) + offset;
  return CUDA_SUCCESS;
}

CUresult fill_on(CUstream given, StreamMode mode, const Fill& fill) {
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  return submit_fill(*stream, fill);
}

}  // namespace

CUresult lay_out(const CUDA_MEMCPY3D& copy, Move& move) {
  const std::size_t height = std::max<std::size_t>(copy.height, 1), depth = std::max<std::size_t>(copy.depth, 1);
  End to, from;
  const std::size_t src_pitch = copy.src_pitch == 0 ? copy.width + copy.src_x : copy.src_pitch;
  const std::size_t dst_pitch = copy.dst_pitch == 0 ? copy.width + copy.dst_x : copy.dst_pitch;
  if (const CUresult result = find_end(copy.dst_type, copy.dst_host, copy.dst_device, copy.dst_array, dst_pitch,
                                       std::max(copy.dst_height, height), to);
      result != CUDA_SUCCESS) {
    return result;
  }
  if (const CUresult result = find_end(copy.src_type, const_cast<void*>(copy.src_host), copy.src_device, copy.src_array,
                                       src_pitch, std::max(copy.src_height, height), from);
      result != CUDA_SUCCESS) {
    return result;
  }
  if (to.pitch < copy.width || from.pitch < copy.width) return CUDA_ERROR_INVALID_VALUE;
  move.width = copy.width;
  move.height = height;
  move.depth = depth;
  move.to_pitch = to.pitch;
  move.to_plane = to.pitch * to.rows;
  move.from_pitch = from.pitch;
  move.from_plane = from.pitch * from.rows;
  move.to = to.base + copy.dst_x + copy.dst_y * to.pitch + copy.dst_z * move.to_plane;
  move.from = from.base + copy.src_x + copy.src_y * from.pitch + copy.src_z * move.from_plane;
  move.host_side = to.host || from.host;
  if (move.width == 0) return CUDA_SUCCESS;
  const auto target = reinterpret_cast<CUdeviceptr>(move.to);
  const auto source = reinterpret_cast<CUdeviceptr>(move.from);
  if (!to.host && !touch(target, reach(move.width, height, depth, move.to_pitch, move.to_plane))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (!from.host && !is_accessible(source, reach(move.width, height, depth, move.from_pitch, move.from_plane))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult check(const Fill& fill) {
  if (fill.to % fill.element != 0) return CUDA_ERROR_INVALID_VALUE;
  if (fill.height > 1 && fill.pitch < fill.width * fill.element) return CUDA_ERROR_INVALID_VALUE;
  if (fill.bytes() == 0) return CUDA_SUCCESS;
  const std::uint64_t bytes = fill.width * fill.element + (fill.height - 1) * std::uint64_t{fill.pitch};
  if (!is_accessible(fill.to, bytes)) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

void run(const Move& move) {
  for (std::size_t z = 0; z < move.depth; ++z) {
    for (std::size_t y = 0; y < move.height; ++y) {
      memmove(move.to + z * move.to_plane + y * move.to_pitch, move.from + z * move.from_plane + y * move.from_pitch,
              move.width);
    }
  }
}

namespace {

// Zeroes without populating: untouched pages are zero already, whole private pages are given back.
void zero(CUdeviceptr address, std::size_t bytes) {
  constexpr std::size_t kPage = 4096, kWorthwhile = 256 * 1024;
  bool given_back = false;
  {
    std::lock_guard<std::mutex> lock(memory_lock);
    if (Allocation* allocation = find_allocation(address)) {
      if (allocation->is_zero()) return;
      allocation->touched = true;
      given_back = !allocation->backed && bytes >= kWorthwhile;
    }
  }
  char* begin = static_cast<char*>(pointer(address));
  char* end = begin + bytes;
  if (given_back) {
    char* first = static_cast<char*>(pointer(round_up(address, kPage)));
    char* last = static_cast<char*>(pointer((address + bytes) / kPage * kPage));
    memset(begin, 0, static_cast<std::size_t>(first - begin));
    madvise(first, static_cast<std::size_t>(last - first), MADV_DONTNEED);
    begin = last;
  }
  memset(begin, 0, static_cast<std::size_t>(end - begin));
}

template <class T>
void fill_row(CUdeviceptr address, std::uint32_t value, std::size_t count) {
  std::fill_n(static_cast<T*>(pointer(address)), count, static_cast<T>(value));
}

}  // namespace

void run(const Fill& fill) {
  for (std::size_t y = 0; y < fill.height; ++y) {
    const CUdeviceptr row = fill.to + y * fill.pitch;
    if (fill.value == 0) {
      zero(row, fill.width * fill.element);
      continue;
    }
    if (y == 0) touch(row, fill.width * fill.element);
    if (fill.element == 1) fill_row<std::uint8_t>(row, fill.value, fill.width);
    if (fill.element == 2) fill_row<std::uint16_t>(row, fill.value, fill.width);
    if (fill.element == 4) fill_row<std::uint32_t>(row, fill.value, fill.width);
  }
}

}  // namespace sim

using namespace sim;

// --- linear copies ---

#define SIM_LINEAR(name, parameters, arguments, to, to_side, from, from_side)                 \
  SIM_TWIN_FN_(name##_v2, name##_v2_ptds, parameters, arguments) {                            \
    return copy_linear(nullptr, mode, to, Side::to_side, from, Side::from_side, bytes, true); \
  }
SIM_LINEAR(cuMemcpyHtoD, (CUdeviceptr to, const void* from, std::size_t bytes), (to, from, bytes), pointer(to), kDevice,
           from, kHost)
SIM_LINEAR(cuMemcpyDtoH, (void* to, CUdeviceptr from, std::size_t bytes), (to, from, bytes), to, kHost, pointer(from),
           kDevice)
SIM_TWIN_FN_(cuMemcpyDtoD_v2, cuMemcpyDtoD_v2_ptds, (CUdeviceptr to, CUdeviceptr from, std::size_t bytes),
             (to, from, bytes)) {
  return copy_linear(nullptr, mode, pointer(to), Side::kDevice, pointer(from), Side::kDevice, bytes, false);
}
SIM_TWIN_FN_(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync_v2_ptsz,
             (CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream), (to, from, bytes, stream)) {
  return copy_linear(stream, mode, pointer(to), Side::kDevice, from, Side::kHost, bytes, false);
}
SIM_TWIN_FN_(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync_v2_ptsz,
             (void* to, CUdeviceptr from, std::size_t bytes, CUstream stream), (to, from, bytes, stream)) {
  return copy_linear(stream, mode, to, Side::kHost, pointer(from), Side::kDevice, bytes, false);
}
SIM_TWIN_FN_(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync_v2_ptsz,
             (CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream), (to, from, bytes, stream)) {
  return copy_linear(stream, mode, pointer(to), Side::kDevice, pointer(from), Side::kDevice, bytes, false);
}
SIM_SYNC_FN(cuMemcpy, (CUdeviceptr to, CUdeviceptr from, std::size_t bytes), (to, from, bytes)) {
  return copy_unified(nullptr, mode, to, from, bytes, is_host(to) || is_host(from));
}
SIM_STREAM_FN(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream),
              (to, from, bytes, stream)) {
  return copy_unified(stream, mode, to, from, bytes, false);
}
SIM_SYNC_FN(cuMemcpyPeer,
            (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, std::size_t bytes),
            (to, to_context, from, from_context, bytes)) {
  return copy_linear(nullptr, mode, pointer(to), Side::kDevice, pointer(from), Side::kDevice, bytes, false);
}
SIM_STREAM_FN(cuMemcpyPeerAsync,
              (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, std::size_t bytes,
               CUstream stream),
              (to, to_context, from, from_context, bytes, stream)) {
  return copy_linear(stream, mode, pointer(to), Side::kDevice, pointer(from), Side::kDevice, bytes, false);
}

static CUresult copy_batch(CUstream stream, StreamMode mode, const CUdeviceptr* to, const CUdeviceptr* from,
                           const std::size_t* bytes, std::size_t count, std::size_t* failed) {
  if (count > 0 && (to == nullptr || from == nullptr || bytes == nullptr)) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    const CUresult result = copy_unified(stream, mode, to[i], from[i], bytes[i], false);
    if (result == CUDA_SUCCESS) continue;
    if (failed != nullptr) *failed = i;
    return result;
  }
  return CUDA_SUCCESS;
}
SIM_STREAM_FN(cuMemcpyBatchAsync,
              (CUdeviceptr * to, CUdeviceptr* from, std::size_t* bytes, std::size_t count,
               CUmemcpyAttributes* attributes, std::size_t* indices, std::size_t attribute_count, std::size_t* failed,
               CUstream stream),
              (to, from, bytes, count, attributes, indices, attribute_count, failed, stream)) {
  return copy_batch(stream, mode, to, from, bytes, count, failed);
}
SIM_TWIN_FN_(cuMemcpyBatchAsync_v2, cuMemcpyBatchAsync_v2_ptsz,
             (CUdeviceptr * to, CUdeviceptr* from, std::size_t* bytes, std::size_t count,
              CUmemcpyAttributes* attributes, std::size_t* indices, std::size_t attribute_count, CUstream stream),
             (to, from, bytes, count, attributes, indices, attribute_count, stream)) {
  return copy_batch(stream, mode, to, from, bytes, count, nullptr);
}

// --- shaped copies ---

#define SIM_SHAPED(name, twin, type, convert)                                                  \
  SIM_TWIN_FN_(name, twin, (const type* copy), (copy)) {                                       \
    return copy == nullptr ? CUDA_ERROR_INVALID_VALUE : copy_3d(nullptr, mode, convert, true); \
  }
#define SIM_SHAPED_ASYNC(name, twin, type, convert)                                            \
  SIM_TWIN_FN_(name, twin, (const type* copy, CUstream stream), (copy, stream)) {              \
    return copy == nullptr ? CUDA_ERROR_INVALID_VALUE : copy_3d(stream, mode, convert, false); \
  }
SIM_SHAPED(cuMemcpy2D_v2, cuMemcpy2D_v2_ptds, CUDA_MEMCPY2D, as_3d(*copy))
SIM_SHAPED(cuMemcpy2DUnaligned_v2, cuMemcpy2DUnaligned_v2_ptds, CUDA_MEMCPY2D, as_3d(*copy))
SIM_SHAPED(cuMemcpy3D_v2, cuMemcpy3D_v2_ptds, CUDA_MEMCPY3D, *copy)
SIM_SHAPED(cuMemcpy3DPeer, cuMemcpy3DPeer_ptds, CUDA_MEMCPY3D, *copy)
SIM_SHAPED_ASYNC(cuMemcpy2DAsync_v2, cuMemcpy2DAsync_v2_ptsz, CUDA_MEMCPY2D, as_3d(*copy))
SIM_SHAPED_ASYNC(cuMemcpy3DAsync_v2, cuMemcpy3DAsync_v2_ptsz, CUDA_MEMCPY3D, *copy)
SIM_SHAPED_ASYNC(cuMemcpy3DPeerAsync, cuMemcpy3DPeerAsync_ptsz, CUDA_MEMCPY3D, *copy)

// --- arrays, byte by byte ---

#define SIM_ARRAY_AT(variable, array, offset) \
  void* variable = nullptr;                   \
  if (const CUresult result = array_at(array, offset, bytes, &variable); result != CUDA_SUCCESS) return result

SIM_TWIN_FN_(cuMemcpyDtoA_v2, cuMemcpyDtoA_v2_ptds,
             (CUarray to, std::size_t offset, CUdeviceptr from, std::size_t bytes), (to, offset, from, bytes)) {
  SIM_ARRAY_AT(target, to, offset);
  return copy_linear(nullptr, mode, target, Side::kDevice, pointer(from), Side::kDevice, bytes, false);
}
SIM_TWIN_FN_(cuMemcpyAtoD_v2, cuMemcpyAtoD_v2_ptds,
             (CUdeviceptr to, CUarray from, std::size_t offset, std::size_t bytes), (to, from, offset, bytes)) {
  SIM_ARRAY_AT(source, from, offset);
  return copy_linear(nullptr, mode, pointer(to), Side::kDevice, source, Side::kDevice, bytes, false);
}
SIM_TWIN_FN_(cuMemcpyHtoA_v2, cuMemcpyHtoA_v2_ptds,
             (CUarray to, std::size_t offset, const void* from, std::size_t bytes), (to, offset, from, bytes)) {
  SIM_ARRAY_AT(target, to, offset);
  return copy_linear(nullptr, mode, target, Side::kDevice, from, Side::kHost, bytes, true);
}
SIM_TWIN_FN_(cuMemcpyAtoH_v2, cuMemcpyAtoH_v2_ptds, (void* to, CUarray from, std::size_t offset, std::size_t bytes),
             (to, from, offset, bytes)) {
  SIM_ARRAY_AT(source, from, offset);
  return copy_linear(nullptr, mode, to, Side::kHost, source, Side::kDevice, bytes, true);
}
SIM_TWIN_FN_(cuMemcpyAtoA_v2, cuMemcpyAtoA_v2_ptds,
             (CUarray to, std::size_t to_offset, CUarray from, std::size_t from_offset, std::size_t bytes),
             (to, to_offset, from, from_offset, bytes)) {
  SIM_ARRAY_AT(target, to, to_offset);
  SIM_ARRAY_AT(source, from, from_offset);
  return copy_linear(nullptr, mode, target, Side::kDevice, source, Side::kDevice, bytes, false);
}
SIM_TWIN_FN_(cuMemcpyHtoAAsync_v2, cuMemcpyHtoAAsync_v2_ptsz,
             (CUarray to, std::size_t offset, const void* from, std::size_t bytes, CUstream stream),
             (to, offset, from, bytes, stream)) {
  SIM_ARRAY_AT(target, to, offset);
  return copy_linear(stream, mode, target, Side::kDevice, from, Side::kHost, bytes, false);
}
SIM_TWIN_FN_(cuMemcpyAtoHAsync_v2, cuMemcpyAtoHAsync_v2_ptsz,
             (void* to, CUarray from, std::size_t offset, std::size_t bytes, CUstream stream),
             (to, from, offset, bytes, stream)) {
  SIM_ARRAY_AT(source, from, offset);
  return copy_linear(stream, mode, to, Side::kHost, source, Side::kDevice, bytes, false);
}

// --- sets ---

#define SIM_SETS(bits, type, bytes)                                                                              \
  SIM_TWIN_FN_(cuMemsetD##bits##_v2, cuMemsetD##bits##_v2_ptds, (CUdeviceptr to, type value, std::size_t count), \
               (to, value, count)) {                                                                             \
    return fill_on(nullptr, mode, {to, 0, value, bytes, count, 1});                                              \
  }                                                                                                              \
  SIM_TWIN_FN_(cuMemsetD2D##bits##_v2, cuMemsetD2D##bits##_v2_ptds,                                              \
               (CUdeviceptr to, std::size_t pitch, type value, std::size_t width, std::size_t height),           \
               (to, pitch, value, width, height)) {                                                              \
    return fill_on(nullptr, mode, {to, pitch, value, bytes, width, height});                                     \
  }                                                                                                              \
  SIM_TWIN_FN_(cuMemsetD##bits##Async, cuMemsetD##bits##Async_ptsz,                                              \
               (CUdeviceptr to, type value, std::size_t count, CUstream stream), (to, value, count, stream)) {   \
    return fill_on(stream, mode, {to, 0, value, bytes, count, 1});                                               \
  }                                                                                                              \
  SIM_TWIN_FN_(                                                                                                  \
      cuMemsetD2D##bits##Async, cuMemsetD2D##bits##Async_ptsz,                                                   \
      (CUdeviceptr to, std::size_t pitch, type value, std::size_t width, std::size_t height, CUstream stream),   \
      (to, pitch, value, width, height, stream)) {                                                               \
    return fill_on(stream, mode, {to, pitch, value, bytes, width, height});                                      \
  }
SIM_SETS(8, unsigned char, 1)
SIM_SETS(16, unsigned short, 2)
SIM_SETS(32, unsigned, 4)
