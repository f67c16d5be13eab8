#include "vendors/discover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vendors/catalog.h"

namespace kiboko::vendors {
namespace {

using testing::HasSubstr;

const Catalog& catalog() {
  static const Catalog kCatalog = Catalog::shipped().value();
  return kCatalog;
}

Result<std::vector<RegisteredDevice>> found(std::string_view family, const Node& node) {
  return discover(*catalog().find(family), node);
}

TEST(Discovery, AnAnnotationListsDevices) {
  Node node{"n1", {}, {}, {}};
  EXPECT_TRUE(found("DCU", node).value().empty());
  node.annotations["hami.io/node-dcu-register"] = "DCU-7,4,65520,100,DCU-K100,0,true,1,hami:";
  const auto devices = found("DCU", node).value();
  ASSERT_EQ(devices.size(), 1U);
  EXPECT_EQ(devices[0].vendor, "DCU");
  EXPECT_EQ(devices[0].index, 1U);
}

TEST(Discovery, AnOldPluginsRowsAreReadWhereJsonIsUsualNow) {
  const Node node{"n1", {{"hami.io/node-nvidia-register", "GPU-a,10,16384,100,NVIDIA-Tesla V100,0,true:"}}, {}, {}};
  EXPECT_EQ(found("NVIDIA", node).value()[0].type, "NVIDIA-Tesla V100");
}

TEST(Discovery, AFaultNamesNodeKeyAndPosition) {
  const Node node{"n1", {{"hami.io/node-nvidia-register", R"([{"id":"GPU-a"},{"id":"GPU-b","devmem":-1}])"}}, {}, {}};
  EXPECT_THAT(found("NVIDIA", node).error().message,
              HasSubstr("node n1: annotation hami.io/node-nvidia-register: device 1 of the list: 'devmem'"));
}

TEST(Discovery, ComputeIsForcedWhereThePluginSaysNone) {
  const Node node{"n1",
                  {{"hami.io/node-biren-register", R"([{"id":"card_0","count":1,"health":true,"type":"Biren-106"}])"}},
                  {},
                  {}};
  EXPECT_EQ(found("Biren", node).value()[0].cores, CoreUnits{100});
}

TEST(Discovery, AForeignModelIsNotTakenForOneOfTheFamily) {
  const Node node{"n1", {{"hami.io/node-register-xpu", R"([{"id":"0000:3b:00.0","type":"P800-OAM"}])"}}, {}, {}};
  EXPECT_THAT(found("XPU", node).error().message, HasSubstr("'P800-OAM', which has no 'XPU'"));
}

TEST(Discovery, CapacityMakesDevices) {
  const Node mlu{"n1", {}, {}, {{"cambricon.com/mlu.smlu.vcore", 200}, {"cambricon.com/mlu.smlu.vmemory", 192}}};
  const auto mlus = found("MLU", mlu).value();
  ASSERT_EQ(mlus.size(), 2U);
  EXPECT_EQ(mlus[1].uuid.text, "n1-cambricon-mlu-1");
  EXPECT_EQ(mlus[1].memory, MiB{24576});
  EXPECT_EQ(mlus[1].slots, 100);

  const Node mthreads{"n1", {}, {}, {{"mthreads.com/sgpu-core", 32}, {"mthreads.com/sgpu-memory", 192}}};
  const auto cards = found("Mthreads", mthreads).value();
  ASSERT_EQ(cards.size(), 2U);
  EXPECT_EQ(cards[0].memory, MiB{49152});
  EXPECT_EQ(cards[0].cores, CoreUnits{16});

  const auto xpus = found("kunlun", {"n1", {}, {}, {{"kunlunxin.com/xpu", 8}}}).value();
  ASSERT_EQ(xpus.size(), 8U);
  EXPECT_EQ(xpus[3].numa, 0);
  EXPECT_EQ(xpus[4].numa, 1);
  EXPECT_EQ(xpus[4].memory, MiB{98304});

  EXPECT_EQ(found("GCU", {"n1", {}, {}, {{"enflame.com/gcu", 3}}}).value()[2].uuid.text, "n1-GCU-2");
  EXPECT_EQ(found("Metax-GPU", {"n1", {}, {}, {{"metax-tech.com/gpu", 1}}}).value()[0].memory, MiB{65536});
}

TEST(Discovery, NeuronCoresAreThoseOfTheNode) {
  const auto on = [](std::int64_t devices, std::int64_t cores) {
    return found("AWSNeuron", {"n",
                               {},
                               {{"node.kubernetes.io/instance-type", "inf1.6xlarge"}},
                               {{"aws.amazon.com/neuron", devices}, {"aws.amazon.com/neuroncore", cores}}})
        .value();
  };
  EXPECT_EQ(on(4, 16)[0].cores, CoreUnits{15});
  EXPECT_EQ(on(4, 16)[0].slots, 4);
  EXPECT_EQ(on(16, 32)[15].cores, CoreUnits{3});
  EXPECT_EQ(custom_text(on(1, 2)[0].custom, "AWSNodeType"), "inf1.6xlarge");
}

TEST(Discovery, WhatTheNodeNoLongerHasIsGone) {
  for (const Family& family : catalog().families()) {
    const auto devices = discover(family, {"n1", {}, {}, {}});
    ASSERT_TRUE(devices) << family.key << ": " << devices.error().message;
    EXPECT_TRUE(devices->empty()) << family.key;
  }
}

TEST(Discovery, AbsurdCapacitiesAreRefused) {
  EXPECT_THAT(found("kunlun", {"n1", {}, {}, {{"kunlunxin.com/xpu", INT64_MAX}}}).error().message,
              HasSubstr("more than the 1024"));
  EXPECT_THAT(
      found("MLU",
            {"n1", {}, {}, {{"cambricon.com/mlu.smlu.vcore", 100}, {"cambricon.com/mlu.smlu.vmemory", INT64_MAX}}})
          .error()
          .message,
      HasSubstr("overflow"));
  EXPECT_TRUE(found("kunlun", {"n1", {}, {}, {{"kunlunxin.com/xpu", -5}}}).value().empty());
}

TEST(Discovery, EnflameProfilesSayWhatADeviceCanBeCutInto) {
  const Node node{"n1",
                  {{"enflame.com/gcu-drs-capacity",
                    R"({"devices":[{"index":"0","minor":"2","capacity":6},{"index":"1","minor":"3","capacity":"6"}],)"
                    R"("profiles":{"1g.6gb":"0","3g.20gb":"1","6g.40gb":"2"}})"}},
                  {},
                  {}};
  const auto devices = found("Enflame", node).value();
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[1].uuid.text, "n1-enflame-drs-1");
  EXPECT_EQ(devices[1].slots, 6);
  EXPECT_EQ(devices[1].memory, MiB{40960});
  EXPECT_EQ(custom_text(devices[0].custom, "minor"), "2");
}

TEST(Discovery, MetaxSharedDevicesKeepPolicyAndZone) {
  const Node node{"n1",
                  {{"metax-tech.com/node-gpu-devices",
                    R"([{"uuid":"GPU-a","bdf":"0:1","model":"MXC500","totalDevCount":16,"totalCompute":100,)"
                    R"("totalVRam":65536,"healthy":true,"qosPolicy":"fixed-share","linkZone":2}])"}},
                  {},
                  {}};
  const auto devices = found("Metax-SGPU", node).value();
  EXPECT_EQ(devices[0].slots, 16);
  EXPECT_EQ(custom_text(devices[0].custom, "QosPolicy"), "fixed-share");
  EXPECT_EQ(custom_number(devices[0].custom, "LinkZone"), 2);
}

}  // namespace
}  // namespace kiboko::vendors
