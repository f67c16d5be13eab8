// Hints on managed memory, and linking of images: accepted, with little to do.
#include <string.h>

#include <fcntl.h>
#include <unistd.h>

#include "capture.h"
#include "context.h"
#include "memory.h"

using namespace sim;

namespace {

CUresult advise(CUdeviceptr address, std::size_t bytes, int advice) {
  if (bytes == 0 || advice < 1 || advice > 6 || !is_accessible(address, bytes)) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

// Residency is not simulated; the move takes the time of a copy.
CUresult prefetch(Stream& stream, CUdeviceptr address, std::size_t bytes) {
  if (bytes == 0 || !is_accessible(address, bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (stream.capture != nullptr) return refuse_capture(stream);
  Work work;
  work.kind = Work::Kind::kTime;
  work.duration = copy_ns(device_at(stream.context->ordinal), bytes, true);
  submit(stream, std::move(work));
  return CUDA_SUCCESS;
}

CUresult range_attribute(void* data, std::size_t bytes, int attribute, CUdeviceptr address) {
  constexpr int kReadMostly = 1, kLastLocation = 8;
  if (data == nullptr || bytes < 4 || attribute < kReadMostly || attribute > kLastLocation)
    return CUDA_ERROR_INVALID_VALUE;
  if (!is_accessible(address, 1)) return CUDA_ERROR_INVALID_VALUE;
  memset(data, 0, bytes);
  if (attribute != kReadMostly) {  // no preference was stored
    const int kNowhere = -2;
    memcpy(data, &kNowhere, sizeof kNowhere);
  }
  return CUDA_SUCCESS;
}

struct Link : Object<Tag::kLink> {
  static constexpr Tag kTag = Tag::kLink;
  std::string image;
};

CUresult add_image(CUlinkState given, const void* data, std::size_t bytes) {
  Link* link = object<Link>(given);
  if (link == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (data == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  link->image.append(static_cast<const char*>(data), bytes);
  return CUDA_SUCCESS;
}

CUresult add_file(CUlinkState given, const char* path) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return CUDA_ERROR_FILE_NOT_FOUND;
  std::string text;
  char buffer[65536];
  ssize_t size;
  while ((size = read(file, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<std::size_t>(size));
  close(file);
  return add_image(given, text.data(), text.size());
}

CUresult make_link(CUlinkState* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  *out = handle<CUlinkState>(new Link);
  return CUDA_SUCCESS;
}

}  // namespace

SIM_FN(cuMemAdvise, (CUdeviceptr address, std::size_t bytes, int advice, CUdevice device),
       (address, bytes, advice, device)) {
  return advise(address, bytes, advice);
}
SIM_FN(cuMemAdvise_v2, (CUdeviceptr address, std::size_t bytes, int advice, CUmemLocation location),
       (address, bytes, advice, location)) {
  return advise(address, bytes, advice);
}
SIM_STREAM_FN(cuMemPrefetchAsync, (CUdeviceptr address, std::size_t bytes, CUdevice device, CUstream given),
              (address, bytes, device, given)) {
  constexpr CUdevice kHost = -1;
  if (device != kHost && !valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  return prefetch(*stream, address, bytes);
}
SIM_TWIN_FN_(cuMemPrefetchAsync_v2, cuMemPrefetchAsync_v2_ptsz,
             (CUdeviceptr address, std::size_t bytes, CUmemLocation location, unsigned flags, CUstream given),
             (address, bytes, location, flags, given)) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (location.type == kLocationDevice && !valid_ordinal(location.id)) return CUDA_ERROR_INVALID_DEVICE;
  Stream* stream = nullptr;
  if (const CUresult found = find_stream(given, mode, stream); found != CUDA_SUCCESS) return found;
  return prefetch(*stream, address, bytes);
}
SIM_FN(cuMemRangeGetAttribute,
       (void* data, std::size_t data_bytes, int attribute, CUdeviceptr address, std::size_t bytes),
       (data, data_bytes, attribute, address, bytes)) {
  return range_attribute(data, data_bytes, attribute, address);
}
SIM_FN(cuMemRangeGetAttributes,
       (void** data, std::size_t* data_bytes, int* attributes, std::size_t count, CUdeviceptr address,
        std::size_t bytes),
       (data, data_bytes, attributes, count, address, bytes)) {
  if (data == nullptr || data_bytes == nullptr || attributes == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    const CUresult result = range_attribute(data[i], data_bytes[i], attributes[i], address);
    if (result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

// --- linking: what is added, one piece after the other, is the image ---

SIM_FN(cuLinkCreate, (unsigned count, int* options, void** values, CUlinkState* out), (count, options, values, out)) {
  return make_link(out);
}
SIM_FN(cuLinkCreate_v2, (unsigned count, int* options, void** values, CUlinkState* out),
       (count, options, values, out)) {
  return make_link(out);
}
SIM_FN(cuLinkAddData,
       (CUlinkState link, int type, void* data, std::size_t bytes, const char* name, unsigned count, int* options,
        void** values),
       (link, type, data, bytes, name, count, options, values)) {
  return add_image(link, data, bytes);
}
SIM_FN(cuLinkAddData_v2,
       (CUlinkState link, int type, void* data, std::size_t bytes, const char* name, unsigned count, int* options,
        void** values),
       (link, type, data, bytes, name, count, options, values)) {
  return add_image(link, data, bytes);
}
SIM_FN(cuLinkAddFile, (CUlinkState link, int type, const char* path, unsigned count, int* options, void** values),
       (link, type, path, count, options, values)) {
  return add_file(link, path);
}
SIM_FN(cuLinkAddFile_v2, (CUlinkState link, int type, const char* path, unsigned count, int* options, void** values),
       (link, type, path, count, options, values)) {
  return add_file(link, path);
}
SIM_FN(cuLinkComplete, (CUlinkState given, void** image, std::size_t* bytes), (given, image, bytes)) {
  Link* link = object<Link>(given);
  if (link == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *image = link->image.data();
  if (bytes != nullptr) *bytes = link->image.size();
  return CUDA_SUCCESS;
}
SIM_FN(cuLinkDestroy, (CUlinkState given), (given)) {
  Link* link = object<Link>(given);
  if (link == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  delete link;
  return CUDA_SUCCESS;
}
