// Arrays and mipmapped arrays: device memory with a shape. Their bytes lie row by row, without padding.
#pragma once

#include <memory>
#include <vector>

#include "memory.h"

namespace sim {

struct Mipmap;

struct Array : Object<Tag::kArray> {
  static constexpr Tag kTag = Tag::kArray;
  Context* context = nullptr;
  CUDA_ARRAY3D_DESCRIPTOR shape{};
  std::uint64_t element = 0;  // bytes
  CUdeviceptr address = 0;
  std::uint64_t bytes = 0;
  Mipmap* parent = nullptr;  // a level belongs to its mipmapped array

  std::uint64_t row() const { return shape.width * element; }
  std::uint64_t rows() const { return shape.height == 0 ? 1 : shape.height; }
};

struct Mipmap : Object<Tag::kMipmap> {
  static constexpr Tag kTag = Tag::kMipmap;
  Context* context = nullptr;
  CUdeviceptr address = 0;
  std::uint64_t bytes = 0;
  std::vector<std::unique_ptr<Array>> levels;
};

}  // namespace sim
