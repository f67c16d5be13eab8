// Whatever is called, with sense or without: where nothing is limited, it answers as the driver does by itself, gives
// the same, and leaves the driver with as much taken. The calls are made by calls.cc.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "region/test_files.h"
#include "shim/table.h"
#include "tenant.h"

namespace kiboko::shim_test {
namespace {

using testing::HasSubstr;
using testing::Not;

class Calls : public OnDriver {
 protected:
  std::vector<std::string> calls() const {
    std::vector<std::string> command = {program("shim_calls")};
    if (std::string(GetParam().name) == "standin") command.push_back("sensible");
    if (tenant.environment.count("KIBOKO_GRANT") != 0) command.push_back("granted");
    return command;
  }
  std::vector<std::string> plain() {
    const std::vector<std::string> command = calls();
    const Environment kept = tenant.environment;
    tenant.environment.erase("KIBOKO_GRANT");
    tenant.with_shim(false);
    const Ended ended = tenant.run(command);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_THAT(ended.out, Not(HasSubstr("never asked"))) << "a hook that calls.cc does not know";
    tenant.environment = kept;
    return lines_of(ended.out);
  }
  void expect_the_drivers_answers() {
    const std::vector<std::string> want = plain();
    const Ended ended = tenant.run(calls());
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    const std::vector<std::string> got = lines_of(ended.out);
    EXPECT_EQ(got.size(), want.size());
    EXPECT_GT(want.size(), 150u);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < want.size() && i < got.size(); ++i)
      if (got[i] != want[i] && ++wrong <= 10) ADD_FAILURE() << "driver " << want[i] << "\n  got    " << got[i];
  }
};

TEST_P(Calls, AreAnsweredAsByTheDriverWithoutAGrant) { expect_the_drivers_answers(); }

TEST_P(Calls, AreAnsweredAsByTheDriverWhereEverythingIsOnlyCounted) {
  std::vector<Share> shares;
  for (unsigned i = 0; i < tenant.devices().size(); ++i) shares.push_back({i, 0});
  tenant.grant(shares);
  expect_the_drivers_answers();
}

KIBOKO_ON_EVERY_DRIVER(Calls);

// ---- drivers that lack something

const char* const kNames[] = {
#define CUDA_HOOK(symbol, base, version, mode) #symbol,
#define NVML_HOOK(symbol) #symbol,
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
#define X(name, result, arguments) #name,
    KIBOKO_DRIVER_CALLS(X) KIBOKO_NVML_CALLS(X)
#undef X
};

class CallsOfAPoorDriver : public Calls {
 protected:
  // A copy of the driver in which nobody finds `name`: it is another one in the table of names, which comes first.
  // False: it does not have it anyway.
  bool lacks(const std::string& name) {
    const bool nvml = name.rfind("nvml", 0) == 0;
    std::filesystem::create_directory(tenant.path("driver"));
    for (const char* library : {"libcuda.so.1", "libnvidia-ml.so.1"}) {
      std::string bytes = region::file_bytes(std::string(GetParam().folder) + "/" + library);
      if (nvml == (library[3] == 'n')) {
        const auto at = bytes.find(std::string(1, '\0') + name + std::string(1, '\0'));
        if (at == std::string::npos) return false;
        bytes[at + 1] = 'X';
      }
      std::ofstream(tenant.path("driver/") + library, std::ios::binary | std::ios::trunc) << bytes;
    }
    tenant.environment["LD_LIBRARY_PATH"] = tenant.path("driver");
    return true;
  }
};
INSTANTIATE_TEST_SUITE_P(, CallsOfAPoorDriver, testing::Values(drivers().front()),
                         [](const testing::TestParamInfo<Driver>& row) { return std::string(row.param.name); });

// Where something is needed that is not there, CUDA may be refused; but nobody is killed for it.
TEST_P(CallsOfAPoorDriver, NeverKillTheProgram) {
  std::vector<Share> shares;
  for (unsigned i = 0; i < tenant.devices().size(); ++i) shares.push_back({i, 0});
  unsigned compared = 0;
  for (const char* name : kNames) {
    SCOPED_TRACE(name);
    if (!lacks(name)) continue;
    tenant.environment.erase("KIBOKO_GRANT");
    tenant.with_shim(false);
    const Ended plain = tenant.run(calls());
    tenant.with_shim(true);
    if (plain.exit_code != 0) continue;  // the driver itself does not do without
    const Ended beside = tenant.run(calls());
    EXPECT_EQ(beside.exit_code, 0) << beside.err;
    EXPECT_EQ(beside.out, plain.out);
    tenant.grant(shares);
    EXPECT_EQ(tenant.run(calls()).exit_code, 0);
    ++compared;
  }
  EXPECT_GT(compared, 80u);
}

}  // namespace
}  // namespace kiboko::shim_test
