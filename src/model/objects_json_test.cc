#include "model/objects_json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace kiboko {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

Json json(std::string_view text) { return Json::parse(text, nullptr, true, true); }

Pod pod(std::string_view spec, std::string_view more = "") {
  const auto read = pod_from_json(json(
      fmt::format(R"({{"kind":"Pod","metadata":{{"name":"train-0","namespace":"ml"}},"spec":{}{}}})", spec, more)));
  EXPECT_TRUE(read) << read.error().message;
  return read.value_or(Pod{});
}

TEST(PodJson, TellsWhatPlacementNeeds) {
  const auto read = pod_from_json(json(R"({
    "kind": "Pod", "apiVersion": "v1",
    "metadata": {"name": "train-0", "namespace": "ml", "uid": "u-1", "labels": {"app": "train"},
                 "annotations": {"hami.io/vgpu-node": "n1"}, "ownerReferences": [{"kind": "Job"}]},
    "spec": {"nodeName": "n1", "priorityClassName": "high", "activeDeadlineSeconds": 60, "nodeSelector": {"disk": "ssd"},
             "containers": [{"name": "main", "image": "x", "resources": {
               "limits": {"nvidia.com/gpu": "2", "nvidia.com/gpumem": "3k", "cpu": "2"},
               "requests": {"cpu": "500m", "memory": "2Gi"}}}]},
    "status": {"phase": "Running"}})"));
  ASSERT_TRUE(read) << read.error().message;
  const Pod& is = *read;
  EXPECT_EQ(is.full_name(), "ml/train-0");
  EXPECT_EQ(is.uid, "u-1");
  EXPECT_EQ(is.node, "n1");
  EXPECT_EQ(is.phase, PodPhase::Running);
  EXPECT_EQ(is.priority_class, "high");
  EXPECT_TRUE(is.has_deadline);
  EXPECT_FALSE(is.best_effort);
  EXPECT_TRUE(is.init_done);
  EXPECT_EQ(is.cpu_milli, 500);
  EXPECT_EQ(is.host_memory, 2_GiB);
  EXPECT_THAT(is.labels, ElementsAre(Pair("app", "train")));
  EXPECT_THAT(is.annotations, ElementsAre(Pair("hami.io/vgpu-node", "n1")));
  EXPECT_THAT(is.node_selector, ElementsAre(Pair("disk", "ssd")));
  ASSERT_EQ(is.containers.size(), 1U);
  EXPECT_EQ(is.containers[0].limits.at("nvidia.com/gpumem"), "3k");
  EXPECT_EQ(is.containers[0].requests.at("nvidia.com/gpu"), "2");  // the limit is the request
  EXPECT_EQ(is.containers[0].requests.at("cpu"), "500m");
}

struct Need {
  std::string_view name, spec;
  std::int64_t cpu_milli;
  Bytes host_memory;
};
void PrintTo(const Need& need, std::ostream* out) { *out << need.name; }
class EffectiveRequests : public testing::TestWithParam<Need> {};
TEST_P(EffectiveRequests, AreTheMostThatRunsAtOnce) {
  const Pod is = pod(GetParam().spec);
  EXPECT_EQ(is.cpu_milli, GetParam().cpu_milli);
  EXPECT_EQ(is.host_memory, GetParam().host_memory);
}
INSTANTIATE_TEST_SUITE_P(
    Table, EffectiveRequests,
    testing::Values(
        Need{"nothing", R"({"containers":[{"name":"a"}]})", 0, {}},
        Need{"containers_add_up",
             R"({"containers":[{"name":"a","resources":{"requests":{"cpu":"500m","memory":"1Gi"}}},
                               {"name":"b","resources":{"requests":{"cpu":0.25,"memory":"512Mi"}}}]})",
             750, 1536_MiB},
        Need{"a_limit_is_a_request", R"({"containers":[{"name":"a","resources":{"limits":{"cpu":3,"memory":"1Gi"},
                                                                                "requests":{"cpu":"1"}}}]})",
             1000, 1_GiB},
        Need{"an_init_container_runs_alone",
             R"({"initContainers":[{"name":"i","resources":{"requests":{"cpu":"4","memory":"1Gi"}}}],
                 "containers":[{"name":"a","resources":{"requests":{"cpu":"1","memory":"2Gi"}}}]})",
             4000, 2_GiB},
        Need{"a_sidecar_runs_beside_all_that_follows",
             R"({"initContainers":[{"name":"i","resources":{"requests":{"cpu":"4"}}},
                                   {"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"2"}}},
                                   {"name":"j","resources":{"requests":{"cpu":"3"}}}],
                 "containers":[{"name":"a","resources":{"requests":{"cpu":"2500m"}}}]})",
             5000,
             {}},
        Need{"sidecars_and_containers_add_up",
             R"({"initContainers":[{"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"2"}}}],
                 "containers":[{"name":"a","resources":{"requests":{"cpu":"3"}}}]})",
             5000,
             {}},
        Need{"overhead_comes_on_top", R"({"overhead":{"cpu":"250m","memory":"64Mi"},
                 "containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}]})",
             1250, 64_MiB},
        Need{"the_pod_may_ask_as_a_whole", R"({"resources":{"requests":{"cpu":"2"},"limits":{"memory":"1Gi"}},
                 "containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}]})",
             2000, 1_GiB},
        Need{"too_much_stays_too_much",
             R"({"containers":[{"name":"a","resources":{"requests":{"cpu":"9e15"}}},
                               {"name":"b","resources":{"requests":{"cpu":"9e15"}}}]})",
             INT64_MAX,
             {}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(PodJson, KeepsAmountsOfDevicesAsTheyWereWritten) {
  const Pod is = pod(R"({"containers":[{"name":"a","resources":{"limits":{
      "nvidia.com/gpu":1,"nvidia.com/gpumem":"1.5x","nvidia.com/gpucores":0.5,"amd.com/gpu":null}}}]})");
  EXPECT_THAT(is.containers[0].limits,
              UnorderedElementsAre(Pair("nvidia.com/gpu", "1"), Pair("nvidia.com/gpumem", "1.5x"),
                                   Pair("nvidia.com/gpucores", "0.5")));
}

TEST(PodJson, OrdersContainersAsTheyStart) {
  const Pod is = pod(R"({"containers":[{"name":"main"}],
      "initContainers":[{"name":"fetch"},{"name":"proxy","restartPolicy":"Always"}],"ephemeralContainers":[{"name":"e"}]})");
  ASSERT_EQ(is.containers.size(), 3U);
  EXPECT_EQ(is.containers[0].kind, ContainerKind::Init);
  EXPECT_EQ(is.containers[1].kind, ContainerKind::Sidecar);
  EXPECT_EQ(is.containers[2].name, "main");
}

TEST(PodJson, KnowsWhenInitHasEndedWell) {
  constexpr std::string_view kSpec =
      R"({"initContainers":[{"name":"i"},{"name":"s","restartPolicy":"Always"}],"containers":[{"name":"a"}]})";
  const auto status = [](std::string_view of_i) {
    return fmt::format(R"(,"status":{{"initContainerStatuses":[{{"name":"i","state":{}}},
                          {{"name":"s","state":{{"running":{{}}}}}}]}})",
                       of_i);
  };
  EXPECT_FALSE(pod(kSpec).init_done);
  EXPECT_FALSE(pod(kSpec, status(R"({"running":{}})")).init_done);
  EXPECT_FALSE(pod(kSpec, status(R"({"terminated":{"exitCode":1}})")).init_done);
  EXPECT_TRUE(pod(kSpec, status(R"({"terminated":{"exitCode":0}})")).init_done);
}

TEST(PodJson, CallsAPodWithoutCpuAndMemoryBestEffort) {
  EXPECT_TRUE(
      pod(R"({"containers":[{"name":"a","resources":{"limits":{"nvidia.com/gpu":1,"cpu":"0"}}}]})").best_effort);
  EXPECT_FALSE(pod(R"({"containers":[{"name":"a","resources":{"limits":{"memory":"1Mi"}}}]})").best_effort);
}

TEST(PodJson, TakesAPodWhoseNodeIsSilentForRunning) {
  EXPECT_EQ(pod(R"({"containers":[]})", R"(,"status":{"phase":"Unknown"})").phase, PodPhase::Running);
}

TEST(NodeJson, TellsWhatCanBeGivenOut) {
  const auto node = node_from_json(json(R"({"kind":"Node","metadata":{"name":"n1","annotations":{"a":"b"}},
    "spec":{"unschedulable":true,"taints":[{}]},
    "status":{"capacity":{"cpu":"96","memory":"1Ti","nvidia.com/gpu":"80"},
              "allocatable":{"cpu":"95500m","memory":"1000Gi","nvidia.com/gpu":"8","pods":"110","hugepages-2Mi":"0",
                             "kubernetes.io/batch-cpu":"1.5"}}})"));
  ASSERT_TRUE(node) << node.error().message;
  EXPECT_EQ(node->cpu_milli, 95'500);
  EXPECT_EQ(node->host_memory, 1000_GiB);
  EXPECT_TRUE(node->unschedulable);
  EXPECT_THAT(node->capacity, ElementsAre(Pair("nvidia.com/gpu", 8)));
  EXPECT_THAT(node->annotations, ElementsAre(Pair("a", "b")));
}

TEST(NodeJson, FallsBackToCapacity) {
  const auto node = node_from_json(
      json(R"({"metadata":{"name":"n"},"status":{"capacity":{"cpu":4,"memory":"8Gi","amd.com/gpu":2}}})"));
  EXPECT_EQ(node->cpu_milli, 4000);
  EXPECT_THAT(node->capacity, ElementsAre(Pair("amd.com/gpu", 2)));
}

TEST(QuotaJson, KeepsTheLimitsOnDevicesAndTheirScope) {
  const auto quota = quota_from_json(json(R"({"metadata":{"name":"q","namespace":"ml"},"spec":{
    "hard":{"limits.nvidia.com/gpumem":"20k","requests.nvidia.com/gpu":"4","limits.cpu":"1500m","pods":"10"},
    "scopes":["NotBestEffort"],
    "scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high","top"]},
                                         {"scopeName":"PriorityClass","operator":"In","values":["top"]},
                                         {"scopeName":"Terminating","operator":"Exists"}]}}})"));
  ASSERT_TRUE(quota) << quota.error().message;
  EXPECT_THAT(quota->hard, ElementsAre(Pair("limits.nvidia.com/gpumem", 20'000), Pair("requests.nvidia.com/gpu", 4)));
  EXPECT_THAT(quota->scopes, ElementsAre(ResourceQuota::Scope::NotBestEffort, ResourceQuota::Scope::Terminating));
  EXPECT_THAT(quota->priority_classes, ElementsAre("top"));
}

TEST(QuotaJson, LooksAtNoScopeOfAQuotaWithoutDevices) {
  const auto quota = quota_from_json(
      json(R"({"metadata":{"name":"q"},"spec":{"hard":{"pods":"1"},"scopes":["CrossNamespacePodAffinity"]}})"));
  ASSERT_TRUE(quota);
  EXPECT_THAT(quota->hard, IsEmpty());
}

struct Wrong {
  std::string_view text, says;
};
class WrongObject : public testing::TestWithParam<Wrong> {};
TEST_P(WrongObject, IsNamedWithItsField) {
  const auto read = parse_objects(GetParam().text);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::Invalid);
  EXPECT_THAT(read.error().message, HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(
    Table, WrongObject,
    testing::Values(
        Wrong{R"({"kind":"Pod","metadata":{"name":"a","namespace":"ml"},"spec":{"nodeName":5}})",
              "Pod ml/a: spec.nodeName: must be a text (put it in quotes), not the number 5"},
        Wrong{R"({"kind":"Pod","metadata":{"name":"a","annotations":{"k":true}}})",
              "Pod default/a: metadata.annotations.k: must be a text (put it in quotes), not true"},
        Wrong{
            R"({"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{},{"resources":{"requests":{"cpu":"5x"}}}]}})",
            "Pod default/a: spec.containers[1].resources.requests.cpu: '5x' has an unknown suffix"},
        Wrong{R"({"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":{}}})",
              "spec.containers: must be a list, not an object"},
        Wrong{R"({"kind":"Pod","metadata":{"name":"a"},"spec":[]})", "spec: must be an object, not a list"},
        Wrong{R"({"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"resources":{"limits":{"a/b":[]}}}]}})",
              "limits.a/b: must be an amount such as 4, \"500m\" or \"2Gi\", not a list"},
        Wrong{R"({"kind":"Pod","metadata":{"name":"a"},"status":{"phase":"Lost"}})", "status.phase: must be Pending"},
        Wrong{R"({"kind":"Pod","metadata":{}})", "Pod without a name: metadata.name: is missing"},
        Wrong{R"({"kind":"Node","metadata":{"name":"n1"},"status":{"allocatable":{"nvidia.com/gpu":"1.5"}}})",
              "Node n1: status.allocatable.nvidia.com/gpu: '1.5' is not a whole number"},
        Wrong{R"({"kind":"ResourceQuota","metadata":{"name":"q"},"spec":{"hard":{"limits.a/b":"1"},"scopes":["Odd"]}})",
              "ResourceQuota default/q: spec.scopes[0]: the scope 'Odd' is not known here"},
        Wrong{R"({"kind":"ResourceQuota","metadata":{"name":"q"},"spec":{"hard":{"limits.a/b":"1"},"scopeSelector":
              {"matchExpressions":[{"scopeName":"PriorityClass","operator":"NotIn","values":["x"]}]}}})",
              "scopeSelector.matchExpressions[0].operator: 'NotIn' is not known here; PriorityClass goes with In"},
        Wrong{R"({"kind":"Job","apiVersion":"batch/v1","metadata":{"name":"j"},"spec":{"parallelism":1000000}})",
              "Job default/j: spec.parallelism: must be a whole number from 0 to 10000, not the number 1000000"},
        Wrong{R"({"kind":"List","items":[{"kind":"Pod","metadata":{"name":"a"}},{"metadata":{"name":"b"}}]})",
              "an element of 'items' has no kind"},
        Wrong{R"({"kind":"PodList","items":[5]})", "'items' must be a list of objects"},
        Wrong{R"({"metadata":{"name":"a"}})", "an object default/a: kind: is missing"},
        Wrong{"{\"kind\":\"Pod\",\n\"metadata\":{\"name\":\"a\",\"name\":\"b\"}}",
              "line 2: the key 'name' is given twice"},
        Wrong{"[]", "a document must be an object"}, Wrong{"5", "a document must be an object"},
        Wrong{"{\n\n\"a\":x}", "line 3: this is not JSON"}, Wrong{"", "this is not JSON"},
        Wrong{"{\"kind\":\"X\"} {}", "something stands behind the object"}));

TEST(ObjectsJson, ReadsListsWhoseElementsAreNamedByTheListAlone) {
  for (const char* text :
       {R"({"kind":"NodeList","apiVersion":"v1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]})",
        R"({"apiVersion":"v1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}],"kind":"NodeList"})"}) {
    const auto objects = parse_objects(text);
    ASSERT_TRUE(objects) << objects.error().message;
    ASSERT_EQ(objects->nodes.size(), 2U) << text;
    EXPECT_EQ(objects->nodes[1].name, "b");
    EXPECT_THAT(objects->others, IsEmpty());
  }
}

TEST(ObjectsJson, ReadsMixedListsAndCountsOtherKinds) {
  const auto objects = parse_objects(R"({"kind":"List","apiVersion":"v1","items":[
    {"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","managedFields":[{"f":[[[{}]]]}]}},
    {"kind":"Node","apiVersion":"v1","metadata":{"name":"n"},"status":{"images":[{"names":["x"]}],"capacity":{"cpu":"1"}}},
    {"kind":"Node","apiVersion":"longhorn.io/v1beta2","metadata":{"name":"n"}},
    {"kind":"ResourceQuota","apiVersion":"v1","metadata":{"name":"q"}},
    {"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"}},
    {"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"d"}},
    {"kind":"PodList","apiVersion":"v1","items":[{"kind":"Pod","metadata":{"name":"inner"}}]}]})");
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_EQ(objects->pods.size(), 2U);
  ASSERT_EQ(objects->nodes.size(), 1U);
  EXPECT_EQ(objects->nodes[0].cpu_milli, 1000);
  EXPECT_EQ(objects->quotas.size(), 1U);
  EXPECT_THAT(objects->others, ElementsAre(Pair("ConfigMap", 2), Pair("Node (longhorn.io)", 1)));
}

TEST(ObjectsJson, MakesThePodsOfATemplate) {
  const auto objects = parse_objects(R"({"kind":"List","items":[
    {"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","namespace":"ml"},"spec":{"replicas":2,
     "template":{"metadata":{"annotations":{"a":"b"}},"spec":{"containers":[{"name":"c","resources":{"limits":{"x/y":1}}}]}}}},
    {"kind":"StatefulSet","apiVersion":"apps/v1","metadata":{"name":"db"},"spec":{"template":{"spec":{"containers":[]}}}},
    {"kind":"Job","apiVersion":"batch/v1","metadata":{"name":"j"},"spec":{"parallelism":5,"completions":1,"template":{}}},
    {"kind":"Job","apiVersion":"batch/v1","metadata":{"name":"off"},"spec":{"suspend":true,"template":{}}},
    {"kind":"ReplicaSet","apiVersion":"apps/v1","metadata":{"name":"live","uid":"u"},"spec":{"replicas":7}},
    {"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"name":"d"}}]})");
  ASSERT_TRUE(objects) << objects.error().message;
  std::vector<std::string> names;
  for (const Pod& made : objects->pods) names.push_back(made.full_name());
  EXPECT_THAT(names, ElementsAre("ml/web-0", "ml/web-1", "default/db-0", "default/j-0"));
  EXPECT_EQ(objects->pods[1].annotations.at("a"), "b");
  EXPECT_EQ(objects->pods[1].containers[0].limits.at("x/y"), "1");
  EXPECT_EQ(objects->live_workloads, 1U);
  EXPECT_THAT(objects->others, ElementsAre(Pair("DaemonSet (apps)", 1)));
}

TEST(ObjectsJson, AreBoundedInDepth) {
  std::string deep = R"({"kind":"Pod","metadata":{"name":"a"},"x":)";
  deep.append(100'000, '[');
  const auto objects = parse_objects(deep);
  ASSERT_FALSE(objects);
  EXPECT_THAT(objects.error().message, HasSubstr("nested deeper than 64 levels"));
  std::string passed_over = R"({"kind":"Pod","metadata":{"name":"a","managedFields":)";
  passed_over.append(100'000, '[');
  EXPECT_FALSE(parse_objects(passed_over));
}

}  // namespace
}  // namespace kiboko
