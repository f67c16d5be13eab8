// What a look-up gives, with us and without: the hook of exactly the variant that the driver chose, or what the driver
// gave, and nothing in between. Programs that resolve names in every way print what they got (routes.cc).
#include <algorithm>
#include <climits>
#include <map>

#include "tenant.h"

namespace kiboko::shim_test {
namespace {

struct Row {
  std::string base;
  int version = 0;
  int mode = 0;
};

const std::map<std::string, Row>& hooked() {
  static const std::map<std::string, Row> rows = {
#define CUDA_HOOK(symbol, base, version, mode) {#symbol, {#base, version, mode}},
#define NVML_HOOK(symbol) {#symbol, {}},
#include "shim/hooks.def"
#undef CUDA_HOOK
#undef NVML_HOOK
  };
  return rows;
}

// "dlsym v2 cuMemAlloc 3020 0 = 0 0 libcuda.so.1:cuMemAlloc_v2" is the question and the answer.
std::map<std::string, std::string> answers(const Ended& ended) {
  std::map<std::string, std::string> out;
  for (const std::string& line : lines_of(ended.out)) {
    const auto at = line.find(" = ");
    if (at != std::string::npos) out[line.substr(0, at)] = line.substr(at + 3);
  }
  return out;
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

// The variant that a question about a base name, a version and a stream mode means, by our table.
std::string variant_for(const std::map<std::string, Row>& rows, const std::string& base, int version, int mode) {
  std::string best;
  for (const auto& [symbol, row] : rows) {
    if (row.base != base || row.version > version || (row.mode != 0 && row.mode != mode)) continue;
    const Row& now = best.empty() ? row : rows.at(best);
    if (best.empty() || row.version > now.version || (row.version == now.version && row.mode > now.mode)) best = symbol;
  }
  return best;
}

// What must come instead of `driver`, the driver's own answer to `question`.
// A driver gives what is newer than itself to nobody.
std::string expected(const std::map<std::string, Row>& rows, const std::string& question, const std::string& driver,
                     int driver_version) {
  const std::vector<std::string> words = words_of(question);
  // Whoever asks for dlsym itself and would be given libc's by the order of libraries, gets ours by the same order.
  if (words.back() == "dlsym" && words[0] != "cuda-handle" && words[0] != "nvml-handle") return "libkiboko.so:dlsym";
  const auto colon = driver.rfind(':');
  const std::string library = colon == std::string::npos ? "" : words_of(driver.substr(0, colon)).back();
  if (library != "libcuda.so.1" && library != "libnvidia-ml.so.1") return driver;
  std::string variant;
  if (words.size() == 2) {
    variant = words[1];  // asked by its exported name
  } else {
    variant = driver.substr(colon + 1);
    const bool inner = variant.rfind("inner ", 0) == 0;
    if (inner) variant = variant.substr(6);
    // The stand-in has two variants at one address: they are told apart by what was asked, and so is an address that
    // has no name at all.
    if (variant.rfind("cuIpcOpenMemHandle", 0) == 0 || variant[0] == '+')
      variant = variant_for(rows, words[2], std::min(std::stoi(words[3]), driver_version), words[4] == "2" ? 2 : 0);
  }
  if (rows.count(variant) == 0) return driver;
  return driver.substr(0, colon - library.size()) + "libkiboko.so:" + variant;
}

class Routing : public OnDriver {};

// What was asked of a CUDA version that our table does not cover.
bool beyond_the_table(const std::string& question) {
  const auto words = words_of(question);
  return words.size() == 5 && std::stoi(words[3]) > 13010;
}

class Routes : public Routing {
 protected:
  void compare(bool beyond) {
    tenant.with_shim(false);
    const Ended plain = tenant.run({program("shim_routes")});
    tenant.with_shim(true);
    const Ended shimmed = tenant.run({program("shim_routes")});
    ASSERT_EQ(plain.exit_code, 0) << plain.err;
    ASSERT_EQ(shimmed.exit_code, 0) << shimmed.err;
    compare(answers(plain), answers(shimmed), beyond);
  }
  int driver_version_ = INT_MAX;

 private:
  void compare(const std::map<std::string, std::string>& before, const std::map<std::string, std::string>& after,
               bool beyond) {
    const auto& rows = hooked();
    ASSERT_GT(before.size(), 10'000u);
    ASSERT_EQ(before.size(), after.size());
    std::size_t replaced = 0, wrong = 0;
    for (const auto& [question, driver] : before) {
      if (beyond_the_table(question) != beyond) continue;
      const std::string want = expected(rows, question, driver, driver_version_);
      replaced += want != driver ? 1 : 0;
      // A name that only we export resolves to us when the driver lacks it; a program that checks a weak reference or
      // asks all of itself sees that, and gets "not initialised" when it calls.
      if (driver.rfind("null", 0) == 0 && rows.count(words_of(question).back()) != 0 && after.at(question) != driver)
        continue;
      if (after.at(question) != want && ++wrong <= 20)
        ADD_FAILURE() << question << "\n  driver " << driver << "\n  wanted " << want << "\n  got    "
                      << after.at(question);
    }
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(replaced, beyond ? 1'000u : 3'000u);
  }
};

class RoutesOfAnotherDriver : public Routes {};
INSTANTIATE_TEST_SUITE_P(, RoutesOfAnotherDriver, testing::Values(drivers().back()),
                         [](const testing::TestParamInfo<Driver>& row) { return std::string(row.param.name); });

TEST_P(Routes, GivesTheHookOfTheVariantThatTheDriverChoseAndAllElseUntouched) { compare(false); }

// A variant that came after our table has no hook, and an older one under a new version's number still has its own.
TEST_P(Routes, FollowsTheDriverBeyondTheVersionsOfTheTable) { compare(true); }

// Drivers from before the table's newest rows, and after them. Only the simulated one can be of another version.
TEST_P(RoutesOfAnotherDriver, AreItsOwnChoiceToo) {
  for (const int version : {11050, 11080, 12000, 12030, 12060, 13020, 13040}) {
    SCOPED_TRACE(version);
    driver_version_ = version;
    tenant.environment["SIM_DRIVER"] = std::to_string(version);
    compare(false);
    compare(true);
  }
}

TEST_P(Routing, SaysNothingAndLeavesTheExitCodeAlone) {
  const Ended ended = tenant.run({program("shim_routes")});
  EXPECT_EQ(ended.err, "");
  EXPECT_EQ(ended.exit_code, 0);
}

KIBOKO_ON_EVERY_DRIVER(Routing);
KIBOKO_ON_EVERY_DRIVER(Routes);

}  // namespace
}  // namespace kiboko::shim_test
