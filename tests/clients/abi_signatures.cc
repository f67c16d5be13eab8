// Prints what the functions and structures of the driver's interface look like in memory, one line each: built once
// with our declarations and once, with -DREAL_HEADERS, with NVIDIA's. The two must not differ. functions.inc holds a
// line FUNCTION(symbol, typedef of cudaTypedefs.h) for each hooked function that the headers know.
#include <cstddef>
#include <cstdio>
#include <string>
#include <type_traits>

#ifdef REAL_HEADERS
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cudaTypedefs.h>
#define FUNCTION(symbol, type) print(#symbol, static_cast<type>(nullptr));
#define FIELD(structure, ours, theirs) \
  print_field<decltype(structure::theirs)>(#structure "." #ours, offsetof(structure, theirs));
#else
#include "shim/abi.h"
#define FUNCTION(symbol, type) print(#symbol, static_cast<decltype(&::symbol)>(nullptr));
#define FIELD(structure, ours, theirs) \
  print_field<decltype(structure::ours)>(#structure "." #ours, offsetof(structure, ours));
#endif
#define SIZE(structure) std::printf("sizeof %s %zu\n", #structure, sizeof(structure));

namespace {

// How a value is passed: the class of register, and its width.
template <class T>
std::string passed_as() {
  if constexpr (std::is_pointer_v<T>) return "pointer";
  if constexpr (std::is_void_v<T>) return "nothing";
  if constexpr (std::is_floating_point_v<T>) return "float" + std::to_string(sizeof(T));
  if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) return "integer" + std::to_string(sizeof(T));
  if constexpr (std::is_class_v<T> || std::is_union_v<T>) return "structure" + std::to_string(sizeof(T));
}

template <class R, class... A>
void print(const char* name, R (*)(A...)) {
  std::string text = passed_as<R>() + " " + name + "(";
  ((text += passed_as<A>() + " "), ...);
  std::printf("%s)\n", text.c_str());
}

template <class T>
void print_field(const char* name, std::size_t offset) {
  std::printf("%s at %zu, %zu bytes\n", name, offset, sizeof(T));
}

}  // namespace

int main() {
#include "functions.inc"
  SIZE(CUuuid)
  SIZE(CUmemLocation)
  SIZE(CUmemAllocationProp)
  FIELD(CUmemAllocationProp, type, type)
  FIELD(CUmemAllocationProp, requested_handle_types, requestedHandleTypes)
  FIELD(CUmemAllocationProp, location, location)
  SIZE(CUmemPoolProps)
  FIELD(CUmemPoolProps, handle_types, handleTypes)
  FIELD(CUmemPoolProps, location, location)
  FIELD(CUmemPoolProps, max_size, maxSize)
  SIZE(CUlaunchConfig)
  FIELD(CUlaunchConfig, grid_x, gridDimX)
  FIELD(CUlaunchConfig, grid_z, gridDimZ)
  FIELD(CUlaunchConfig, block_x, blockDimX)
  FIELD(CUlaunchConfig, shared_bytes, sharedMemBytes)
  FIELD(CUlaunchConfig, stream, hStream)
  FIELD(CUlaunchConfig, attributes, attrs)
  SIZE(CUDA_LAUNCH_PARAMS)
  FIELD(CUDA_LAUNCH_PARAMS, function, function)
  FIELD(CUDA_LAUNCH_PARAMS, grid_x, gridDimX)
  FIELD(CUDA_LAUNCH_PARAMS, stream, hStream)
  SIZE(CUDA_ARRAY_DESCRIPTOR)
  FIELD(CUDA_ARRAY_DESCRIPTOR, width, Width)
  FIELD(CUDA_ARRAY_DESCRIPTOR, format, Format)
  FIELD(CUDA_ARRAY_DESCRIPTOR, channels, NumChannels)
  SIZE(CUDA_ARRAY3D_DESCRIPTOR)
  FIELD(CUDA_ARRAY3D_DESCRIPTOR, depth, Depth)
  FIELD(CUDA_ARRAY3D_DESCRIPTOR, flags, Flags)
  SIZE(CUDA_ARRAY_MEMORY_REQUIREMENTS)
  FIELD(CUDA_ARRAY_MEMORY_REQUIREMENTS, size, size)
  SIZE(CUDA_EXTERNAL_MEMORY_BUFFER_DESC)
  FIELD(CUDA_EXTERNAL_MEMORY_BUFFER_DESC, size, size)
  SIZE(CUipcMemHandle)
  SIZE(CUDA_GRAPH_INSTANTIATE_PARAMS)
  FIELD(CUDA_GRAPH_INSTANTIATE_PARAMS, upload_stream, hUploadStream)
  FIELD(CUDA_GRAPH_INSTANTIATE_PARAMS, error_node, hErrNode_out)
  FIELD(CUDA_GRAPH_INSTANTIATE_PARAMS, result, result_out)
  return 0;
}
