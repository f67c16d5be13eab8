#include "array.h"

#include <algorithm>
#include <unordered_set>

#include "context.h"

namespace sim {
namespace {

std::mutex array_lock;
auto& arrays = kept_to_the_end<std::unordered_set<Array*>>();
auto& mipmaps = kept_to_the_end<std::unordered_set<Mipmap*>>();

constexpr std::uint64_t kRowUnit = 512;  // a row of an array takes a multiple of this, as with pitched memory

std::uint64_t format_bytes(int format) {
  switch (format) {
    case 0x01:  // unsigned and signed 8 bit
    case 0x08:
      return 1;
    case 0x02:  // 16 bit, half
    case 0x09:
    case 0x10:
      return 2;
    case 0x03:  // 32 bit, float
    case 0x0a:
    case 0x20:
      return 4;
    default:
      return 0;
  }
}

bool is_good(const CUDA_ARRAY3D_DESCRIPTOR& shape) {
  const bool channels = shape.channels == 1 || shape.channels == 2 || shape.channels == 4;
  return shape.width > 0 && channels && format_bytes(shape.format) > 0 && shape.width <= 131072 &&
         shape.height <= 131072 && shape.depth <= 16384;
}

// What the device sets aside: rows padded, everything in allocation units.
std::uint64_t charged_bytes(const CUDA_ARRAY3D_DESCRIPTOR& shape, std::uint64_t element) {
  return round_up(shape.width * element, kRowUnit) * std::max<std::uint64_t>(shape.height, 1) *
         std::max<std::uint64_t>(shape.depth, 1);
}

CUresult make_array(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR& shape) {
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  if (out == nullptr || !is_good(shape)) return CUDA_ERROR_INVALID_VALUE;
  auto array = std::make_unique<Array>();
  array->context = context;
  array->shape = shape;
  array->element = format_bytes(shape.format) * shape.channels;
  array->bytes = charged_bytes(shape, array->element);
  const CUresult result = allocate(*context, array->bytes, MemoryKind::kArray, &array->address);
  if (result != CUDA_SUCCESS) return result;
  std::lock_guard<std::mutex> lock(array_lock);
  arrays.insert(array.get());
  *out = handle<CUarray>(array.release());
  return CUDA_SUCCESS;
}

void free_address(CUdeviceptr address) {
  std::unique_lock<std::mutex> lock(memory_lock);
  Allocation* allocation = find_allocation(address);
  lock.unlock();
  if (allocation != nullptr) release(allocation);
}

CUDA_ARRAY3D_DESCRIPTOR level_shape(CUDA_ARRAY3D_DESCRIPTOR shape, unsigned level) {
  const auto halve = [&](std::size_t size) { return size == 0 ? 0 : std::max<std::size_t>(size >> level, 1); };
  shape.width = halve(shape.width);
  shape.height = halve(shape.height);
  shape.depth = halve(shape.depth);
  return shape;
}

}  // namespace

void free_arrays_of(Context& context) {
  std::lock_guard<std::mutex> lock(array_lock);
  std::erase_if(arrays, [&](Array* array) {
    if (array->context != &context) return false;
    free_address(array->address);
    delete array;
    return true;
  });
  std::erase_if(mipmaps, [&](Mipmap* mipmap) {
    if (mipmap->context != &context) return false;
    free_address(mipmap->address);
    delete mipmap;
    return true;
  });
}

}  // namespace sim

using namespace sim;

SIM_FN(cuArrayCreate_v2, (CUarray * out, const CUDA_ARRAY_DESCRIPTOR* shape), (out, shape)) {
  if (shape == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return make_array(out, {shape->width, shape->height, 0, shape->format, shape->channels, 0});
}
SIM_FN(cuArray3DCreate_v2, (CUarray * out, const CUDA_ARRAY3D_DESCRIPTOR* shape), (out, shape)) {
  return shape == nullptr ? CUDA_ERROR_INVALID_VALUE : make_array(out, *shape);
}
SIM_FN(cuArrayDestroy, (CUarray given), (given)) {
  Array* array = object<Array>(given);
  if (array == nullptr || array->parent != nullptr) return CUDA_ERROR_INVALID_HANDLE;
  free_address(array->address);
  std::lock_guard<std::mutex> lock(array_lock);
  arrays.erase(array);
  delete array;
  return CUDA_SUCCESS;
}
SIM_FN(cuArrayGetDescriptor_v2, (CUDA_ARRAY_DESCRIPTOR * out, CUarray given), (out, given)) {
  const Array* array = object<Array>(given);
  if (out == nullptr || array == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = {array->shape.width, array->shape.height, array->shape.format, array->shape.channels};
  return CUDA_SUCCESS;
}
SIM_FN(cuArray3DGetDescriptor_v2, (CUDA_ARRAY3D_DESCRIPTOR * out, CUarray given), (out, given)) {
  const Array* array = object<Array>(given);
  if (out == nullptr || array == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = array->shape;
  return CUDA_SUCCESS;
}

// Only arrays made for late mapping may be asked, as with the real driver; those have no memory of their own there.
// Here every array answers, so that a program can learn what one costs.
static CUresult requirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* out, std::uint64_t bytes, CUdevice device) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!valid_ordinal(device)) return CUDA_ERROR_INVALID_DEVICE;
  *out = {rounded(bytes), bytes < kMiB ? kSmallUnit : 65536, {0, 0, 0, 0}};
  return CUDA_SUCCESS;
}
SIM_FN(cuArrayGetMemoryRequirements, (CUDA_ARRAY_MEMORY_REQUIREMENTS * out, CUarray given, CUdevice device),
       (out, given, device)) {
  const Array* array = object<Array>(given);
  return array == nullptr ? CUDA_ERROR_INVALID_HANDLE : requirements(out, array->bytes, device);
}
SIM_FN(cuMipmappedArrayGetMemoryRequirements,
       (CUDA_ARRAY_MEMORY_REQUIREMENTS * out, CUmipmappedArray given, CUdevice device), (out, given, device)) {
  const Mipmap* mipmap = object<Mipmap>(given);
  return mipmap == nullptr ? CUDA_ERROR_INVALID_HANDLE : requirements(out, mipmap->bytes, device);
}

SIM_FN(cuMipmappedArrayCreate, (CUmipmappedArray * out, const CUDA_ARRAY3D_DESCRIPTOR* shape, unsigned levels),
       (out, shape, levels)) {
  Context* context = nullptr;
  if (const CUresult result = require_context(context); result != CUDA_SUCCESS) return result;
  if (out == nullptr || shape == nullptr || !is_good(*shape) || levels == 0) return CUDA_ERROR_INVALID_VALUE;
  auto mipmap = std::make_unique<Mipmap>();
  mipmap->context = context;
  const std::uint64_t largest = std::max({shape->width, shape->height, shape->depth});
  const auto most = static_cast<unsigned>(64 - __builtin_clzll(largest));
  for (unsigned i = 0; i < std::min(levels, most); ++i) {
    auto level = std::make_unique<Array>();
    level->context = context;
    level->shape = level_shape(*shape, i);
    level->element = format_bytes(shape->format) * shape->channels;
    level->bytes = charged_bytes(level->shape, level->element);
    level->parent = mipmap.get();
    level->address = mipmap->bytes;  // an offset until the whole has its place
    mipmap->bytes += level->bytes;
    mipmap->levels.push_back(std::move(level));
  }
  const CUresult result = allocate(*context, mipmap->bytes, MemoryKind::kArray, &mipmap->address);
  if (result != CUDA_SUCCESS) return result;
  for (auto& level : mipmap->levels) level->address += mipmap->address;
  std::lock_guard<std::mutex> lock(array_lock);
  mipmaps.insert(mipmap.get());
  *out = handle<CUmipmappedArray>(mipmap.release());
  return CUDA_SUCCESS;
}
SIM_FN(cuMipmappedArrayGetLevel, (CUarray * out, CUmipmappedArray given, unsigned level), (out, given, level)) {
  const Mipmap* mipmap = object<Mipmap>(given);
  if (out == nullptr || mipmap == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (level >= mipmap->levels.size()) return CUDA_ERROR_INVALID_VALUE;
  *out = handle<CUarray>(mipmap->levels[level].get());
  return CUDA_SUCCESS;
}
SIM_FN(cuMipmappedArrayDestroy, (CUmipmappedArray given), (given)) {
  Mipmap* mipmap = object<Mipmap>(given);
  if (mipmap == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  free_address(mipmap->address);
  std::lock_guard<std::mutex> lock(array_lock);
  mipmaps.erase(mipmap);
  delete mipmap;
  return CUDA_SUCCESS;
}
