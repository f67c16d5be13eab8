// A random walk through everything that one process can allocate on a device, in the current context.
//
// One thread may walk; several walks may go on in several threads, each its own.
#pragma once

#include <random>
#include <utility>
#include <vector>

#include "memory_program.h"

namespace memory_program {

class Walk {
 public:
  // How far a walk may go: what code takes is measured, and so only right while no other process moves.
  enum class With { Everything, OtherThreads, OtherProcesses };
  explicit Walk(unsigned seed, With with = With::Everything) : random_(seed), with_(with) {}

  const char* step() {
    struct Move {
      const char* name;
      void (Walk::*act)();
    };
    static constexpr Move kMoves[] = {{"cuMemAlloc", &Walk::allocate},
                                      {"cuMemAllocPitch", &Walk::allocate_pitch},
                                      {"cuMemAllocManaged", &Walk::allocate_managed},
                                      {"cuMemFree", &Walk::free_one},
                                      {"cuMemFree", &Walk::free_one},
                                      {"a refused cuMemFree", &Walk::free_nothing},
                                      {"a senseless call", &Walk::ask_nonsense},
                                      {"cuMemAllocAsync", &Walk::allocate_async},
                                      {"cuMemAllocFromPoolAsync", &Walk::allocate_from_pool},
                                      {"cuMemPool*", &Walk::change_pools},
                                      {"a synchronisation", &Walk::synchronize},
                                      {"cuMemCreate", &Walk::create_handle},
                                      {"cuMemMap", &Walk::map_handle},
                                      {"cuMemUnmap", &Walk::unmap_one},
                                      {"cuMemRelease", &Walk::release_handle},
                                      {"cuMemRetainAllocationHandle", &Walk::retain_handle},
                                      {"cuArrayCreate", &Walk::create_array},
                                      {"cuArrayDestroy", &Walk::destroy_array},
                                      {"cuModuleLoad", &Walk::load_module},
                                      {"cuModuleUnload", &Walk::unload_module}};
    const std::size_t all = sizeof kMoves / sizeof kMoves[0];
    const Move& move = kMoves[below(with_ == With::OtherProcesses ? all - 2 : all)];
    (this->*move.act)();
    return move.name;
  }

  void change_code() { below(2) == 0 ? load_module() : unload_module(); }

  void end_everything() {
    while (!pointers_.empty()) free_one();
    while (!handles_.empty()) release_handle();
    while (!maps_.empty()) unmap_one();
    while (!arrays_.empty() || !mipmaps_.empty()) destroy_array();
    while (!modules_.empty()) unload_module();
    for (const CUmemoryPool pool : pools_) CHECK_OK(cuMemPoolDestroy(pool));
    pools_.clear();
    CUmemoryPool pool;
    if (cuDeviceGetDefaultMemPool(&pool, ordinal) == CUDA_SUCCESS) CHECK_OK(cuMemPoolTrimTo(pool, 0));
    CHECK_OK(cuCtxSynchronize());
  }

 private:
  struct Map {
    CUdeviceptr at;
    std::size_t bytes;
  };

  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : random_() % n; }
  std::uint64_t some_bytes() {
    constexpr std::uint64_t kMost[] = {600, 64 << 10, kMiB, 3 * kMiB, 20 * kMiB};
    return 1 + below(kMost[below(5)]);
  }
  template <class T>
  T pick_out(std::vector<T>& from) {
    std::swap(from[below(from.size())], from.back());
    const T one = from.back();
    from.pop_back();
    return one;
  }
  // An allocation may be refused for lack of room; nothing else is accepted.
  template <class T>
  void keep(CUresult result, std::vector<T>& in, T made) {
    if (result == CUDA_SUCCESS)
      in.push_back(made);
    else
      CHECK(result == CUDA_ERROR_OUT_OF_MEMORY || result == kNotSupported, "answered %d", result);
  }

  void allocate() {
    CUdeviceptr pointer = 0;
    const CUresult result = cuMemAlloc_v2(&pointer, some_bytes());
    keep(result, pointers_, pointer);
  }
  void allocate_pitch() {
    CUdeviceptr pointer = 0;
    std::size_t pitch = 0;
    const CUresult result = cuMemAllocPitch_v2(&pointer, &pitch, 1 + below(5000), 1 + below(3000), 4);
    keep(result, pointers_, pointer);
  }
  void allocate_managed() {
    CUdeviceptr pointer = 0;
    const CUresult result = cuMemAllocManaged(&pointer, some_bytes(), 1);
    keep(result, pointers_, pointer);
  }
  void free_one() {
    if (pointers_.empty()) return;
    const CUdeviceptr pointer = pick_out(pointers_);
    CUresult result;
    if (below(2) == 0)
      result = cuMemFree_v2(pointer);
    else
      result = below(2) == 0 ? cuMemFreeAsync(pointer, nullptr) : cuMemFreeAsync_ptsz(pointer, nullptr);
    CHECK_OK(result);
  }
  void free_nothing() {
    CUdeviceptr pointer = 0;
    // With others about, the second free might hit what one of them was given in between.
    if (with_ != With::OtherThreads && cuMemAlloc_v2(&pointer, some_bytes()) == CUDA_SUCCESS) {
      CHECK_OK(cuMemFree_v2(pointer));
      CHECK(cuMemFree_v2(pointer) != CUDA_SUCCESS, "freed twice");
    }
    CHECK(cuMemFree_v2(0x1234567) != CUDA_SUCCESS, "freed what was never allocated");
    cuMemFree_v2(0);  // drivers differ
  }
  void ask_nonsense() {
    CUdeviceptr pointer = 0;
    CHECK(cuMemAlloc_v2(nullptr, 4096) == CUDA_ERROR_INVALID_VALUE, "a null pointer was accepted");
    CHECK(cuMemAlloc_v2(&pointer, 0) == CUDA_ERROR_INVALID_VALUE, "no bytes were accepted");
    CHECK(cuMemAlloc_v2(&pointer, SIZE_MAX) == CUDA_ERROR_OUT_OF_MEMORY, "everything was given");
    CHECK(cuMemAlloc_v2(&pointer, SIZE_MAX / 2) == CUDA_ERROR_OUT_OF_MEMORY, "half of everything was given");
    CHECK(cuMemAllocAsync(&pointer, SIZE_MAX - 5, nullptr) == CUDA_ERROR_OUT_OF_MEMORY, "everything was given");
  }

  void allocate_async() {
    CUdeviceptr pointer = 0;
    const std::uint64_t bytes = some_bytes();
    const CUresult result =
        below(2) == 0 ? cuMemAllocAsync(&pointer, bytes, nullptr) : cuMemAllocAsync_ptsz(&pointer, bytes, nullptr);
    keep(result, pointers_, pointer);
  }
  void allocate_from_pool() {
    if (pools_.empty()) return change_pools();
    CUdeviceptr pointer = 0;
    const CUresult result = cuMemAllocFromPoolAsync(&pointer, some_bytes(), pools_[below(pools_.size())], nullptr);
    keep(result, pointers_, pointer);
  }
  void change_pools() {
    const auto what = below(4);
    if (pools_.empty() || (what == 0 && pools_.size() < 5)) {
      CUmemPoolProps properties{};
      properties.alloc_type = 1;
      properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
      CUmemoryPool pool = nullptr;
      const CUresult result = cuMemPoolCreate(&pool, &properties);
      keep(result, pools_, pool);
    } else if (what == 1) {
      CHECK_OK(cuMemPoolTrimTo(pools_[below(pools_.size())], below(3) * kMiB));
    } else if (what == 2) {
      std::uint64_t threshold = below(2) == 0 ? 0 : UINT64_MAX;
      CHECK_OK(cuMemPoolSetAttribute(pools_[below(pools_.size())], 4, &threshold));
    } else if (pointers_.empty()) {
      CHECK_OK(cuMemPoolDestroy(pick_out(pools_)));
    }
  }
  void synchronize() {
    if (below(2) == 0)
      CHECK_OK(cuCtxSynchronize());
    else
      CHECK_OK(cuStreamSynchronize(nullptr));
  }

  void create_handle() {
    CUmemAllocationProp properties{};
    properties.type = 1;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, ordinal};
    CUmemGenericAllocationHandle handle = 0;
    const CUresult result = cuMemCreate(&handle, (1 + below(4)) * kBlock, &properties, 0);
    keep(result, handles_, handle);
  }
  // Two mappings end to end, to be unmapped at one stroke.
  void map_handle() {
    if (handles_.empty() || maps_.size() > 50) return;
    const CUmemGenericAllocationHandle handle = handles_[below(handles_.size())];
    CUdeviceptr at = 0;
    if (cuMemAddressReserve(&at, 2 * kBlock, 0, 0, 0) != CUDA_SUCCESS) return;
    const std::size_t count = 1 + below(2);
    for (std::size_t i = 0; i < count; ++i)
      if (cuMemMap(at + i * kBlock, kBlock, 0, handle, 0) != CUDA_SUCCESS) return;
    maps_.push_back({at, count * kBlock});
  }
  void unmap_one() {
    if (maps_.empty()) return;
    const Map map = pick_out(maps_);
    CHECK_OK(cuMemUnmap(map.at, map.bytes));
  }
  void release_handle() {
    if (!handles_.empty()) CHECK_OK(cuMemRelease(pick_out(handles_)));
  }
  void retain_handle() {
    if (maps_.empty()) return;
    const Map map = maps_[below(maps_.size())];
    CUmemGenericAllocationHandle handle = 0;
    const CUresult result = cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(map.at + below(map.bytes)));
    keep(result, handles_, handle);
  }

  void create_array() {
    CUDA_ARRAY3D_DESCRIPTOR shape{1 + below(500), below(300), 0, 0x20, 1U << below(3), 0};
    if (shape.height != 0) shape.depth = below(5);
    if (below(3) == 0) {
      shape.height += 1;
      CUmipmappedArray mipmap = nullptr;
      const CUresult result = cuMipmappedArrayCreate(&mipmap, &shape, 1 + static_cast<unsigned>(below(4)));
      return keep(result, mipmaps_, mipmap);
    }
    CUarray array = nullptr;
    const CUDA_ARRAY_DESCRIPTOR flat{shape.width, shape.height, shape.format, shape.channels};
    const CUresult result = shape.depth == 0 ? cuArrayCreate_v2(&array, &flat) : cuArray3DCreate_v2(&array, &shape);
    keep(result, arrays_, array);
  }
  void destroy_array() {
    if (!arrays_.empty())
      CHECK_OK(cuArrayDestroy(pick_out(arrays_)));
    else if (!mipmaps_.empty())
      CHECK_OK(cuMipmappedArrayDestroy(pick_out(mipmaps_)));
  }

  void load_module() {
    CUmodule module = nullptr;
    const CUresult result = cuModuleLoadData(&module, "");
    keep(result, modules_, module);
  }
  void unload_module() {
    if (!modules_.empty()) CHECK_OK(cuModuleUnload(pick_out(modules_)));
  }

  std::mt19937 random_;
  const With with_;
  std::vector<CUdeviceptr> pointers_;
  std::vector<CUmemoryPool> pools_;
  std::vector<CUmemGenericAllocationHandle> handles_;
  std::vector<Map> maps_;
  std::vector<CUarray> arrays_;
  std::vector<CUmipmappedArray> mipmaps_;
  std::vector<CUmodule> modules_;
};

}  // namespace memory_program
