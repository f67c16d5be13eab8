// The four programs and what each asks for: together 62 GiB and 90 % of one 80 GB device.
#include "showcase.h"

namespace kiboko::showcase {

const std::vector<Sample>& samples() {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  static const std::vector<Sample> all = {
      {"inference",
       "inference_loop",
       16 * kGiB,
       30,
       1'000'000,
       {"--seconds", "0", "--kernel-us", "1000", "--memory", "12GiB"}},
      {"training",
       "training_loop",
       30 * kGiB,
       40,
       2'000'000,
       {"--seconds", "0", "--kernel-us", "2000", "--memory", "24GiB"}},
      {"graph", "graph_replay", 8 * kGiB, 20, 3'200'000, {"--seconds", "0", "--kernel-us", "200", "--memory", "4GiB"}},
      {"hog", "memory_hog", 8 * kGiB, 0, 0, {"--seconds", "0"}},
  };
  return all;
}

}  // namespace kiboko::showcase
