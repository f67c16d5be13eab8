#include "cli/manifests.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "cli/yaml_objects.h"

namespace kiboko::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

Result<Objects> read(std::string_view text, std::string_view name = "objects.yaml") {
  Objects objects;
  TRY(read_manifests(text, name, objects));
  return objects;
}

std::string error_of(std::string_view text) {
  const auto objects = read(text);
  return objects ? "no error" : objects.error().message;
}

TEST(Manifests, ReadYamlWithSeveralDocuments) {
  const auto objects = read(R"(# Source: chart/node.yaml
%YAML 1.1
---
apiVersion: v1
kind: Node
metadata: {name: n1, annotations: {hami.io/node-nvidia-register: '[{"id":"GPU-1"}]'}}
status:
  allocatable: {cpu: 8, memory: 64Gi, nvidia.com/gpu: "10"}
---
# only a comment
--- # the pod
apiVersion: v1
kind: Pod
metadata:
  name: train
  labels: {version: "1.0", enabled: 'yes'}
spec:
  containers:
    - name: main
      resources:
        limits: {nvidia.com/gpu: 1, nvidia.com/gpumem: 3e3, nvidia.com/gpucores: "30"}
        requests: {cpu: .5, memory: 1Gi}
...
)");
  ASSERT_TRUE(objects) << objects.error().message;
  ASSERT_EQ(objects->nodes.size(), 1U);
  EXPECT_EQ(objects->nodes[0].cpu_milli, 8000);
  EXPECT_EQ(objects->nodes[0].annotations.at("hami.io/node-nvidia-register"), R"([{"id":"GPU-1"}])");
  ASSERT_EQ(objects->pods.size(), 1U);
  const Pod& pod = objects->pods[0];
  EXPECT_EQ(pod.full_name(), "default/train");
  EXPECT_EQ(pod.cpu_milli, 500);
  EXPECT_EQ(pod.labels.at("enabled"), "yes");
  EXPECT_EQ(pod.containers[0].limits.at("nvidia.com/gpumem"), "3000");
  EXPECT_EQ(pod.containers[0].limits.at("nvidia.com/gpucores"), "30");
}

TEST(Manifests, ReadWhatKubectlPrints) {
  const auto objects = read(R"({
    "apiVersion": "v1",
    "items": [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ml"}, "spec": {"nodeName": "n1"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    ],
    "kind": "List"
}
)",
                            "dump.json");
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_EQ(objects->nodes.size(), 1U);
  EXPECT_EQ(objects->pods.at(0).node, "n1");
  EXPECT_THAT(passed_over(*objects), ElementsAre("passed over what is neither node, pod nor quota: 1 Service"));
}

TEST(Manifests, ReadJsonObjectsInARow) {
  const auto objects = read(
      "\xef\xbb\xbf{\"kind\":\"Node\",\"metadata\":{\"name\":\"a\"}}{\"kind\":\"Node\","
      "\"metadata\":{\"name\":\"b\"}}\n---\nkind: Node\nmetadata: {name: c}\n");
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_EQ(objects->nodes.size(), 3U);
}

TEST(Manifests, ReadListsAndTemplatesInYaml) {
  const auto objects = read(R"(
kind: List
apiVersion: v1
items:
- kind: Deployment
  apiVersion: apps/v1
  metadata: {name: web, namespace: ml}
  spec:
    replicas: 3
    template:
      spec: {containers: [{name: c}]}
- kind: ResourceQuota
  apiVersion: v1
  metadata: {name: q, namespace: ml}
  spec: {hard: {limits.nvidia.com/gpumem: 20000}}
- {kind: DaemonSet, apiVersion: apps/v1, metadata: {name: d}}
- {kind: Job, apiVersion: batch/v1, metadata: {name: j, uid: u}}
)");
  ASSERT_TRUE(objects) << objects.error().message;
  ASSERT_EQ(objects->pods.size(), 3U);
  EXPECT_EQ(objects->pods[2].full_name(), "ml/web-2");
  EXPECT_THAT(objects->quotas.at(0).hard, ElementsAre(Pair("limits.nvidia.com/gpumem", 20'000)));
  EXPECT_THAT(passed_over(*objects),
              ElementsAre(HasSubstr("1 DaemonSet (apps)"), HasSubstr("come from a live cluster")));
}

TEST(Manifests, AliasesStandForWhatTheyName) {
  const auto objects = read(R"(
kind: Pod
metadata: {name: a}
spec:
  containers:
    - {name: one, resources: &amounts {limits: &both {a.com/x: 2}, requests: *both}}
    - {name: two, resources: *amounts}
)");
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_EQ(objects->pods.at(0).containers.at(1).limits.at("a.com/x"), "2");
}

struct Scalar {
  std::string_view yaml, json;
};
void PrintTo(const Scalar& scalar, std::ostream* out) { *out << scalar.yaml; }
class PlainScalar : public testing::TestWithParam<Scalar> {};
TEST_P(PlainScalar, IsReadAsKubectlDoes) { EXPECT_EQ(plain_scalar(GetParam().yaml).dump(), GetParam().json); }
INSTANTIATE_TEST_SUITE_P(
    Table, PlainScalar,
    testing::Values(Scalar{"", "null"}, Scalar{"~", "null"}, Scalar{"Null", "null"}, Scalar{"yes", "true"},
                    Scalar{"On", "true"}, Scalar{"n", "false"}, Scalar{"tRue", "\"tRue\""}, Scalar{"12", "12"},
                    Scalar{"-3", "-3"}, Scalar{"+7", "7"}, Scalar{"0x1F", "31"}, Scalar{"010", "8"},
                    Scalar{"0o10", "8"}, Scalar{"0b11", "3"}, Scalar{"1_000", "1000"}, Scalar{"09", "9.0"},
                    Scalar{"1.5", "1.5"}, Scalar{".5", "0.5"}, Scalar{"5.", "5.0"}, Scalar{"1e3", "1000.0"},
                    Scalar{"1.5.2", "\"1.5.2\""}, Scalar{"500m", "\"500m\""}, Scalar{"2Gi", "\"2Gi\""},
                    Scalar{"1e", "\"1e\""}, Scalar{".", "\".\""}, Scalar{"-", "\"-\""}, Scalar{"--1", "\"--1\""},
                    Scalar{"inf", "\"inf\""}, Scalar{"nan", "\"nan\""}, Scalar{"2024-01-02", "\"2024-01-02\""},
                    Scalar{"18446744073709551615", "18446744073709551615"}));

struct Wrong {
  std::string_view text, says;
};
void PrintTo(const Wrong& wrong, std::ostream* out) { *out << wrong.says; }
class WrongManifest : public testing::TestWithParam<Wrong> {};
TEST_P(WrongManifest, IsNamedWithFileDocumentObjectAndField) {
  EXPECT_THAT(error_of(GetParam().text), HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(
    Table, WrongManifest,
    testing::Values(
        Wrong{"kind: Node\nmetadata: {name: n1}\n---\nkind: Pod\nmetadata: {name: a, labels: {x: 1}}\n",
              "objects.yaml: document 2, line 5: Pod default/a: metadata.labels.x: must be a text (put it in quotes), "
              "not "
              "the number 1"},
        Wrong{"kind: Node\nmetadata: {name: no}\n",
              "document 1, line 2: Node without a name: metadata.name: must be a text (put it in quotes), not false"},
        Wrong{"kind: Pod\nmetadata: {name: a}\nspec: {containers: [{resources: {limits: {cpu: 5x}}}]}\n",
              "document 1, line 3: Pod default/a: spec.containers[0].resources.limits.cpu: '5x' has an unknown suffix"},
        Wrong{"{\"kind\":\"Pod\",\n\"metadata\":{\"name\":\"a\"}}\n{\"kind\":\n\"Node\",\"metadata\":{}}",
              "objects.yaml: document 2, line 4: Node without a name: metadata.name: is missing"},
        Wrong{"kind: Pod\nkind: Pod\n", "line 2: the key 'kind' is given twice"},
        Wrong{"kind: Pod\n  x: 1\n", "document 1, line 2: "}, Wrong{"kind: [a\n", "document 1, line "},
        Wrong{"just words\n", "a document must be an object with kind and metadata"},
        Wrong{"- a\n- b\n", "a document must be an object with kind and metadata"},
        Wrong{"name: x\n", "an object without a name: kind: is missing"},
        Wrong{"kind: Pod\n? [a]\n: b\n", "a key must be a text"},
        Wrong{"kind: Pod\na: &x [*x]\n", "the alias stands inside what it names"},
        Wrong{"kind: Pod\n<<: {a: b}\n", "merge keys (<<) are not read here"},
        Wrong{"kind: Pod\nmetadata: {name: a}\n]\n", "document 1, line "},
        Wrong{"{\"kind\":\"Pod\",", "document 1, line 1: this is not JSON"}));

TEST(Manifests, AreBounded) {
  EXPECT_THAT(error_of("kind: Pod\nx: " + std::string(100, '[') + std::string(100, ']')),
              HasSubstr("nested deeper than 64 levels"));
  std::string bomb = "kind: Pod\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    bomb += fmt::format("a{0}: &a{0} [", i);
    for (int k = 0; k < 10; ++k) bomb += fmt::format("*a{},", i - 1);
    bomb += "]\n";
  }
  EXPECT_THAT(error_of(bomb), HasSubstr("aliases make more than 100000 values"));
  std::string ladder = "kind: Pod\na0: &a0 [x]\n";
  for (int i = 1; i < 100; ++i) ladder += fmt::format("a{0}: &a{0} [*a{1}]\n", i, i - 1);
  EXPECT_THAT(error_of(ladder), HasSubstr("nested deeper than 64 levels"));
  EXPECT_THAT(error_of("x: " + std::string(kMostYamlBytes, 'a')), HasSubstr("more than 64.0 MiB of YAML"));
}

TEST(Manifests, AreToldFromTraces) {
  EXPECT_TRUE(looks_like_a_trace("\nsn,cpu_milli,memory_mib,gpu,model\n"));
  EXPECT_TRUE(looks_like_a_trace("name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1,1,1,1\n"));
  EXPECT_FALSE(looks_like_a_trace("kind: Pod\n"));
  EXPECT_FALSE(looks_like_a_trace("{\"kind\": \"List\", \"cpu_milli\": 1}"));
  EXPECT_FALSE(looks_like_a_trace(""));
}

TEST(Manifests, OfNothingHaveNoObjects) {
  const auto objects = read("\n---\n# nothing\n---\n");
  ASSERT_TRUE(objects);
  EXPECT_THAT(objects->nodes, IsEmpty());
  EXPECT_THAT(passed_over(*objects), IsEmpty());
}

}  // namespace
}  // namespace kiboko::cli
