// Takes all the memory it can get, to show where the limit is.
//
// It asks for 1 GiB at a time; refused, for half of that, and so on down to 1 MiB. Then it checks what it was told:
// the refusal must be CUDA_ERROR_OUT_OF_MEMORY, it must have got what cuMemGetInfo promised, and cuMemGetInfo must
// now say that nothing is left. It keeps the memory for --seconds, so that others can look at it. With --memory it
// stops at that many bytes. Ends with 1 if a check failed.
#include <unistd.h>

#include "cuda_min.h"
#include "example.h"

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kFirstStep = 1024 * kMiB;
constexpr std::uint64_t kLastStep = kMiB;
constexpr std::uint64_t kSlack = 64 * kMiB;  // the driver rounds, and keeps a little for itself

struct Hoard {
  std::vector<CUdeviceptr> pieces;
  std::uint64_t bytes = 0;
  CUresult refusal = CUDA_SUCCESS;
};

struct Info {
  std::size_t free = 0, total = 0;
};

Info memory_info() {
  Info info;
  CUDA_CHECK(cuMemGetInfo_v2(&info.free, &info.total));
  return info;
}

Hoard take_up_to(std::uint64_t most) {
  Hoard hoard;
  for (std::uint64_t step = kFirstStep; step >= kLastStep;) {
    CUdeviceptr piece = 0;
    const CUresult result = hoard.bytes + step > most ? CUDA_SUCCESS : cuda.cuMemAlloc_v2(&piece, step);
    if (result == CUDA_SUCCESS && piece != 0) {
      hoard.pieces.push_back(piece);
      hoard.bytes += step;
      continue;
    }
    if (result != CUDA_SUCCESS) hoard.refusal = result;
    if (result != CUDA_SUCCESS && result != CUDA_ERROR_OUT_OF_MEMORY) break;
    step /= 2;
  }
  return hoard;
}

bool check(bool good, const char* what) {
  if (!good) std::fprintf(stderr, "memory_hog: %s\n", what);
  return good;
}

// Everything it was told agrees with everything it got.
bool verify(const Hoard& hoard, const Info& before, const Info& after, bool stopped_itself) {
  bool good = check(before.free <= before.total && after.total == before.total, "cuMemGetInfo contradicts itself");
  good &= check(hoard.bytes <= before.free, "got more memory than was said to be free");
  if (stopped_itself) return good;
  good &= check(hoard.refusal == CUDA_ERROR_OUT_OF_MEMORY, "the refusal is not CUDA_ERROR_OUT_OF_MEMORY");
  good &= check(before.free - hoard.bytes <= kSlack, "got less memory than was said to be free");
  good &= check(after.free <= kSlack, "memory is said to be free that cannot be had");
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv, {.seconds = 1, .memory = ~0ULL});
  const Clock clock(options.seconds);
  const char* device = cuda_open();
  const Info before = memory_info();
  const Hoard hoard = take_up_to(options.memory);
  const Info after = memory_info();
  const bool stopped_itself = hoard.refusal == CUDA_SUCCESS;
  const bool good = verify(hoard, before, after, stopped_itself);

  Summary summary("memory_hog", device);
  summary.add("total_mib", static_cast<double>(before.total / kMiB));
  summary.add("free_before_mib", static_cast<double>(before.free / kMiB));
  summary.add("got_mib", static_cast<double>(hoard.bytes / kMiB));
  summary.add("free_after_mib", static_cast<double>(after.free / kMiB));
  summary.add("refused_with", hoard.refusal);
  summary.add("verified", good ? 1 : 0);
  summary.print(options.json);

  while (clock.running()) usleep(20'000);
  for (const CUdeviceptr piece : hoard.pieces) CUDA_CHECK(cuMemFree_v2(piece));
  return good ? 0 : 1;
}
