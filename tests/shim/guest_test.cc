// The library as a guest of programs that do what programs seldom do. The work is done by guest_program.cc.
#include <gmock/gmock.h>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

class Visit : public OnDriver {
 protected:
  Ended guest(std::vector<std::string> scenario) {
    scenario.insert(scenario.begin(), program("shim_guest_program"));
    return tenant.run(scenario);
  }
  void expect_well(const std::vector<std::string>& scenario) {
    const Ended ended = guest(scenario);
    EXPECT_EQ(ended.exit_code, 0) << ended.out << ended.err;
  }
  static std::string rounds() { return sanitized() ? "10" : "40"; }
};
KIBOKO_ON_EVERY_DRIVER(Visit);

TEST_P(Visit, EndsWithAForkWhateverOtherThreadsWereAtThen) {
  tenant.grant({{0, kGiB}});
  expect_well({"fork-storm", rounds(), std::to_string(kGiB)});
}

TEST_P(Visit, EndsWithAForkWithoutAPageToo) {
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT"] = "1024m";
  tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.path("cache");
  expect_well({"fork-storm", rounds(), std::to_string(kGiB)});
}

}  // namespace
}  // namespace kiboko::shim_test
