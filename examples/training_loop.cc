// A training job: each step launches eight kernels without waiting, and every tenth step looks at the loss, that is,
// waits for the device. It would take the whole device if it could, so it shows what a share of compute means:
// compare its steps per second with and without a limit.
//
// With --managed its memory is managed memory, which the driver may move between host and device.
#include "cuda_min.h"
#include "example.h"

namespace {

constexpr int kKernelsPerStep = 8;
constexpr int kStepsPerLook = 10;

CUdeviceptr allocate(const Options& options) {
  CUdeviceptr memory = 0;
  if (options.managed) {
    CUDA_CHECK(cuMemAllocManaged(&memory, options.memory, CU_MEM_ATTACH_GLOBAL));
  } else {
    CUDA_CHECK(cuMemAlloc_v2(&memory, options.memory));
  }
  CUDA_CHECK(cuMemsetD8_v2(memory, 0, options.memory));  // makes managed memory live on the device
  return memory;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  const char* device = cuda_open();
  const CUfunction spin = load_spin();
  const CUdeviceptr memory = allocate(options);
  CUstream stream = nullptr;
  CUevent before = nullptr, after = nullptr;
  CUDA_CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUDA_CHECK(cuEventCreate(&before, 0));
  CUDA_CHECK(cuEventCreate(&after, 0));

  std::uint64_t steps = 0;
  std::vector<double> round_ms;  // ten steps each, by the device's clock
  const Clock clock(options.seconds);
  while (clock.running()) {
    CUDA_CHECK(cuEventRecord(before, stream));
    for (int step = 0; step < kStepsPerLook; ++step) {
      for (int i = 0; i < kKernelsPerStep; ++i) launch_spin(spin, stream, options.kernel_us * 1000);
    }
    CUDA_CHECK(cuEventRecord(after, stream));
    CUDA_CHECK(cuEventSynchronize(after));
    float milliseconds = 0;
    CUDA_CHECK(cuEventElapsedTime(&milliseconds, before, after));
    round_ms.push_back(milliseconds);
    steps += kStepsPerLook;
  }
  const double seconds = clock.passed();
  CUDA_CHECK(cuMemFree_v2(memory));

  const double kernel_seconds = static_cast<double>(steps * kKernelsPerStep * options.kernel_us) / 1e6;
  Summary summary("training_loop", device);
  summary.add("seconds", seconds);
  summary.add("steps", static_cast<double>(steps));
  summary.add("steps_per_s", static_cast<double>(steps) / seconds);
  summary.add("kernel_percent", 100 * kernel_seconds / seconds);  // of the time: the share of the device it had
  summary.add("p50_ms_per_10_steps", percentile(round_ms, 50));
  summary.add("p99_ms_per_10_steps", percentile(round_ms, 99));
  summary.print(options.json);
}
