// What must hold for every family, whatever a pod asks and a node says.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "model/allocation.h"
#include "vendors/ask.h"
#include "vendors/catalog.h"
#include "vendors/discover.h"
#include "vendors/emit.h"
#include "vendors/hami_config.h"
#include "vendors/neuron.h"

namespace kiboko::vendors {
namespace {

const Catalog& catalog() {
  static const Catalog kCatalog = Catalog::shipped().value();
  return kCatalog;
}

const Family& any_family() {
  return catalog().families()[*rc::gen::inRange<std::size_t>(0, catalog().families().size())];
}

std::string any_quantity() {
  static const std::vector<std::string> kOdd = {"",   "-1",   "NaN",  "1e30", "9223372036854775807",  "1.5", "5Gi", "0",
                                                "3k", "500m", "1e-3", "0x10", "99999999999999999999", "100", "101"};
  return *rc::gen::oneOf(rc::gen::map(rc::gen::inRange(0, 200'000), [](int n) { return std::to_string(n); }),
                         rc::gen::elementOf(kOdd));
}

Container any_container(const Family& family) {
  const Resources& r = family.resources;
  Container container{"c", {}, {}};
  for (const std::string& name : {r.count.name, r.memory.name, r.memory_percent, r.cores.name, r.slices})
    if (!name.empty() && *rc::gen::arbitrary<bool>()) container.limits[name] = any_quantity();
  return container;
}

Annotations any_annotations(const Family& family) {
  Annotations pod;
  if (*rc::gen::arbitrary<bool>()) pod["huawei.com/vnpu-mode"] = "hami-core";
  for (const Trait& trait : family.traits)
    if (!trait.one_of.empty() && *rc::gen::arbitrary<bool>()) pod[trait.annotation] = *rc::gen::elementOf(trait.one_of);
  return pod;
}

RC_GTEST_PROP(VendorsProperty, AnAskIsWithinBoundsOrRefusedByName, ()) {
  const Family& family = any_family();
  const auto admission = admit(family, any_container(family), any_annotations(family));
  if (!admission) {
    RC_ASSERT(admission.error().code == Errc::Invalid);
    RC_ASSERT(admission.error().message.find("container c") == 0U);
    return;
  }
  if (!admission->ask) return;
  const DeviceAsk& ask = *admission->ask;
  RC_ASSERT(ask.family == family.key);
  RC_ASSERT(ask.count >= 1U);
  RC_ASSERT(ask.memory.value >= 0);
  if (ask.memory.kind == MemoryAsk::Kind::Percent) RC_ASSERT(ask.memory.value <= 100);
  RC_ASSERT(ask.cores.value >= 0);
  if (family.resources.cores.asked == CoreUnit::Percent) RC_ASSERT(ask.cores.value <= 100);
  RC_ASSERT(cores_on(ask, CoreUnits{304}).count >= 0);
}

RC_GTEST_PROP(VendorsProperty, WhatAdmissionWroteAsksForTheSame, ()) {
  const Family& family = any_family();
  Container container = any_container(family);
  const Annotations pod = any_annotations(family);
  const auto first = admit(family, container, pod);
  if (!first || !first->ask) return;
  for (const auto& [resource, value] : first->limits) container.limits[resource] = std::to_string(value);
  Annotations annotated = pod;
  for (const auto& [key, value] : first->annotate) annotated[key] = value;
  const auto second = admit(family, container, annotated);
  RC_ASSERT(second.has_value());
  RC_ASSERT(second->ask == first->ask);
}

RC_GTEST_PROP(VendorsProperty, AnyNodeGivesDevicesOrAnErrorThatNamesIt, ()) {
  const Family& family = any_family();
  Node node{"node-7", {}, {}, {}};
  const Resources& r = family.resources;
  for (const std::string& name : {r.count.name, r.memory.name, r.cores.name})
    if (!name.empty())
      node.capacity[name] =
          *rc::gen::oneOf(rc::gen::inRange<std::int64_t>(-5, 2000), rc::gen::arbitrary<std::int64_t>());
  if (!family.discovery.key.empty())
    node.annotations[family.discovery.key] = *rc::gen::container<std::string>(
        rc::gen::oneOf(rc::gen::arbitrary<char>(), rc::gen::elementOf(std::string("[]{}\":,;0123456789-.tfn"))));
  const auto devices = discover(family, node);
  if (!devices) {
    RC_ASSERT(devices.error().message.find("node node-7") == 0U);
    return;
  }
  RC_ASSERT(devices->size() <= 1U << 18U);
  for (const RegisteredDevice& device : *devices) {
    RC_ASSERT(device.vendor == family.key);
    RC_ASSERT(device.memory.count >= 0 && device.cores.count >= 0 && device.slots >= 0);
  }
}

RC_GTEST_PROP(VendorsProperty, AnAllocationIsReadBackAsItWasWritten, ()) {
  const Family& family = any_family();
  EmissionInput input{"n1", WallTime{std::chrono::seconds{1}}, {}};
  PodDevices expected;
  const auto containers = *rc::gen::inRange(1, 4);
  for (int c = 0; c < containers; ++c) {
    PlacedContainer& container = input.containers.emplace_back();
    container.name = "c" + std::to_string(c);
    expected.emplace_back();
    const auto count = *rc::gen::inRange(0, 3);
    for (int d = 0; d < count; ++d) {
      PlacedDevice& placed = container.devices.emplace_back();
      placed.device = {
          {"u" + std::to_string(d)}, "Model", {*rc::gen::inRange(0, 100'000)}, {*rc::gen::inRange(0, 101)}};
      expected.back().push_back(placed.device);
      if (!family.emission.type_is_model) expected.back().back().type = family.key;
      if (!family.emission.amounts) {
        expected.back().back().memory = {};
        expected.back().back().cores = {};
      }
    }
  }
  const auto annotations = annotations_of(family, input).value();
  if (annotations.empty()) return;
  auto again = decode_allocation(annotations.at(family.emission.allocated)).value();
  again.pop_back();
  RC_ASSERT(again == expected);
}

RC_GTEST_PROP(VendorsProperty, NeuronMasksNeverOverlap, ()) {
  const auto bits = *rc::gen::inRange(1, 33);
  const std::uint64_t all = (std::uint64_t{1} << static_cast<unsigned>(bits)) - 1;
  std::uint64_t used = 0;
  for (int i = 0; i < 40; ++i) {
    const auto mask = neuron_mask(all, used, *rc::gen::inRange(1U, 9U));
    if (!mask) continue;
    RC_ASSERT((*mask & used) == 0U);
    RC_ASSERT((*mask & ~all) == 0U);
    used |= *mask;
  }
}

RC_GTEST_PROP(VendorsProperty, AnyTextIsAProfileOrAnError, ()) {
  const auto text = *rc::gen::container<std::string>(
      rc::gen::oneOf(rc::gen::arbitrary<char>(), rc::gen::elementOf(std::string("abckeyname: \n-[]{}\"'&*!|>%"))));
  Catalog known = catalog();
  if (const auto added = known.add({"any.yaml", text}); !added)
    RC_ASSERT(known.families().size() == catalog().families().size());
  const auto made = import_hami_config(catalog(), text, "any.yaml");
  if (!made) RC_ASSERT(!made.error().message.empty());
}

}  // namespace
}  // namespace kiboko::vendors
