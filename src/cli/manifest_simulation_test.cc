// `kiboko simulate` on manifests and dumps of a cluster, from the command line to what is printed.
#include <gmock/gmock.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/what_if.h"

namespace kiboko::cli {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

struct Ran {
  int status = 0;
  std::string out, err;
};

// Two GPUs of 40 GiB.
std::string node(std::string_view name, std::string_view more = "") {
  std::string devices;
  for (const int index : {0, 1})
    devices += fmt::format(R"({}{{"id":"GPU-{}-{}","index":{},"count":10,"devmem":40960,"devcore":100,"type":"A100",)"
                           R"("numa":0,"health":true,"mode":"hami-core"}})",
                           index == 0 ? "" : ",", name, index, index);
  return fmt::format(R"(---
kind: Node
apiVersion: v1
metadata:
  name: {}
  labels: {{kubernetes.io/hostname: {}}}
  annotations: {{hami.io/node-nvidia-register: '[{}]'}}
spec: {{{}}}
status: {{allocatable: {{cpu: 16, memory: 64Gi, nvidia.com/gpu: 20}}}}
)",
                     name, name, devices, more);
}

std::string pod(std::string_view name, int gpumem, std::string_view more = "", std::string_view metadata = "") {
  return fmt::format(R"(---
kind: Pod
apiVersion: v1
metadata: {{name: {}, {}}}
spec:
  containers: [{{name: c, resources: {{limits: {{nvidia.com/gpu: 1, nvidia.com/gpumem: {}}}, requests: {{cpu: 1}}}}}}]
  {}
)",
                     name, metadata, gpumem, more);
}

class SimulateManifests : public testing::Test {
 protected:
  static std::string write(std::string_view name, std::string_view text) {
    const std::string path = fmt::format("{}kiboko_cluster_{}_{}", testing::TempDir(), ::getpid(), name);
    EXPECT_TRUE(write_file_atomically(path, text));
    return path;
  }
  static Ran run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "simulate");
    Ran ran;
    Output out{&ran.out, 200}, err{&ran.err, 200};
    const FakeClock clock;
    Context context{out, err, clock, [](const std::optional<std::string>&) -> Result<std::unique_ptr<Agent>> {
                      return fail(Errc::Unavailable, "no agent is asked");
                    }};
    ran.status = run_command_line(arguments, context);
    return ran;
  }
  // The first run of the first policy.
  static Json first_run(std::string_view text, std::vector<std::string> more = {}, const char* policy = "binpack") {
    std::vector<std::string> arguments = {"--cluster", write("one.yaml", text), "-P", policy, "-o", "json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.status, kDone) << ran.err;
    const Json json = Json::parse(ran.out, nullptr, false);
    return json.is_discarded() ? json : json["policies"][0]["runs"][0];
  }
};

TEST_F(SimulateManifests, PlacesEachWaitingPodOnceInTheOrderOfTheFile) {
  const Json run = first_run(node("n1") + pod("a", 30000) + pod("b", 30000) + pod("c", 30000) + pod("d", 5000));
  EXPECT_EQ(run["seed"], nullptr);
  EXPECT_EQ(run["arrived"], 4);
  EXPECT_EQ(run["placed"], 3);
  EXPECT_EQ(run["pods"][0]["pod"], "default/a");
  EXPECT_EQ(run["pods"][0]["node"], "n1");
  EXPECT_THAT(run["pods"][0]["devices"][0].get<std::string>(), StartsWith("GPU-n1-"));
  EXPECT_EQ(run["pods"][2]["code"], "memory");
  EXPECT_EQ(run["refusals"]["memory"]["pods"], 1);
  EXPECT_THAT(run["refusals"]["memory"]["sentence"].get<std::string>(), HasSubstr("less memory is free"));
  EXPECT_EQ(run["families"][0]["devices"], 2);
  EXPECT_EQ(run["families"][0]["in_use"], 2);
  EXPECT_NEAR(run["families"][0]["memory_percent"].get<double>(), 100.0 * 65000 / 81920, 0.01);
}

TEST_F(SimulateManifests, LeavesWhatBoundPodsHave) {
  const std::string held = pod("held", 30000, "nodeName: n1",
                               "uid: u1, annotations: {hami.io/vgpu-devices-allocated: "
                               "'GPU-n1-0,NVIDIA,30000,0:;'}");
  const std::string assigned = pod("assigned", 30000, "",
                                   "uid: u2, annotations: {hami.io/vgpu-node: n1, hami.io/vgpu-devices-allocated: "
                                   "'GPU-n1-1,NVIDIA,30000,0:;'}");
  EXPECT_EQ(first_run(node("n1") + held + pod("a", 30000))["pods"][0]["devices"][0], "GPU-n1-1");
  const Json run = first_run(node("n1") + held + assigned + pod("a", 30000));
  EXPECT_EQ(run["arrived"], 1);
  EXPECT_EQ(run["placed"], 0);
}

TEST_F(SimulateManifests, PlacesBoundPodsThatSayNothingOfTheirDevicesOnTheirNodeFirst) {
  const Json run = first_run(node("n1") + node("n2") + pod("a", 40000) + pod("b", 40000) + pod("c", 40000) +
                             pod("silent", 40000, "nodeName: n1") + pod("other", 40000, "nodeName: n1"));
  EXPECT_EQ(run["arrived"], 3);
  EXPECT_EQ(run["placed"], 2);
  for (const int index : {0, 1}) EXPECT_EQ(run["pods"][index]["node"], "n2");
}

TEST_F(SimulateManifests, MindsSelectorsCordonsAndCpu) {
  const Json run =
      first_run(node("n1") + node("n2", "unschedulable: true") +
                pod("there", 1000, "nodeSelector: {kubernetes.io/hostname: n1}") +
                pod("nowhere", 1000, "nodeSelector: {kubernetes.io/hostname: n2}") +
                "---\nkind: Pod\nmetadata: {name: cpu}\nspec: {containers: [{resources: {requests: {cpu: 14}}}]}\n" +
                pod("small", 1000) + pod("late", 1000));
  EXPECT_EQ(run["pods"][0]["node"], "n1");
  EXPECT_EQ(run["pods"][1]["code"], "node_selector");
  EXPECT_EQ(run["pods"][2]["node"], "n1");
  EXPECT_THAT(run["pods"][2]["devices"], IsEmpty());
  EXPECT_EQ(run["pods"][3]["node"], "n1");
  EXPECT_EQ(run["pods"][4]["code"], "cpu");
}

TEST_F(SimulateManifests, CountsNoCpuWhereNoNodeSaysWhatItHas) {
  const Json run = first_run(
      "---\nkind: Node\nmetadata: {name: n1}\n---\nkind: Pod\nmetadata: {name: cpu}\n"
      "spec: {containers: [{resources: {requests: {cpu: 14}}}]}\n");
  EXPECT_EQ(run["pods"][0]["node"], "n1");
}

TEST_F(SimulateManifests, KeepsQuotas) {
  const Json run = first_run(node("n1") + pod("a", 1500) + pod("b", 1500) +
                             "---\nkind: ResourceQuota\nmetadata: {name: q, namespace: default}\n"
                             "spec: {hard: {limits.nvidia.com/gpumem: 2000}}\n");
  EXPECT_EQ(run["placed"], 1);
  EXPECT_EQ(run["pods"][1]["code"], "quota");
}

TEST_F(SimulateManifests, SaysWhatIsWrongWithAnAsk) {
  const Json run = first_run(node("n1") +
                             "---\nkind: Pod\nmetadata: {name: a}\nspec: {containers: "
                             "[{name: c, resources: {limits: {nvidia.com/gpu: 1.5}}}]}\n");
  EXPECT_EQ(run["pods"][0]["code"], "ask");
  EXPECT_THAT(run["pods"][0]["sentence"].get<std::string>(), HasSubstr("container c: nvidia.com/gpu: '1.5'"));
}

TEST_F(SimulateManifests, ShufflesBySeedAndDrawsUpToADemand) {
  const std::string text = node("n1") + pod("a", 20000) + pod("b", 10000);
  const std::vector<std::string> drawn = {"--seeds", "7", "--demand", "200%"};
  const Json run = first_run(text, drawn);
  EXPECT_EQ(run["seed"], 7);
  EXPECT_GT(run["arrived"], 5);
  EXPECT_LT(run["placed"], run["arrived"]);
  EXPECT_EQ(run["pods"], first_run(text, drawn)["pods"]);
  EXPECT_EQ(first_run(text, {"--seeds", "7"})["arrived"], 2);
}

TEST_F(SimulateManifests, TellsHowMuchIsFreeAndOfNoUse) {
  const std::string no_device = "---\nkind: Pod\nmetadata: {name: none}\nspec: {containers: [{name: c}]}\n";
  EXPECT_EQ(first_run(node("n1") + pod("a", 40960))["fragmented_percent"], 0);
  EXPECT_NEAR(first_run(node("n1") + pod("a", 30720) + pod("b", 30720) + no_device)["fragmented_percent"].get<double>(),
              25, 0.01);
}

TEST_F(SimulateManifests, ComparesPoliciesInATableAChartAndCsv) {
  const std::string path = write("table.yaml", node("n1") + node("n2") + pod("a", 20000) + pod("b", 20000));
  const std::string chart = fmt::format("{}kiboko_cluster_{}.svg", testing::TempDir(), ::getpid());
  const Ran table = run({"-c", path, "-P", "binpack,spread", "--chart", chart});
  EXPECT_EQ(table.status, kDone) << table.err;
  EXPECT_EQ(table.err, "");
  EXPECT_THAT(table.out, AllOf(HasSubstr("Nodes: 2, with 0 pods bound to them; pods in the order of the file."),
                               HasSubstr("\nbinpack     2       2        0"), HasSubstr("NVIDIA  spread"),
                               HasSubstr("refused by spread: none"), Not(HasSubstr("What if"))));
  EXPECT_THAT(read_file(chart).value(), AllOf(StartsWith("<svg xmlns"), HasSubstr(">spread "), HasSubstr("</svg>")));
  EXPECT_THAT(run({"-c", path, "-P", "supply", "-o", "csv"}).out,
              AllOf(StartsWith("policy,seed,arrived,placed,family,"), HasSubstr("\nsupply,,2,2,NVIDIA,4,1,0.0000,")));
}

TEST_F(SimulateManifests, TakesNodesAndPodsInTwoFilesOrOneOfYamlOrJson) {
  const std::string nodes = write("nodes.yaml", node("n1"));
  const std::string pods = write("pods.json", R"({"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a"},
      "spec":{"containers":[{"name":"c","resources":{"limits":{"nvidia.com/gpu":"1"}}}]}}]})");
  EXPECT_THAT(run({"-n", nodes, "-p", pods, "-P", "supply"}).out, HasSubstr("\nsupply     1       1        0"));
  const std::string both = write("both.yaml", node("n1") + pod("a", 1));
  EXPECT_THAT(run({"-n", both, "-p", both, "-P", "supply"}).out, HasSubstr("\nsupply     1       1        0"));
}

TEST_F(SimulateManifests, WarnsOfWhatDoesNotCount) {
  const std::string plain = "---\nkind: Node\nmetadata: {name: plain}\nstatus: {allocatable: {nvidia.com/gpu: 8}}\n";
  const std::string path =
      write("odd.yaml", node("n1") + plain + pod("a", 1) + "---\nkind: Service\nmetadata: {name: s}\n" +
                            pod("silent", 50000, "nodeName: n1"));
  const Ran ran = run({"-c", path, "-P", "supply"});
  EXPECT_EQ(ran.status, kDone);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("warning: passed over what is neither node, pod nor quota: 1 Service"),
                             HasSubstr("nodes without devices here: they have nvidia.com/gpu, but no annotation "
                                       "hami.io/node-nvidia-register: plain"),
                             HasSubstr("1 pods run without saying on which devices, and do not fit on their nodes")));
}

TEST_F(SimulateManifests, AsksWhatIfThereWereMoreNodesOrFewer) {
  const std::string held = pod("held", 40000, "nodeName: n2",
                               "uid: u1, annotations: {hami.io/vgpu-devices-allocated: 'GPU-n2-0,NVIDIA,40000,0:;'}");
  const std::string path = write("if.yaml", node("n1") + node("n2") + held + pod("a", 40000) + pod("b", 40000) +
                                                pod("c", 40000) + pod("d", 40000));
  const Ran more = run({"-c", path, "-P", "binpack", "--add-nodes", "2:n1"});
  EXPECT_EQ(more.status, kDone) << more.err;
  EXPECT_THAT(more.out, AllOf(HasSubstr("\nWhat if: 2 more nodes like n1\n"), HasSubstr("4 (+0)  4 (+1)   0 (-1)"),
                              HasSubstr("8 (+4)")));
  const Ran fewer = run({"-c", path, "-P", "binpack", "--remove-nodes", "n2", "-o", "json"});
  const Json json = Json::parse(fewer.out);
  EXPECT_EQ(json["what_if"]["changes"], "without n2");
  const Json& changed = json["what_if"]["policies"][0]["runs"][0];
  EXPECT_EQ(changed["arrived"], 5);
  EXPECT_EQ(changed["placed"], 2);
  EXPECT_EQ(changed["pods"][0]["pod"], "default/held");
}

TEST_F(SimulateManifests, AsksWhatIfOfATraceWithTheSamePods) {
  std::string nodes = "sn,cpu_milli,memory_mib,gpu,model\n";
  for (int i = 0; i < 4; ++i) nodes += fmt::format("n{},32000,65536,2,T4\n", i);
  const std::string node_file = write("nodes.csv", nodes);
  const std::string pod_file = write("pods.csv", "name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1000,1024,1,1000\n");
  const auto result = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"-n", node_file, "-p", pod_file, "-P", "bestfit", "-d", "130%"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  };
  const Json json = Json::parse(result({"--add-nodes", "4:n0", "--remove-nodes", "n3", "-o", "json"}).out);
  const Json& as_is = json["policies"][0]["runs"][0];
  const Json& changed = json["what_if"]["policies"][0]["runs"][0];
  EXPECT_EQ(as_is["arrived"], 11);
  EXPECT_EQ(as_is["placed"], 8);
  EXPECT_EQ(changed["arrived"], 11);
  EXPECT_EQ(changed["placed"], 11);
  EXPECT_EQ(json["what_if"]["changes"], "4 more nodes like n0, without n3");
  EXPECT_THAT(
      result({"--remove-nodes", "n1,n2"}).out,
      AllOf(HasSubstr("What if: without n1, n2. Demand is that of the unchanged cluster."), HasSubstr("7 (+4)")));
  EXPECT_THAT(result({"--remove-nodes", "n1", "-o", "csv"}).out, HasSubstr(",what_if\n"));
}

struct Wrong {
  std::vector<std::string> arguments;
  std::string says;
};
class WrongSimulateManifests : public SimulateManifests, public testing::WithParamInterface<Wrong> {};
TEST_P(WrongSimulateManifests, IsRefusedByName) {
  std::vector<std::string> arguments = {"-c", write("wrong.yaml", node("gpu-1") + pod("a", 0))};
  arguments.insert(arguments.end(), GetParam().arguments.begin(), GetParam().arguments.end());
  const Ran ran = run(arguments);
  EXPECT_NE(ran.status, kDone);
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(Table, WrongSimulateManifests,
                         testing::Values(Wrong{{"--add-nodes", "2"}, "--add-nodes: '2' is not N:LIKE"},
                                         Wrong{{"--add-nodes", "0:gpu-1"}, "'0:gpu-1' is not N:LIKE"},
                                         Wrong{{"--add-nodes", "1:gpu-2"},
                                               "--add-nodes: there is no node 'gpu-2'; did you mean 'gpu-1'?"},
                                         Wrong{{"--remove-nodes", "other"}, "--remove-nodes: there is no node 'other'"},
                                         Wrong{{"--remove-nodes", "gpu-1,"}, "names an empty node"},
                                         Wrong{{"--remove-nodes", "gpu-1"}, "there is no node to place on"},
                                         Wrong{{"--pods", "x"}, "--cluster has nodes and pods in one file"}));

TEST_F(SimulateManifests, RefusesATraceBesideManifests) {
  const std::string trace = write("mixed.csv", "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n");
  const std::string nodes = write("mixed.yaml", node("n1"));
  EXPECT_THAT(run({"-n", nodes, "-p", trace}).err, HasSubstr("must both be of a trace, or both manifests"));
  EXPECT_THAT(run({"-c", trace}).err, HasSubstr("a trace has its nodes and its pods in two files"));
  EXPECT_THAT(run({"-c", write("bad.yaml", "kind: Node\nmetadata: {}\n")}).err,
              HasSubstr("bad.yaml: document 1, line 2: Node without a name: metadata.name: is missing"));
}

}  // namespace
}  // namespace kiboko::cli
