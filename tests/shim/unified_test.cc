// A share of a device that has no memory of its own but the host's (GB10, Jetson): the driver's management library does
// not tell its memory, and what CUDA calls free is what all programs of the host leave.
#include <unistd.h>

#include <gmock/gmock.h>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::StartsWith;

constexpr std::uint64_t kContext = 520 * kMiB;  // what a context of that generation is taken for

class Unified : public testing::Test {
 protected:
  void SetUp() override {
    if (::access((std::string(KIBOKO_TEST_SIM_DIR) + "/libnvidia-ml.so.1").c_str(), F_OK) != 0)
      GTEST_SKIP() << "no simulated driver (not built)";
    tenant.environment["KIBOKO_SIM_DEVICES"] = "2xGB10";
  }
  std::vector<std::string> ask(std::vector<std::string> script) {
    const Ended ended = tenant.probe_run(std::move(script));
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    return lines_of(ended.out);
  }
  std::string figures(std::uint64_t limit, std::uint64_t used) {
    return std::to_string(limit) + " " + std::to_string(used) + " " + std::to_string(limit - used);
  }
  Tenant tenant{Driver{"sim", KIBOKO_TEST_SIM_DIR}};
};

TEST_F(Unified, TotalIsTheLimitAndFreeIsWhatItLeaves) {
  tenant.grant({{0, 2 * kGiB}});
  const auto lines = ask({"init", "context", "0", "alloc", std::to_string(kGiB), "info", "total", "0", "nvml-init",
                          "nvml-memory", "0", "nvml-memory2", "2", "0", "fill", std::to_string(kMiB)});
  const std::uint64_t used = kGiB + kContext;
  EXPECT_EQ(lines.at(3), "info 0 " + std::to_string(2 * kGiB - used) + " " + std::to_string(2 * kGiB));
  EXPECT_EQ(lines.at(4), "total 0 " + std::to_string(2 * kGiB));
  EXPECT_EQ(lines.at(6), "nvml-memory 0 " + figures(2 * kGiB, used));
  EXPECT_EQ(lines.at(7), "nvml-memory2 0 " + figures(2 * kGiB, used) + " 0");
  EXPECT_EQ(lines.at(8), "fill 2 " + std::to_string((2 * kGiB - used) / (2 * kMiB)));
}

TEST_F(Unified, FreeDoesNotFollowTheOtherProgramsOfTheHost) {
  const std::uint64_t limit = tenant.devices().at(0).bytes - 2 * kMiB;
  tenant.grant({{0, limit}});
  EXPECT_EQ(ask({"init", "context", "0", "info"}).at(2),
            "info 0 " + std::to_string(limit - kContext) + " " + std::to_string(limit));
}

TEST_F(Unified, WhatAContextCostsIsNotReadFromTheHostsFreeMemory) {
  tenant.grant({{0, 4 * kGiB}});
  EXPECT_EQ(ask({"init", "context", "0", "context", "0", "info"}).at(3),
            "info 0 " + std::to_string(4 * kGiB - 2 * kContext) + " " + std::to_string(4 * kGiB));
}

TEST_F(Unified, WithoutALimitTheDriversAnswersStand) {
  const std::string total = std::to_string(tenant.devices().at(0).bytes);
  const std::vector<std::string> script{"init", "context", "0", "total", "0", "nvml-init", "nvml-memory", "0"};
  for (const bool granted : {false, true}) {
    if (granted) tenant.grant({{0, 0}});
    const auto lines = ask(script);
    EXPECT_EQ(lines.at(2), "total 0 " + total);
    EXPECT_THAT(lines.at(4), StartsWith("nvml-memory 3 "));
  }
}

TEST_F(Unified, ADriverThatDoesNotTellTheMemoryOfAnyDeviceIsAnsweredFor) {
  tenant.environment["KIBOKO_SIM_DEVICES"] = "2xA10-24GB";
  tenant.environment["KIBOKO_SIM_NVML_FAULT"] = "nvmlDeviceGetMemoryInfo*=3";
  tenant.grant({{0, 2 * kGiB}});
  const auto lines = ask({"nvml-init", "nvml-memory", "0", "nvml-memory2", "2", "0"});
  EXPECT_EQ(lines.at(1), "nvml-memory 0 " + figures(2 * kGiB, 0));
  EXPECT_EQ(lines.at(2), "nvml-memory2 0 " + figures(2 * kGiB, 0) + " 0");
}

}  // namespace
}  // namespace kiboko::shim_test
