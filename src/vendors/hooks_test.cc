#include "vendors/hooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vendors/catalog.h"
#include "vendors/enflame.h"
#include "vendors/kunlun.h"
#include "vendors/metax.h"
#include "vendors/mig.h"
#include "vendors/neuron.h"
#include "vendors/score.h"

namespace kiboko::vendors {
namespace {

using testing::HasSubstr;
using testing::Optional;

// ---- MIG ----

std::vector<MigProfile> a100() {
  return {{"7g.40gb", {40320}, {100}, 8, {{0, 8}}},
          {"3g.20gb", {19968}, {43}, 4, {{0, 4}, {4, 4}}},
          {"1g.5gb", {4864}, {15}, 1, {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}}},
          {"2g.10gb", {9984}, {29}, 2, {{0, 2}, {2, 2}, {4, 2}}}};
}

std::string chosen(std::vector<MigPlacement> live, std::int64_t memory, std::int64_t cores = 0, bool whole = false) {
  const auto profiles = a100();
  const auto choice = mig_choice(profiles, live, MiB{memory}, CoreUnits{cores}, whole);
  return choice ? fmt::format("{}@{}", choice->profile->name, choice->placement.start) : "none";
}

TEST(Mig, TakesTheSmallestProfileThatHoldsIt) {
  EXPECT_EQ(chosen({}, 4000), "1g.5gb@6");
  EXPECT_EQ(chosen({{6, 1}}, 4000), "1g.5gb@5");
  EXPECT_EQ(chosen({}, 5000), "2g.10gb@0");
  EXPECT_EQ(chosen({}, 12000), "3g.20gb@4");
  EXPECT_EQ(chosen({{4, 4}}, 12000), "3g.20gb@0");
  EXPECT_EQ(chosen({}, 41000), "none");
}

TEST(Mig, NeverOverlapsALiveInstance) {
  EXPECT_EQ(chosen({{0, 4}, {4, 4}}, 1), "none");
  EXPECT_EQ(chosen({{0, 4}, {6, 1}}, 9000), "2g.10gb@4");
  EXPECT_FALSE(overlap({0, 4}, {4, 4}));
  EXPECT_TRUE(overlap({0, 5}, {4, 4}));
  EXPECT_TRUE(overlap({0xFFFF'FFFF, 2}, {0xFFFF'FFFF, 1}));
}

TEST(Mig, ComputeCountsAndAWholeDeviceIsTheLargestProfile) {
  EXPECT_EQ(chosen({}, 1, 30), "3g.20gb@4");
  EXPECT_EQ(chosen({}, 1, 100), "7g.40gb@0");
  EXPECT_EQ(chosen({}, 0, 0, true), "7g.40gb@0");
  EXPECT_EQ(chosen({{6, 1}}, 0, 0, true), "none");
}

// ---- AWS Neuron ----

TEST(Neuron, CoresAreOfOneDeviceOrWholeDevices) {
  EXPECT_EQ(neuron_share(1, 2).value(), (NeuronShare{1, 1}));
  EXPECT_EQ(neuron_share(2, 2).value(), (NeuronShare{1, 2}));
  EXPECT_THAT(neuron_share(3, 2).error().message, HasSubstr("ask for 2 or 4"));
  EXPECT_EQ(neuron_share(4, 2).value(), (NeuronShare{2, 2}));
  EXPECT_EQ(neuron_share(3, 4).value(), (NeuronShare{1, 3}));
  EXPECT_FALSE(neuron_share(0, 2));
  EXPECT_FALSE(neuron_share(UINT64_MAX, 1));
}

TEST(Neuron, FreeCoresAreTakenFromTheLowest) {
  EXPECT_THAT(neuron_mask(3, 0, 1), Optional(1U));
  EXPECT_THAT(neuron_mask(3, 1, 1), Optional(2U));
  EXPECT_THAT(neuron_mask(3, 2, 1), Optional(1U));
  EXPECT_THAT(neuron_mask(3, 0, 2), Optional(3U));
  EXPECT_THAT(neuron_mask(15, 5, 2), Optional(10U));
  EXPECT_EQ(neuron_mask(3, 1, 2), std::nullopt);
  EXPECT_EQ(neuron_mask(3, 3, 1), std::nullopt);
}

// ---- Enflame ----

std::vector<Slice> slices(const char* profiles) {
  const auto devices = decode_enflame_capacity(
      fmt::format(R"({{"devices":[{{"index":"0","minor":"0","capacity":6}}],"profiles":{}}})", profiles), "n1");
  return devices ? slices_of(devices->front()) : std::vector<Slice>{};
}

std::string slice_of(const std::vector<Slice>& all, MemoryAsk memory, std::int64_t cores = 0) {
  DeviceAsk ask;
  ask.memory = memory;
  ask.cores.value = cores;
  const auto slice = slice_for(all, ask);
  return slice ? slice->name : "none";
}
MemoryAsk spec(std::int64_t amount) { return {MemoryAsk::Kind::Spec, amount, false}; }
MemoryAsk size(std::int64_t amount) { return {MemoryAsk::Kind::Slices, amount, false}; }

TEST(Enflame, AllSlicesTogetherNeverExceedADevice) {
  const auto all = slices(R"({"1g.6gb":"0","2g.12gb":"1","3g.20gb":"2","4g.26gb":"3","5g.33gb":"4","6g.40gb":"5"})");
  std::vector<std::int64_t> cores;
  for (const Slice& slice : all) cores.push_back(slice.cores.count);
  EXPECT_THAT(cores, testing::ElementsAre(16, 33, 50, 66, 83, 100));
}

TEST(Enflame, ASliceIsFoundBySizeOrByWhatItHas) {
  const auto all = slices(R"({"1G.8GB":"0","3g.24gb":"1","6g.48gb":"2"})");
  EXPECT_EQ(slice_of(all, size(3)), "3g.24gb");
  EXPECT_EQ(slice_of(all, size(2)), "none");
  EXPECT_EQ(slice_of(all, spec(9)), "3g.24gb");
  EXPECT_EQ(slice_of(all, spec(8), 20), "3g.24gb");
  EXPECT_EQ(slice_of(all, spec(0), 51), "6g.48gb");
  EXPECT_EQ(slice_of(all, spec(96)), "none");       // 96 GiB
  EXPECT_EQ(slice_of(all, spec(97)), "1G.8GB");     // 97 MiB
  EXPECT_EQ(slice_of(all, spec(9000)), "3g.24gb");  // 9000 MiB
}

TEST(Enflame, AWrongCapacityIsNamed) {
  const auto fault = [](const char* text) { return decode_enflame_capacity(text, "n1").error().message; };
  EXPECT_THAT(fault(R"({"profiles":{"huge":"0"}})"), HasSubstr("'huge'"));
  EXPECT_THAT(fault(R"({"devices":[{"index":"x"}]})"), HasSubstr("device 0 of the list: 'index'"));
  EXPECT_THAT(fault(R"({"devices":[{"index":0,"capacity":-1}]})"), HasSubstr("'capacity'"));
  EXPECT_THAT(fault("[]"), HasSubstr("must be a JSON object"));
  EXPECT_THAT(fault(R"({"devices":5})"), HasSubstr("'devices' must be a list"));
}

// ---- Kunlun ----

TEST(Kunlun, ScoresByTheOddCardsThatAreLeft) {
  const std::vector<unsigned> none, one = {0}, two = {0, 1}, three = {0, 1, 2}, four = {0, 1, 2, 3}, cross = {0, 4};
  EXPECT_EQ(kunlun_score(none, four), 2000);   // 1 -> 0 + 1
  EXPECT_EQ(kunlun_score(three, four), 3000);  // 1 + 1 -> 0 + 1
  EXPECT_EQ(kunlun_score(one, two), 3000);     // 2 + 1 -> 1 + 1
  EXPECT_EQ(kunlun_score(two, three), 2000);
  EXPECT_EQ(kunlun_score(none, one), 0);      // 1 -> 2 + 1
  EXPECT_EQ(kunlun_score(one, cross), 1000);  // 3 -> 4
}

// ---- MetaX ----

TEST(Metax, ClassesDoNotMix) {
  EXPECT_TRUE(metax_class_fits("online", 0, 0, true));
  EXPECT_TRUE(metax_class_fits("online", 1, 1, false));
  EXPECT_TRUE(metax_class_fits("offline", 0, 2, false));
  EXPECT_FALSE(metax_class_fits("offline", 1, 0, false));
  EXPECT_FALSE(metax_class_fits("", 1, 0, false));
  EXPECT_FALSE(metax_class_fits("online", 0, 0, false));
  EXPECT_TRUE(metax_class_fits("", 0, 0, false));
}

TEST(Metax, OnePolicyForAllOfADevice) {
  EXPECT_TRUE(metax_qos_fits("best-effort", "", {50}, "fixed-share", true));
  EXPECT_TRUE(metax_qos_fits("best-effort", "", {50}, "", false));
  EXPECT_FALSE(metax_qos_fits("best-effort", "", {50}, "fixed-share", false));
  EXPECT_TRUE(metax_qos_fits("best-effort", "", {100}, "fixed-share", false));
  EXPECT_TRUE(metax_qos_fits("", "online", {50}, "fixed-share", false));
}

TEST(Metax, LinkedDevicesScoreWhereSomebodyWantsThem) {
  CustomInfo zone1, zone2;
  set_custom(zone1, "LinkZone", 1);
  set_custom(zone2, "LinkZone", 2);
  std::vector<ScoredDevice> devices = {{0, &zone1, false, true, true, 0, 0},
                                       {1, &zone1, false, true, true, 0, 0},
                                       {2, &zone2, false, false, false, 0, 0},
                                       {3, &zone2, false, false, false, 0, 0}};
  EXPECT_EQ(hook_score("metax.links", {devices, false, true}), 100);
  EXPECT_EQ(hook_score("metax.links", {devices, false, false}), 0);
  devices[1].taken = false;
  devices[2].taken = true;
  EXPECT_EQ(hook_score("metax.links", {devices, false, true}), -20);
  devices[0].offline = 2;
  devices[2].online = 1;
  devices[2].offline = 1;
  EXPECT_EQ(hook_score("metax.links", {devices, true, true}), -222);
}

// ---- scores of nodes ----

TEST(NodeScore, IsTheProfilesOwnMeasure) {
  const Catalog catalog = Catalog::shipped().value();
  CustomInfo near, far;
  set_custom(near, "NetworkID", 0);
  set_custom(far, "NetworkID", 1);
  const Annotations none;
  EXPECT_EQ(node_score(*catalog.find("Ascend910B3"), {none, {{&near, &near, &near, &near}}, false, {}}), 10);
  EXPECT_EQ(node_score(*catalog.find("Ascend910B3"), {none, {{&near, &near, &near, &near, &far}}, false, {}}), 8);
  EXPECT_EQ(node_score(*catalog.find("Ascend310P"), {none, {{&near}}, false, {}}), 0);
  EXPECT_EQ(node_score(*catalog.find("NVIDIA"), {none, {{&near}}, false, {}}), 0);
  const Annotations tables = {{"metax-tech.com/gpu.topology.losses", R"({"1":0,"2":12})"},
                              {"metax-tech.com/gpu.topology.scores", R"({"2":100})"}};
  const Family& metax = *catalog.find("Metax-GPU");
  EXPECT_EQ(node_score(metax, {tables, {{&near, &near}}, false, {}}), 1988);
  EXPECT_EQ(node_score(metax, {tables, {{&near}, {&near}}, true, {}}), 1900);
  EXPECT_EQ(node_score(metax, {tables, {{&near, &near, &near}}, false, {}}), 2000);
  EXPECT_EQ(node_score(metax, {none, {{&near}}, false, {}}), 0);
  const Annotations wrong = {{"metax-tech.com/gpu.topology.losses", "[1]"}};
  EXPECT_THAT(node_score(metax, {wrong, {{&near}}, false, {}}).error().message, HasSubstr("gpu.topology.losses"));
}

TEST(Hooks, AnUnknownNameDoesNothing) {
  EXPECT_FALSE(is_score_hook("magic"));
  EXPECT_EQ(hook_score("magic", {}), 0);
  EXPECT_FALSE(decode_devices("magic", "[]", "n1"));
}

}  // namespace
}  // namespace kiboko::vendors
