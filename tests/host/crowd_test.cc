// Many at once, and who gets how much of the device's time.
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <thread>

#include "base/file.h"
#include "one_host.h"

namespace kiboko::host_test {
namespace {

using testing::SizeIs;

class Crowd : public OneHost {};

TEST_F(Crowd, TwoHundredAndFiftySixProgramsStartTogetherInOneGrant) {
  // Each has a context of half a GiB, as on a real device: together more than any real one has.
  spec = path("large.yaml");
  ASSERT_TRUE(write_file_atomically(spec, "devices:\n  - product: H100-80GB\n    memory_mib: 262144\n"));
  start_agent();
  const Ended ended = kiboko({"run", "--memory", "250GiB", "--", program("device_user"), "crowd 256"});
  EXPECT_EQ(ended.out, "crowd 256 0\n") << ended.err;
  EXPECT_TRUE(eventually([&] { return grants().empty() && device()["used_bytes"] == 0; }));
}

TEST_F(Crowd, SixtyFourGrantsAtOnce) {
  start_agent();
  std::vector<Child> programs;
  for (int i = 0; i < 64; ++i) programs.push_back(user({"--memory", "1GiB"}));
  std::set<std::string> ids;
  for (Child& child : programs) {
    EXPECT_EQ(child.ask("open 0"), "open 0") << child.errors();
    EXPECT_EQ(memory_of(child).total, kGiB);
    ids.insert(grant_of(child));
  }
  EXPECT_THAT(ids, SizeIs(64));
  EXPECT_EQ(granted_bytes(), 64 * kGiB);
  EXPECT_THAT(grants(), SizeIs(64));
  programs.clear();
  EXPECT_TRUE(eventually([&] { return grants().empty() && granted_bytes() == 0; }));
}

// How long the threads of a process stood ready without a processor, by the kernel's count.
std::uint64_t starved_ns(std::uint64_t pid) {
  std::uint64_t sum = 0;
  std::error_code ignored;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", ignored)) {
    std::ifstream in(thread.path() / "schedstat");
    std::uint64_t ran = 0, waited = 0;
    if (in >> ran >> waited) sum += waited;
  }
  return sum;
}

// By the device's own log, over five seconds of both running. Kernels of 1.3 ms, launched without waiting.
TEST_F(Crowd, ComputeIsSharedAsAsked) {
  start_agent();
  Child less = tenant({"--memory", "10GiB", "--cores", "30"}), more = tenant({"--memory", "10GiB", "--cores", "60"});
  const auto first = numbers(less.ask("pid"), "pid").at(0), second = numbers(more.ask("pid"), "pid").at(0);
  less.write_line("spin 1300000 30");
  more.write_line("spin 1300000 30");
  std::this_thread::sleep_for(2s);  // to settle
  EXPECT_TRUE(eventually([&] {
    static const std::regex waited("\nkiboko_grant_wait_seconds_count\\{[^}]*\\} [1-9]");
    return std::regex_search(text("/metrics"), waited);
  }));
  for (int attempt = 0; attempt < 3; ++attempt) {
    const std::uint64_t before = starved_ns(first) + starved_ns(second);
    std::this_thread::sleep_for(5s);
    const bool starved = starved_ns(first) + starved_ns(second) - before > 200'000'000;
    const std::string said =
        run(start({installed("kiboko-sim"), "--set", simulation(), "busy", "--json", "--window", "5s"})).out;
    const Json busy = Json::parse(said, nullptr, false);
    ASSERT_TRUE(busy.is_object()) << said;
    double shares[2] = {-100, -100};
    for (const Json& process : busy["devices"][0]["processes"]) {
      if (process["pid"] == first) shares[0] = process["share_percent"];
      if (process["pid"] == second) shares[1] = process["share_percent"];
    }
    EXPECT_LT(shares[0], 34) << said;
    EXPECT_LT(shares[1], 64) << said;
    if (shares[0] > 26 && shares[1] > 56) return;
    EXPECT_TRUE(starved) << "the programs had the processor, and yet: " << said;
    if (HasFailure()) return;
  }
  GTEST_SKIP() << "this machine was too busy to let two programs launch as fast as they may";
}

// Policy "default": the limit counts while others compete, and here is nobody.
TEST_F(Crowd, WithoutCompetitionAProgramMayHaveMoreThanItsShare) {
  start_agent();
  Child alone = tenant({"--memory", "10GiB", "--cores", "30"});
  alone.write_line("spin 1300000 60");
  EXPECT_TRUE(eventually([&] {
    const Ended ended =
        run(start({installed("kiboko-sim"), "--set", simulation(), "busy", "--json", "--window", "1s"}));
    const Json busy = Json::parse(ended.out, nullptr, false);
    return busy.is_object() && busy["devices"][0]["share_percent"] > 40.0;
  }));
}

}  // namespace
}  // namespace kiboko::host_test
