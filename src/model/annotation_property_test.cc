// What is written is read back as it was, for every codec, whatever the values.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <nlohmann/json.hpp>

#include "model/allocation.h"
#include "model/annotation.h"
#include "model/mig_allocation.h"
#include "model/node_marks.h"
#include "model/pair_scores.h"
#include "model/registration.h"

namespace kiboko {
namespace {

// Letters, separators of JSON, and characters of two and three bytes.
rc::Gen<std::string> any_text() {
  static const std::vector<std::string> kParts = {"a", "Z", "0", "-",  " ",  "\"",  "\\",
                                                  "/", "<", "é", "中", "\n", "\x01"};
  return rc::gen::map(rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(kParts)), [](const auto& parts) {
    std::string text;
    for (const auto& part : parts) text += part;
    return text;
  });
}

// Without what separates fields of rows.
rc::Gen<std::string> plain_text() {
  return rc::gen::container<std::string>(rc::gen::elementOf(std::string("abcXYZ019-._ /[]()")));
}

std::int64_t any_amount() {
  return *rc::gen::oneOf(rc::gen::inRange<std::int64_t>(0, 200'000), rc::gen::just(kMostWireNumber));
}

RegisteredDevice any_device(std::size_t serial, const std::string& type, const std::string& mode) {
  RegisteredDevice device;
  device.uuid.text = fmt::format("GPU-{}", serial);
  device.index = *rc::gen::inRange(0U, 65536U);
  device.slots = static_cast<std::int32_t>(any_amount());
  device.memory.count = any_amount();
  device.cores.count = any_amount();
  device.type = type;
  device.mode = mode;
  device.numa = *rc::gen::inRange(-1, 8);
  device.healthy = *rc::gen::arbitrary<bool>();
  return device;
}

RC_GTEST_PROP(RegistrationProperty, JsonIsReadBackAsItWas, ()) {
  std::vector<RegisteredDevice> devices(*rc::gen::inRange<std::size_t>(0, 5));
  for (std::size_t i = 0; i < devices.size(); ++i) {
    devices[i] = any_device(i, *any_text(), *any_text());
    devices[i].vendor = *any_text();
    if (*rc::gen::arbitrary<bool>()) set_custom(devices[i].custom, *any_text(), any_amount());
    if (*rc::gen::arbitrary<bool>()) set_custom(devices[i].custom, *any_text(), std::string_view(*any_text()));
    if (*rc::gen::arbitrary<bool>())
      devices[i].mig_profiles = {
          {*any_text(), {any_amount()}, {any_amount()}, 3, {{0, 1}, {*rc::gen::inRange(0U, 8U), 2}}}};
  }
  const auto again = decode_registration(encode_registration_json(devices));
  RC_ASSERT(again.has_value());
  // Custom texts may be escaped in more than one way; their values are what must stay.
  RC_ASSERT(again->size() == devices.size());
  for (std::size_t i = 0; i < devices.size(); ++i) {
    RegisteredDevice expected = devices[i];
    RC_ASSERT((*again)[i].custom.size() == expected.custom.size());
    for (auto& [key, value] : expected.custom) {
      RC_ASSERT(nlohmann::json::parse((*again)[i].custom.at(key)) == nlohmann::json::parse(value));
      value = (*again)[i].custom.at(key);
    }
    RC_ASSERT((*again)[i] == expected);
  }
}

RC_GTEST_PROP(RegistrationProperty, RowsAreReadBackAsTheyWere, ()) {
  std::vector<RegisteredDevice> devices(*rc::gen::inRange<std::size_t>(1, 5));
  for (std::size_t i = 0; i < devices.size(); ++i) devices[i] = any_device(i, *plain_text(), *plain_text());
  const auto text = encode_registration_csv(devices);
  RC_ASSERT(text.has_value());
  RC_ASSERT(decode_registration(*text).value() == devices);
  for (RegisteredDevice& device : devices) {
    device.index = 0;
    device.mode = "hami-core";
  }
  RC_ASSERT(decode_registration(encode_registration_csv(devices, CsvFields::Seven).value()).value() == devices);
}

RC_GTEST_PROP(AllocationProperty, IsReadBackAsItWas, ()) {
  std::vector<ContainerDevices> pod(*rc::gen::inRange<std::size_t>(1, 5));
  for (ContainerDevices& devices : pod) {
    devices.resize(*rc::gen::inRange<std::size_t>(0, 4));
    for (ContainerDevice& device : devices)
      device = {{"i" + *plain_text()}, *plain_text(), {any_amount()}, {any_amount()}};
  }
  const std::string text = encode_allocation(pod).value();
  auto again = decode_allocation(text).value();
  RC_ASSERT(again.size() == pod.size() + 1);
  again.pop_back();
  RC_ASSERT(again == pod);
  RC_ASSERT(encode_allocation(again).value() == text);
}

RC_GTEST_PROP(MigAllocationProperty, IsReadBackAsItWas, ()) {
  std::vector<MigAllocation> allocations(*rc::gen::inRange<std::size_t>(0, 5));
  for (unsigned i = 0; i < allocations.size(); ++i) {
    allocations[i] = {i / 2, i % 2, {"g" + *any_text()}, "p" + *any_text(), {*rc::gen::inRange(0U, 8U), 1}, {}};
    if (*rc::gen::arbitrary<bool>())
      allocations[i].instance =
          MigInstance{{"m" + *any_text()}, *rc::gen::inRange(0U, 20U), *rc::gen::inRange(0U, 20U)};
  }
  RC_ASSERT(decode_mig_allocations(encode_mig_allocations(allocations)).value() == allocations);
}

RC_GTEST_PROP(PairScoresProperty, AreReadBackAsTheyWere, ()) {
  PairScores scores;
  for (std::size_t i = *rc::gen::inRange<std::size_t>(0, 6); i > 0; --i)
    scores[DeviceUuid{"g" + *any_text()}][DeviceUuid{*any_text()}] = static_cast<std::int32_t>(any_amount());
  RC_ASSERT(decode_pair_scores(encode_pair_scores(scores)).value() == scores);
}

RC_GTEST_PROP(NodeMarksProperty, LocksAndHandshakesAreReadBackAsTheyWere, ()) {
  const WallTime time{std::chrono::seconds{*rc::gen::inRange<std::int64_t>(0, 4'000'000'000)}};
  const std::string pod = "p" + *plain_text(), name_space = *plain_text();
  const NodeLock lock{time, name_space, pod};
  RC_ASSERT(parse_node_lock(to_text(lock)).value() == lock);
  const std::chrono::minutes offset{*rc::gen::inRange(-720, 841)};
  RC_ASSERT(parse_handshake(requesting_text(time, offset), offset).since == time);
}

// Any bytes give a value or an error, and what was read once can be written and read again.
RC_GTEST_PROP(DecoderProperty, AnyBytesGiveAValueOrAnError, ()) {
  const auto text = *rc::gen::container<std::string>(
      rc::gen::oneOf(rc::gen::arbitrary<char>(), rc::gen::elementOf(std::string("[]{}\":,;0123456789-.tfn"))));
  if (const auto devices = decode_registration(text))
    RC_ASSERT(decode_registration(encode_registration_json(*devices)).has_value());
  if (const auto pod = decode_allocation(text)) RC_ASSERT(pod->size() <= text.size() + 1);
  if (const auto mig = decode_mig_allocations(text))
    RC_ASSERT(decode_mig_allocations(encode_mig_allocations(*mig)).value() == *mig);
}

}  // namespace
}  // namespace kiboko
