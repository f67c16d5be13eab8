#include <gmock/gmock.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/simulation_report.h"

namespace kiboko::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

struct Ran {
  int status = 0;
  std::string out, err;
};

class Simulate : public testing::Test {
 protected:
  // Four nodes of two devices; half of the pods take a device, half take 0.4 of one.
  Simulate() {
    std::string nodes = "sn,cpu_milli,memory_mib,gpu,model\n";
    for (int i = 0; i < 4; ++i) nodes += fmt::format("n{},32000,65536,2,T4\n", i);
    EXPECT_TRUE(write_file_atomically(path("nodes.csv"), nodes));
    EXPECT_TRUE(write_file_atomically(path("pods.csv"),
                                      "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n"
                                      "a,1000,1024,1,1000\nb,1000,1024,1,400\n"));
  }
  // Tests run side by side.
  static std::string path(std::string_view name) {
    return fmt::format("{}kiboko_simulate_{}_{}", testing::TempDir(), ::getpid(), name);
  }
  static Ran run(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"simulate", "--nodes", path("nodes.csv"), "--pods", path("pods.csv")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_as_given(arguments);
  }
  static Ran run_as_given(const std::vector<std::string>& arguments) {
    Ran ran;
    Output out{&ran.out, 200}, err{&ran.err, 200};
    const FakeClock clock;
    Context context{out, err, clock, [](const std::optional<std::string>&) -> Result<std::unique_ptr<Agent>> {
                      return fail(Errc::Unavailable, "no agent is asked");
                    }};
    ran.status = run_command_line(arguments, context);
    return ran;
  }
};

TEST_F(Simulate, ComparesPoliciesSeedBySeed) {
  const Ran ran = run({"--policy", "spread,supply", "--seeds", "1-4"});
  EXPECT_EQ(ran.status, kDone) << ran.err;
  EXPECT_THAT(ran.out, AllOf(StartsWith("POLICY"), HasSubstr("AT 130 %"), HasSubstr("\nspread"), HasSubstr("\nsupply"),
                             HasSubstr("mean of 4 seeds"), HasSubstr("refused by supply: compute")));
  EXPECT_EQ(ran.err, "");
}

TEST_F(Simulate, PrintsJsonAndCsvForScripts) {
  const auto json = nlohmann::json::parse(run({"-P", "supply", "-s", "3,5", "-o", "json"}).out);
  const auto& runs = json["policies"][0]["runs"];
  EXPECT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[1]["seed"], 5);
  EXPECT_EQ(runs[0]["marks"].size(), 4U);
  EXPECT_GE(runs[0]["arrived"], runs[0]["placed"]);
  EXPECT_THAT(run({"-P", "supply", "-o", "csv", "--demand", "90%"}).out,
              StartsWith("policy,seed,demand_percent,allocated_percent,fragmented_percent\nsupply,42,90,"));
}

TEST_F(Simulate, DrawsAChartThatStandsAlone) {
  ASSERT_EQ(run({"-P", "fgd,supply", "--chart", path("chart.svg")}).status, kDone);
  EXPECT_THAT(read_file(path("chart.svg")).value(),
              AllOf(StartsWith("<svg xmlns"), HasSubstr("<polyline"), HasSubstr(">supply "), HasSubstr("</svg>")));
}

struct Wrong {
  std::vector<std::string> arguments;
  std::string says;
};
class WrongSimulate : public Simulate, public testing::WithParamInterface<Wrong> {};
TEST_P(WrongSimulate, IsRefusedByName) {
  const Ran ran = run(GetParam().arguments);
  EXPECT_EQ(ran.status, kWrongUsage);
  EXPECT_THAT(ran.err, HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(Table, WrongSimulate,
                         testing::Values(Wrong{{"--policy", "best"}, "policy 'best' is not known"},
                                         Wrong{{"--seeds", "5-1"}, "'5-1' is no range"},
                                         Wrong{{"--seeds", "1-99999999"}, "'1-99999999' is no range"},
                                         Wrong{{"--seeds", "x"}, "--seeds: 'x' is not a whole number"},
                                         Wrong{{"--demand", "0"}, "--demand: 0 is not between"},
                                         Wrong{{"--mix", "guess"}, "guess"}));

TEST_F(Simulate, NamesTheFileTheLineAndTheColumn) {
  EXPECT_TRUE(write_file_atomically(path("broken.csv"), "name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1,1,1,2000\n"));
  const Ran ran = run_as_given({"simulate", "-n", path("nodes.csv"), "-p", path("broken.csv")});
  EXPECT_THAT(ran.err, HasSubstr("broken.csv:2: column gpu_milli: 2000 is not between 1 and 1000"));
  EXPECT_THAT(run_as_given({"simulate"}).err, HasSubstr("--nodes is missing"));
}

TEST(Estimates, GiveTheMeanAndTheIntervalOfStudent) {
  const Estimate of = estimate({1, 2, 3});
  EXPECT_DOUBLE_EQ(of.mean, 2);
  EXPECT_NEAR(of.half_width, 2.48, 0.01);
  EXPECT_EQ(estimate({7}).half_width, 0);
}

}  // namespace
}  // namespace kiboko::cli
