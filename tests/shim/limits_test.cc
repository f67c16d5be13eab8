// A share's limits as a program feels them: exact, followed while it runs, tightened by the environment only, and
// closed when they cannot be read.
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include <gmock/gmock.h>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::uint64_t word(const std::string& line, unsigned index) {
  std::istringstream in(line);
  std::string text;
  for (unsigned i = 0; i <= index; ++i) in >> text;
  return text.empty() ? 0 : std::strtoull(text.c_str(), nullptr, 10);
}

class Limits : public OnDriver {};

TEST_P(Limits, FreeAndTotalAreThoseOfTheShare) {
  tenant.grant({{0, 2 * kGiB}});
  const Ended ended = tenant.probe_run({"init", "context", "0", "info", "total", "0"});
  const auto lines = lines_of(ended.out);
  ASSERT_EQ(lines.size(), 4u) << ended.out << ended.err;
  EXPECT_EQ(lines[0], "init 0");
  EXPECT_EQ(word(lines[2], 1), 0u);
  EXPECT_LE(word(lines[2], 2), 2 * kGiB);
  EXPECT_GT(word(lines[2], 2), kGiB);
  EXPECT_EQ(word(lines[2], 3), 2 * kGiB);
  EXPECT_EQ(lines[3], "total 0 " + std::to_string(2 * kGiB));
}

TEST_P(Limits, AllocatesExactlyWhatIsFreeAndNotOneUnitMore) {
  tenant.grant({{0, 2 * kGiB}});
  Process process(tenant.probe({"init", "context", "0", "info", "await", "fill", std::to_string(2 * kMiB), "info",
                                "alloc", "1", "free-all", "info"}));
  EXPECT_EQ(process.read_line(), "init 0");
  EXPECT_EQ(process.read_line(), "context 0");
  const std::uint64_t free = word(process.read_line(), 2);
  process.read_line();
  process.write_line("go");
  EXPECT_EQ(process.read_line(), "fill 2 " + std::to_string(free / (2 * kMiB)));
  EXPECT_LT(word(process.read_line(), 2), 2 * kMiB);
  if (free % (2 * kMiB) == 0) {
    EXPECT_EQ(process.read_line(), "alloc 2");
  } else {
    process.read_line();
  }
  EXPECT_EQ(process.read_line(), "free-all 0");
  EXPECT_EQ(word(process.read_line(), 2), free);
  EXPECT_EQ(process.wait().exit_code, 0);
}

TEST_P(Limits, TheOneAllocationThatJustFitsIsGranted) {
  tenant.grant({{0, 2 * kGiB}});
  const Ended first = tenant.probe_run({"init", "context", "0", "info"});
  const std::uint64_t free = word(lines_of(first.out).at(2), 2) / (2 * kMiB) * (2 * kMiB);
  const Ended fits = tenant.probe_run({"init", "context", "0", "alloc", std::to_string(free)});
  const Ended over = tenant.probe_run({"init", "context", "0", "alloc", std::to_string(free + 2 * kMiB)});
  EXPECT_EQ(lines_of(fits.out).at(2), "alloc 0") << free;
  EXPECT_EQ(lines_of(over.out).at(2), "alloc 2") << free;
}

TEST_P(Limits, TwoProcessesShareOneLimit) {
  tenant.grant({{0, 2 * kGiB}});
  Process first(tenant.probe({"init", "context", "0", "alloc", std::to_string(kGiB), "await"}));
  while (first.read_line() != "await") {
  }
  const Ended second = tenant.probe_run({"init", "context", "0", "alloc", std::to_string(kGiB), "info"});
  EXPECT_EQ(lines_of(second.out).at(2), "alloc 2");
  EXPECT_LT(word(lines_of(second.out).at(3), 2), kGiB);
  first.write_line("go");
  EXPECT_EQ(first.wait().exit_code, 0);
  const Ended third = tenant.probe_run({"init", "context", "0", "alloc", std::to_string(kGiB)});
  EXPECT_EQ(lines_of(third.out).at(2), "alloc 0") << "the first one's charge must be gone with it";
}

TEST_P(Limits, AKilledProcessLeavesNoChargeBehind) {
  tenant.grant({{0, 2 * kGiB}});
  {
    Process killed(tenant.probe({"init", "context", "0", "alloc", std::to_string(kGiB), "await"}));
    while (killed.read_line() != "await") {
    }
  }
  const Ended next = tenant.probe_run({"init", "context", "0", "alloc", std::to_string(kGiB + 256 * kMiB)});
  EXPECT_EQ(lines_of(next.out).at(2), "alloc 0");
}

TEST_P(Limits, AResizeIsFollowedWhileTheProgramRuns) {
  tenant.grant({{0, kGiB}});
  Process process(tenant.probe(
      {"init", "context", "0", "await", "info", "await", "info", "alloc", std::to_string(kGiB + 128 * kMiB)}));
  while (process.read_line() != "await") {
  }
  tenant.resize({{0, 3 * kGiB}});
  process.write_line("larger");
  EXPECT_EQ(word(process.read_line(), 3), 3 * kGiB);
  process.read_line();
  tenant.resize({{0, 512 * kMiB}});
  process.write_line("smaller");
  EXPECT_EQ(word(process.read_line(), 3), 512 * kMiB);
  EXPECT_EQ(process.read_line(), "alloc 2");
}

TEST_P(Limits, AResizeHoldsForTheProgramsThatComeAfterIt) {
  tenant.grant({{0, kGiB}});
  EXPECT_EQ(lines_of(tenant.probe_run({"init", "total", "0"}).out).at(1), "total 0 " + std::to_string(kGiB));
  tenant.resize({{0, 3 * kGiB}});
  EXPECT_EQ(lines_of(tenant.probe_run({"init", "total", "0"}).out).at(1), "total 0 " + std::to_string(3 * kGiB));
}

TEST_P(Limits, TheEnvironmentOfOneProgramTightensNobodyElses) {
  tenant.grant({{0, 2 * kGiB}});
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT"] = "1024m";
  EXPECT_EQ(lines_of(tenant.probe_run({"init", "total", "0"}).out).at(1), "total 0 " + std::to_string(kGiB));
  tenant.environment.erase("CUDA_DEVICE_MEMORY_LIMIT");
  EXPECT_EQ(lines_of(tenant.probe_run({"init", "total", "0"}).out).at(1), "total 0 " + std::to_string(2 * kGiB));
}

TEST_P(Limits, TheEnvironmentTightensALimit) {
  tenant.grant({{0, 2 * kGiB}});
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT"] = "1024m";
  const Ended ended = tenant.probe_run({"init", "total", "0"});
  EXPECT_EQ(lines_of(ended.out).at(1), "total 0 " + std::to_string(kGiB));
}

TEST_P(Limits, TheEnvironmentNeverLoosensALimit) {
  tenant.grant({{0, 2 * kGiB}});
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT"] = "8g";
  const Ended ended = tenant.probe_run({"init", "total", "0"});
  EXPECT_EQ(lines_of(ended.out).at(1), "total 0 " + std::to_string(2 * kGiB));
}

TEST_P(Limits, EachDeviceOfAGrantHasItsOwnWhateverTheirOrder) {
  tenant.grant({{1, kGiB}, {0, 2 * kGiB}});
  const Ended ended = tenant.probe_run({"init", "total", "0", "total", "1"});
  EXPECT_EQ(lines_of(ended.out).at(1), "total 0 " + std::to_string(2 * kGiB));
  EXPECT_EQ(lines_of(ended.out).at(2), "total 0 " + std::to_string(kGiB));
}

TEST_P(Limits, WithoutAGrantEverythingIsTheDrivers) {
  const std::uint64_t bytes = tenant.devices().at(0).bytes;
  const Ended ended = tenant.probe_run({"init", "total", "0", "context", "0", "alloc", std::to_string(2 * kMiB)});
  EXPECT_THAT(lines_of(ended.out), ElementsAre("init 0", "total 0 " + std::to_string(bytes), "context 0", "alloc 0"));
  EXPECT_EQ(ended.err, "");
}

TEST_P(Limits, AGrantWithoutANumberLimitsNothing) {
  const std::uint64_t bytes = tenant.devices().at(0).bytes;
  tenant.grant({{0, 0}});
  const Ended ended = tenant.probe_run({"init", "total", "0"});
  EXPECT_THAT(lines_of(ended.out), ElementsAre("init 0", "total 0 " + std::to_string(bytes)));
}

TEST_P(Limits, HamisVariablesCountWhereThereIsNoPage) {
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT_0"] = "1024m";
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT_1"] = "2g";
  tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.region_path();
  const Ended ended = tenant.probe_run({"init", "total", "0", "total", "1", "context", "0", "alloc", "1073741824"});
  EXPECT_THAT(lines_of(ended.out),
              ElementsAre("init 0", "total 0 1073741824", "total 0 2147483648", "context 0", "alloc 2"));
}

TEST_P(Limits, AnEnvironmentEditedLaterChangesNothing) {
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT"] = "1024m";
  tenant.environment["CUDA_DEVICE_MEMORY_LIMIT_1"] = "2g";
  tenant.environment["CUDA_DEVICE_MEMORY_SHARED_CACHE"] = tenant.region_path();
  const Ended ended =
      tenant.probe_run({"unset", "CUDA_DEVICE_MEMORY_LIMIT", "unset", "CUDA_DEVICE_MEMORY_LIMIT_1", "unset",
                        "CUDA_DEVICE_MEMORY_SHARED_CACHE", "init", "total", "0", "total", "1"});
  EXPECT_THAT(lines_of(ended.out), ElementsAre("init 0", "total 0 1073741824", "total 0 2147483648"));
  EXPECT_EQ(::access(tenant.region_path().c_str(), F_OK), 0);
}

TEST_P(Limits, LaunchesPassUnderEveryKindOfLimit) {
  for (const std::uint32_t percent : {0u, 30u, 100u}) {
    tenant.grant({{0, 2 * kGiB, percent}});
    const Ended ended = tenant.probe_run({"init", "context", "0", "launch", "200"});
    EXPECT_THAT(lines_of(ended.out), ElementsAre("init 0", "context 0", "launch 0")) << percent;
  }
}

// ---- limits that cannot be read

struct Bad {
  const char* name;
  void (*spoil)(Tenant&);
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }

const Bad kBad[] = {
    {"PageMissing", [](Tenant& t) { t.environment["KIBOKO_GRANT"] = t.path("nowhere"); }},
    {"PageIsGarbage", [](Tenant& t) { t.put_page(std::string(4096, 'x')); }},
    {"PageIsShort", [](Tenant& t) { t.put_page(t.page_bytes().substr(0, 2000)); }},
    {"PageIsEmpty", [](Tenant& t) { t.put_page(""); }},
    {"WrongVersion",
     [](Tenant& t) {
       std::string b = t.page_bytes();
       b[8] = 9;
       t.put_page(b);
     }},
    {"OneBitFlipped",
     [](Tenant& t) {
       std::string b = t.page_bytes();
       b[100] ^= 1;
       t.put_page(b);
     }},
    {"SettingsDamaged",
     [](Tenant& t) {
       std::string b = t.page_bytes();
       b[1632 + 20] ^= 1;
       b[1632 + 272 + 20] ^= 1;
       t.put_page(b);
     }},
    {"PageIsWritableByOthers", [](Tenant& t) { t.put_page(t.page_bytes(), 0666); }},
    {"PageIsALink",
     [](Tenant& t) {
       ASSERT_EQ(::rename(t.page_path().c_str(), t.path("real").c_str()), 0);
       ASSERT_EQ(::symlink(t.path("real").c_str(), t.page_path().c_str()), 0);
     }},
    {"PathTooLong", [](Tenant& t) { t.environment["KIBOKO_GRANT"] = "/" + std::string(400, 'a'); }},
    {"NoFolderForTheRegion",
     [](Tenant& t) {
       t.grant({{0, kGiB}}, t.path("no/such/region"));
     }},
    {"RegionIsAFolder", [](Tenant& t) { ASSERT_EQ(::mkdir(t.region_path().c_str(), 0755), 0); }},
    {"RegionIsGarbage", [](Tenant& t) { std::ofstream(t.region_path()) << std::string(4'000'000, 'x'); }},
    {"LimitInTheEnvironmentIsNoNumber", [](Tenant& t) { t.environment["CUDA_DEVICE_MEMORY_LIMIT"] = "10GB"; }},
};

class FailsClosed : public testing::TestWithParam<std::tuple<Driver, Bad>> {};

TEST_P(FailsClosed, CudaDoesNotStartAndOneLineSaysWhy) {
  const auto& [driver, bad] = GetParam();
  if (::access((std::string(driver.folder) + "/libcuda.so.1").c_str(), F_OK) != 0) GTEST_SKIP() << "driver not built";
  Tenant tenant(driver);
  tenant.grant({{0, kGiB}});
  bad.spoil(tenant);
  const Ended ended = tenant.probe_run({"init", "init", "context", "0", "nvml-init", "nvml-memory", "0"});
  const auto lines = lines_of(ended.out);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  ASSERT_EQ(lines.size(), 5u) << ended.out << ended.err;
  EXPECT_EQ(lines[0], "init 304");
  EXPECT_EQ(lines[1], "init 304");
  EXPECT_NE(lines[2], "context 0");
  EXPECT_EQ(lines[3], "nvml-init 0");
  EXPECT_EQ(lines[4], "nvml-memory 999 0 0 0");
  EXPECT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("kiboko: CUDA is refused: "));
}

INSTANTIATE_TEST_SUITE_P(, FailsClosed, testing::Combine(testing::ValuesIn(drivers()), testing::ValuesIn(kBad)),
                         [](const auto& row) {
                           return std::string(std::get<0>(row.param).name) + std::get<1>(row.param).name;
                         });
KIBOKO_ON_EVERY_DRIVER(Limits);

}  // namespace

}  // namespace kiboko::shim_test
