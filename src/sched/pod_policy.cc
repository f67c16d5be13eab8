#include "sched/pod_policy.h"

#include <algorithm>

#include "base/text.h"
#include "model/annotation.h"

namespace kiboko {
namespace {

// Words of the device policy. Those without a key only filter, and leave the order to the others.
struct DeviceWord {
  std::string_view word;
  std::optional<DeviceKey> key;
  bool mutex, topology;
};
constexpr DeviceWord kDeviceWords[] = {
    {"binpack", DeviceKey::Fullest, false, false}, {"spread", DeviceKey::Emptiest, false, false},
    {"numa", DeviceKey::Numa, false, false},       {"supply", DeviceKey::Cheapest, false, false},
    {"fgd", DeviceKey::Cheapest, false, false},    {"mutex", std::nullopt, true, false},
    {"topology-aware", std::nullopt, false, true},
};

void read_device_policy(std::string_view text, PodPolicy& policy) {
  policy.order.clear();
  policy.mutex = policy.topology = false;
  for (const std::string_view part : split(text, ',')) {
    const auto found = std::ranges::find(kDeviceWords, trim(part), &DeviceWord::word);
    if (found == std::end(kDeviceWords)) continue;
    policy.mutex |= found->mutex;
    policy.topology |= found->topology;
    if (found->key && std::ranges::find(policy.order, *found->key) == policy.order.end())
      policy.order.push_back(*found->key);
  }
  if (policy.order.empty()) policy.order = {DeviceKey::Emptiest};
}

Result<DeviceWeights> read_weights(std::string_view text) {
  constexpr std::string_view kForm = "write it as slot=1,core=1,memory=1, with whole numbers, not all of them 0";
  constexpr std::string_view kNames[] = {"slot", "core", "memory"};
  constexpr std::int64_t kMost = 1'000'000;
  std::optional<std::int64_t> given[3];
  for (const std::string_view part : split(text, ',')) {
    const std::size_t equals = part.find('=');
    const auto* const name = std::ranges::find(kNames, trim(part.substr(0, equals)));
    const auto number = parse_integer<std::int64_t>(
        trim(equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1)));
    if (name == std::end(kNames) || !number || *number < 0 || *number > kMost || given[name - kNames])
      return fail(Errc::Invalid, "annotation {}: '{}' cannot be read; {}", kWeightsKey, shown(part), kForm);
    given[name - kNames] = *number;
  }
  std::int64_t sum = 0;
  for (const auto& number : given) {
    if (!number) return fail(Errc::Invalid, "annotation {}: '{}' lacks a part; {}", kWeightsKey, shown(text), kForm);
    sum += *number;
  }
  if (sum == 0) return fail(Errc::Invalid, "annotation {}: all weights are 0; {}", kWeightsKey, kForm);
  return DeviceWeights{static_cast<double>(*given[0]), static_cast<double>(*given[1]), static_cast<double>(*given[2])};
}

const std::string* value_at(const Texts& annotations, std::string_view key) {
  const auto found = annotations.find(key);
  return found == annotations.end() ? nullptr : &found->second;
}

}  // namespace

Result<PodPolicy> policy_of(const Texts& annotations, const PodPolicy& preset) {
  PodPolicy policy = preset;
  if (const std::string* const text = value_at(annotations, kNodePolicyKey))
    policy.node = parse_policy(trim(*text)).value_or(Policy::Binpack);
  if (const std::string* const text = value_at(annotations, kDevicePolicyKey)) read_device_policy(*text, policy);
  if (const std::string* const text = value_at(annotations, kWeightsKey)) policy.weights = TRY(read_weights(*text));
  return policy;
}

}  // namespace kiboko
