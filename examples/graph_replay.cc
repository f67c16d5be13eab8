// Records sixteen kernels once and replays them as one graph, as inference engines do.
//
// To a limiter a graph is one launch that cannot be interrupted: a unit of work sixteen kernels long.
#include "cuda_min.h"
#include "example.h"

namespace {

constexpr int kKernels = 16;

CUgraphExec record(CUfunction spin, CUstream stream, std::uint64_t kernel_ns) {
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;
  CUDA_CHECK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  for (int i = 0; i < kKernels; ++i) launch_spin(spin, stream, kernel_ns);  // noted, not run
  CUDA_CHECK(cuStreamEndCapture(stream, &graph));
  CUDA_CHECK(cuGraphInstantiateWithFlags(&executable, graph, 0));
  return executable;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv, {.kernel_us = 200});
  const char* device = cuda_open();
  CUstream stream = nullptr;
  CUdeviceptr memory = 0;
  CUDA_CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUDA_CHECK(cuMemAlloc_v2(&memory, options.memory));
  const CUgraphExec graph = record(load_spin(), stream, options.kernel_us * 1000);

  std::vector<double> replay_ms;
  const Clock clock(options.seconds);
  while (clock.running()) {
    const double begin = clock.passed();
    CUDA_CHECK(cuGraphLaunch(graph, stream));
    CUDA_CHECK(cuStreamSynchronize(stream));
    replay_ms.push_back((clock.passed() - begin) * 1000);
  }
  const double seconds = clock.passed();
  const double kernel_seconds = static_cast<double>(replay_ms.size() * kKernels * options.kernel_us) / 1e6;

  Summary summary("graph_replay", device);
  summary.add("seconds", seconds);
  summary.add("replays", static_cast<double>(replay_ms.size()));
  summary.add("replays_per_s", static_cast<double>(replay_ms.size()) / seconds);
  summary.add("kernel_percent", 100 * kernel_seconds / seconds);
  summary.add("p50_ms", percentile(replay_ms, 50));
  summary.add("p99_ms", percentile(replay_ms, 99));
  summary.print(options.json);
}
