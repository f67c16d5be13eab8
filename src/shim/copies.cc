// Copies, sets and prefetches that a stream does later: they wait while the grant is suspended, and are the driver's
// own otherwise. What a thread waits for anyhow (the forms without Async) and what a graph holds is not held here.
#include "shim/launch.h"
#include "shim/route.h"
#include "shim/suspend.h"

using namespace kiboko::shim;

#define KIBOKO_COPY(function, as_known, parameters, arguments) \
  SHIM_EXPORT CUresult function parameters {                   \
    KIBOKO_DRIVER(function);                                   \
    hold_if_suspended(as_known);                               \
    return real.function arguments;                            \
  }
#define KIBOKO_COPIES(function, parameters, arguments) \
  KIBOKO_COPY(function, stream, parameters, arguments) \
  KIBOKO_COPY(function##_ptsz, per_thread(stream), parameters, arguments)

KIBOKO_COPIES(cuMemPrefetchAsync, (CUdeviceptr pointer, std::size_t bytes, CUdevice device, CUstream stream),
              (pointer, bytes, device, stream))
KIBOKO_COPIES(cuMemPrefetchAsync_v2,
              (CUdeviceptr pointer, std::size_t bytes, CUmemLocation location, unsigned flags, CUstream stream),
              (pointer, bytes, location, flags, stream))
KIBOKO_COPY(cuMemcpy2DAsync, stream, (const void* copy, CUstream stream), (copy, stream))
KIBOKO_COPIES(cuMemcpy2DAsync_v2, (const void* copy, CUstream stream), (copy, stream))
KIBOKO_COPY(cuMemcpy3DAsync, stream, (const void* copy, CUstream stream), (copy, stream))
KIBOKO_COPIES(cuMemcpy3DAsync_v2, (const void* copy, CUstream stream), (copy, stream))
KIBOKO_COPIES(cuMemcpy3DPeerAsync, (const void* copy, CUstream stream), (copy, stream))
KIBOKO_COPIES(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream),
              (to, from, bytes, stream))
KIBOKO_COPY(cuMemcpyDtoDAsync, stream, (CUdeviceptr_v1 to, CUdeviceptr_v1 from, unsigned bytes, CUstream stream),
            (to, from, bytes, stream))
KIBOKO_COPIES(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream),
              (to, from, bytes, stream))
KIBOKO_COPY(cuMemcpyDtoHAsync, stream, (void* to, CUdeviceptr_v1 from, unsigned bytes, CUstream stream),
            (to, from, bytes, stream))
KIBOKO_COPIES(cuMemcpyDtoHAsync_v2, (void* to, CUdeviceptr from, std::size_t bytes, CUstream stream),
              (to, from, bytes, stream))
KIBOKO_COPY(cuMemcpyHtoDAsync, stream, (CUdeviceptr_v1 to, const void* from, unsigned bytes, CUstream stream),
            (to, from, bytes, stream))
KIBOKO_COPIES(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream),
              (to, from, bytes, stream))
KIBOKO_COPIES(cuMemcpyPeerAsync,
              (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, std::size_t bytes,
               CUstream stream),
              (to, to_context, from, from_context, bytes, stream))
KIBOKO_COPIES(cuMemsetD16Async, (CUdeviceptr to, unsigned short value, std::size_t count, CUstream stream),
              (to, value, count, stream))
KIBOKO_COPIES(cuMemsetD2D16Async,
              (CUdeviceptr to, std::size_t pitch, unsigned short value, std::size_t width, std::size_t height,
               CUstream stream),
              (to, pitch, value, width, height, stream))
KIBOKO_COPIES(cuMemsetD2D32Async,
              (CUdeviceptr to, std::size_t pitch, unsigned value, std::size_t width, std::size_t height,
               CUstream stream),
              (to, pitch, value, width, height, stream))
KIBOKO_COPIES(cuMemsetD2D8Async,
              (CUdeviceptr to, std::size_t pitch, unsigned char value, std::size_t width, std::size_t height,
               CUstream stream),
              (to, pitch, value, width, height, stream))
KIBOKO_COPIES(cuMemsetD32Async, (CUdeviceptr to, unsigned value, std::size_t count, CUstream stream),
              (to, value, count, stream))
KIBOKO_COPIES(cuMemsetD8Async, (CUdeviceptr to, unsigned char value, std::size_t count, CUstream stream),
              (to, value, count, stream))
