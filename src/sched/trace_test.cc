#include "sched/trace.h"

#include <gmock/gmock.h>

namespace kiboko {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

constexpr std::string_view kNodes = "sn,cpu_milli,memory_mib,gpu,model\nn0,64000,262144,2,P100\r\n\nn1,8000,1024,0,\n";

Cluster cluster_of(std::string_view text) {
  Cluster cluster;
  const auto read = read_trace_nodes(text, "nodes.csv", cluster);
  EXPECT_TRUE(read) << read.error().message;
  return cluster;
}

TEST(Trace, ReadsNodes) {
  const Cluster cluster = cluster_of(kNodes);
  ASSERT_EQ(cluster.nodes(), 2U);
  EXPECT_EQ(cluster.node_name(0), "n0");
  EXPECT_EQ(cluster.device_count(0), 2U);
  EXPECT_EQ(cluster.cpu_free(0), 64000);
  EXPECT_EQ(cluster.host_memory_free(0), (256_GiB).count);
  EXPECT_EQ(cluster.device_count(1), 0U);
}

TEST(Trace, ReadsPodsWithColumnsInAnyOrder) {
  const Cluster cluster = cluster_of(kNodes);
  const auto pods = read_trace_pods(
      "gpu_spec,name,num_gpu,gpu_milli,memory_mib,cpu_milli,qos\nP100|T4,p0,1,460,1024,6000,LS\n,p1,0,0,1,2,BE\n",
      "p.csv", cluster);
  ASSERT_THAT(pods.value(), SizeIs(2));
  EXPECT_EQ((*pods)[0], (PodAsk{.count = 1, .share = 460, .models = 1, .cpu_milli = 6000, .host_memory = 1_GiB}));
  EXPECT_EQ((*pods)[1], (PodAsk{.cpu_milli = 2, .host_memory = 1_MiB}));
}

TEST(Trace, AModelThatNoNodeHasIsNeverFound) {
  const Cluster cluster = cluster_of(kNodes);
  const auto pods =
      read_trace_pods("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np,1,1,1,1000,H100\n", "p.csv", cluster);
  EXPECT_EQ(cluster.refusal(0, pods.value().front()), NodeRefusal::Model);
}

struct Broken {
  std::string why;
  std::string text;
  std::string says;
};
void PrintTo(const Broken& one, std::ostream* out) { *out << one.why; }
class BrokenPods : public testing::TestWithParam<Broken> {};
TEST_P(BrokenPods, AreRefusedByFileLineColumnAndValue) {
  const auto pods = read_trace_pods(GetParam().text, "p.csv", cluster_of(kNodes));
  ASSERT_FALSE(pods);
  EXPECT_EQ(pods.error().code, Errc::Invalid);
  EXPECT_EQ(pods.error().message, GetParam().says);
}
constexpr const char* kHead = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n";
INSTANTIATE_TEST_SUITE_P(
    Table, BrokenPods,
    testing::Values(Broken{"empty", "", "p.csv: empty; the first line must name the columns"},
                    Broken{"a column missing", "name,cpu_milli\n", "p.csv:1: there is no column 'memory_mib'"},
                    Broken{"a field too few", std::string{kHead} + "a,1,1,1,500\n\nb,1,1\n",
                           "p.csv:4: 3 fields, but the first line names 5 columns"},
                    Broken{"not a number", std::string{kHead} + "a,1,1,1,half\n",
                           "p.csv:2: column gpu_milli: 'half' is not a whole number"},
                    Broken{"a negative", std::string{kHead} + "a,-1,1,1,500\n",
                           "p.csv:2: column cpu_milli: -1 is not between 0 and 1000000000"},
                    Broken{"too large for a number", std::string{kHead} + "a,99999999999999999999,1,1,5\n",
                           "p.csv:2: column cpu_milli: '99999999999999999999' is too large"},
                    Broken{"more than a device", std::string{kHead} + "a,1,1,1,1001\n",
                           "p.csv:2: column gpu_milli: 1001 is not between 1 and 1000"},
                    Broken{"nothing of a device", std::string{kHead} + "a,1,1,1,0\n",
                           "p.csv:2: column gpu_milli: 0 is not between 1 and 1000"},
                    Broken{"too many devices", std::string{kHead} + "a,1,1,65,1000\n",
                           "p.csv:2: column num_gpu: 65 is not between 0 and 64"}));

TEST(Trace, RefusesASixtyFifthModelByName) {
  std::string text = "sn,cpu_milli,memory_mib,gpu,model\n";
  for (int i = 0; i < 65; ++i) text += fmt::format("n{},1,1,1,m{}\n", i, i);
  Cluster cluster;
  EXPECT_THAT(read_trace_nodes(text, "n.csv", cluster).error().message,
              HasSubstr("n.csv:66: column model: model 'm64' is one more"));
}

}  // namespace
}  // namespace kiboko
