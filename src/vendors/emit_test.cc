#include "vendors/emit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vendors/catalog.h"

namespace kiboko::vendors {
namespace {

using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

const WallTime kNow{std::chrono::seconds{1'700'000'000}};

std::map<std::string, std::string> written(std::string_view family, std::vector<PlacedContainer> containers) {
  static const Catalog kCatalog = Catalog::shipped().value();
  return annotations_of(*kCatalog.find(family), {"n1", kNow, std::move(containers)}).value();
}

PlacedDevice placed(std::string id, std::int64_t memory, std::int64_t cores, unsigned index = 0) {
  PlacedDevice device;
  device.device = {{std::move(id)}, "Some Model", {memory}, {cores}};
  device.index = index;
  return device;
}

TEST(Emission, AContainerWithoutADeviceKeepsItsPlace) {
  const auto annotations = written("NVIDIA", {{"init", {}, {}},
                                              {"a", {}, {placed("GPU-aa", 4096, 25), placed("GPU-bb", 4096, 25)}},
                                              {"b", {}, {placed("GPU-aa", 1024, 10)}}});
  constexpr const char* kText = ";GPU-aa,NVIDIA,4096,25:GPU-bb,NVIDIA,4096,25:;GPU-aa,NVIDIA,1024,10:;";
  EXPECT_THAT(annotations, UnorderedElementsAre(Pair("hami.io/vgpu-devices-to-allocate", kText),
                                                Pair("hami.io/vgpu-devices-allocated", kText)));
}

TEST(Emission, NothingIsWrittenWithoutADevice) { EXPECT_TRUE(written("NVIDIA", {{"a", {}, {}}}).empty()); }

TEST(Emission, MigInstancesAreReserved) {
  PlacedDevice device = placed("GPU-aa", 4864, 15);
  device.template_name = "1g.5gb";
  device.mig = MigPlacement{6, 1};
  EXPECT_EQ(
      written("NVIDIA", {{"init", {}, {}}, {"a", {}, {device}}}).at("hami.io/vgpu-mig-allocations"),
      R"([{"containerIndex":1,"deviceIndex":0,"gpuUUID":"GPU-aa","profile":"1g.5gb","placement":{"start":6,"size":1}}])");
}

TEST(Emission, AmdWritesTheModel) {
  EXPECT_EQ(written("AMD", {{"a", {}, {placed("u", 1, 76)}}}).at("hami.io/amd-devices-allocated"),
            "u,Some Model,1,76:;");
}

TEST(Emission, AscendTemplatesAndShares) {
  PlacedDevice cut = placed("u0", 3072, 0);
  cut.template_name = "vir01";
  const auto hard = written("Ascend310P", {{"a", {}, {cut}}, {"b", {}, {placed("u1", 21527, 0)}}});
  EXPECT_EQ(hard.at("huawei.com/Ascend310P"), R"([{"UUID":"u0","temp":"vir01"},{"UUID":"u1"}])");
  EXPECT_EQ(hard.at("predicate-time"), "1700000000");
  EXPECT_EQ(hard.at("hami.io/Ascend310P-devices-to-allocate"), "u0,Ascend310P,3072,0:;u1,Ascend310P,21527,0:;");

  static const Catalog kCatalog = Catalog::shipped().value();
  const Family& soft = kCatalog.find("Ascend310P")->in_mode({{"huawei.com/vnpu-mode", "hami-core"}});
  const auto shares = annotations_of(soft, {"n1", kNow, {{"a", {}, {placed("u0", 5000, 40)}}}}).value();
  EXPECT_EQ(shares.at("huawei.com/Ascend310P"), R"([{"UUID":"u0","memory":5000,"core":40}])");
}

TEST(Emission, CambriconDescribesTheFirstDevice) {
  const auto annotations = written("MLU", {{"a", {}, {}}, {"b", {}, {placed("m", 5120, 10, 0)}}});
  EXPECT_EQ(annotations.at("CAMBRICON_DSMLU_PROFILE"), "0_10_20");
  EXPECT_EQ(annotations.at("CAMBRICON_DSMLU_ASSIGNED"), "false");
}

TEST(Emission, EnflameNamesSliceAndContainer) {
  PlacedDevice device = placed("n1-enflame-drs-0", 20480, 50);
  device.slices = 3;
  device.template_name = "3g.20gb";
  set_custom(device.custom, "profileID", std::string_view("1"));
  set_custom(device.custom, "index", std::string_view("0"));
  set_custom(device.custom, "minor", std::string_view("2"));
  const auto annotations = written("Enflame", {{"z", {}, {device}}, {"b", {}, {}}, {"a", {}, {device}}});
  EXPECT_EQ(annotations.at("assigned-containers"),
            R"({"a":{"allocated":false,"request":3,"profileID":"1","profileName":"3g.20gb"},)"
            R"("z":{"allocated":false,"request":3,"profileID":"1","profileName":"3g.20gb"}})");
  EXPECT_EQ(annotations.at("enflame.com/gcu-request-size"), "3");
  EXPECT_EQ(annotations.at("enflame.com/gcu-assigned-minor"), "2");
  EXPECT_EQ(annotations.at("enflame.com/gcu-assigned-time"), "1700000000000000000");
  EXPECT_EQ(annotations.count("hami.io/enflame-vgpu-devices-to-allocate"), 0U);
}

TEST(Emission, MetaxSharesAreListedByContainer) {
  const auto annotations =
      written("Metax-SGPU", {{"a", {}, {}}, {"b", {}, {placed("g", 4096, 30), placed("h", 4096, 0)}}});
  EXPECT_EQ(annotations.at("metax-tech.com/gpu-devices-allocated"),
            R"([[],[{"uuid":"g","compute":30,"vRam":4096},{"uuid":"h","vRam":4096}]])");
}

TEST(Emission, IndexesOfAllContainersAreListed) {
  EXPECT_EQ(
      written("kunlun", {{"a", {}, {placed("x", 1, 1, 4), placed("y", 1, 1, 5)}}, {"b", {}, {placed("z", 1, 1, 0)}}})
          .at("BAIDU_COM_DEVICE_IDX"),
      "4,5,0");
  const auto annotations = written("Mthreads", {{"a", {}, {placed("x", 49152, 16, 1)}}});
  EXPECT_EQ(annotations.at("mthreads.com/gpu-index"), "1");
  EXPECT_EQ(annotations.at("mthreads.com/predicate-node"), "n1");
}

TEST(Emission, NeuronIdsAreOfDevicesOrOfCores) {
  PlacedDevice device = placed("n1-AWSNeuron-3", 0, 3, 3);
  device.slots = 2;
  const auto devices = written("AWSNeuron", {{"a", {}, {device}}});
  EXPECT_EQ(devices.at("AWS_NEURON_IDS"), "3");
  EXPECT_EQ(devices.count("NEURON_RESOURCE_TYPE"), 0U);
  device.device.cores.count = 2;
  const auto cores = written("AWSNeuron", {{"a", {{"resource", "aws.amazon.com/neuroncore"}}, {device}}});
  EXPECT_EQ(cores.at("AWS_NEURON_IDS"), "7");
  EXPECT_EQ(cores.at("NEURON_RESOURCE_TYPE"), "aws.amazon.com/neuroncore");
  EXPECT_EQ(cores.at("NEURON_ALLOCATED"), "false");
}

TEST(Emission, EveryFamilyWritesWhatItReadsBack) {
  const Catalog catalog = Catalog::shipped().value();
  for (const Family& family : catalog.families()) {
    const auto annotations = annotations_of(family, {"n1", kNow, {{"a", {}, {placed("u", 1, 1)}}}});
    ASSERT_TRUE(annotations) << family.key << ": " << annotations.error().message;
    EXPECT_THAT(annotations->at(family.emission.allocated), HasSubstr("u,")) << family.key;
  }
}

}  // namespace
}  // namespace kiboko::vendors
