// An inference server with one client: a request is copied in, three kernels run, the answer is copied out, and only
// then the next request begins. What a user of it feels is latency, so that is what it prints.
//
// Try it beside another program on the same device, with and without a limit: `kiboko run --cores 30 --
// inference_loop`.
#include "cuda_min.h"
#include "example.h"

namespace {

constexpr int kKernels = 3;
constexpr std::size_t kRequestBytes = 64 * 1024;

struct Server {
  CUfunction spin;
  CUstream stream = nullptr;
  CUdeviceptr weights = 0;
  CUdeviceptr buffer = 0;
  std::vector<unsigned char> request = std::vector<unsigned char>(kRequestBytes, 1);

  explicit Server(std::uint64_t weight_bytes) : spin(load_spin()) {
    CUDA_CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUDA_CHECK(cuMemAlloc_v2(&weights, weight_bytes));
    CUDA_CHECK(cuMemAlloc_v2(&buffer, kRequestBytes));
  }

  void answer(std::uint64_t kernel_ns) {
    CUDA_CHECK(cuMemcpyHtoD_v2(buffer, request.data(), kRequestBytes));
    for (int i = 0; i < kKernels; ++i) launch_spin(spin, stream, kernel_ns / kKernels);
    CUDA_CHECK(cuStreamSynchronize(stream));
    CUDA_CHECK(cuMemcpyDtoH_v2(request.data(), buffer, kRequestBytes));
  }
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  const char* device = cuda_open();
  Server server(options.memory);
  std::vector<double> latency_ms;

  const Clock clock(options.seconds);
  while (clock.running()) {
    const double begin = clock.passed();
    server.answer(options.kernel_us * 1000);
    latency_ms.push_back((clock.passed() - begin) * 1000);
  }
  const double seconds = clock.passed();

  Summary summary("inference_loop", device);
  summary.add("seconds", seconds);
  summary.add("requests", static_cast<double>(latency_ms.size()));
  summary.add("requests_per_s", static_cast<double>(latency_ms.size()) / seconds);
  summary.add("p50_ms", percentile(latency_ms, 50));
  summary.add("p99_ms", percentile(latency_ms, 99));
  summary.print(options.json);
}
