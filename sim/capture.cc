#include "capture.h"
namespace sim {
CUresult capture_kernel(Stream&, const Launch&, const KernelCost&) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult capture_host(Stream&, CUhostFn, void*) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult capture_record(Stream&, Event&, unsigned) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult capture_wait(Stream&, Event&, unsigned) { return CUDA_ERROR_NOT_SUPPORTED; }
CUresult refuse_capture(Stream&) { return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED; }
CUresult forbid_in_capture(Stream*) { return CUDA_SUCCESS; }
void abandon_capture(Stream&) {}
}  // namespace sim
