#include "vendors/discover.h"

#include "base/text.h"
#include "model/annotation.h"
#include "vendors/hooks.h"

namespace kiboko::vendors {
namespace {

constexpr std::int64_t kMostDevices = 1024;

std::optional<std::int64_t> capacity_of(const Node& node, const std::string& resource) {
  const auto found = node.capacity.find(resource);
  return found == node.capacity.end() ? std::nullopt : std::optional(found->second);
}

// A resource that the node does not know counts as none of it.
Lookup capacities(const Family& family, const Node& node, std::int64_t n, std::int64_t i) {
  return [&family, &node, n, i](std::string_view name) -> std::optional<std::int64_t> {
    if (name == "count") return capacity_of(node, family.resources.count.name).value_or(0);
    if (name == "memory") return capacity_of(node, family.resources.memory.name).value_or(0);
    if (name == "cores") return capacity_of(node, family.resources.cores.name).value_or(0);
    if (name == "n") return n;
    if (name == "i") return i;
    return std::nullopt;
  };
}

Result<std::int64_t> bounded(const std::optional<Expression>& expression, const Lookup& lookup, std::string_view what) {
  if (!expression) return std::int64_t{0};
  const std::int64_t value = TRY(expression->evaluate(lookup));
  if (value >= 0 && value <= kMostWireNumber) return value;
  return fail(Errc::Invalid, "{} {} of a device is not within 0 and {}", what, value, kMostWireNumber);
}

Result<RegisteredDevice> made_device(const Family& family, const Node& node, std::int64_t n, std::int64_t i) {
  const Discovery& rule = family.discovery;
  const Lookup lookup = capacities(family, node, n, i);
  RegisteredDevice device;
  device.index = static_cast<unsigned>(i);
  device.uuid.text = TRY(rule.id->fill([&](std::string_view name) -> std::optional<std::string> {
    if (name == "node") return node.name;
    const auto number = lookup(name);
    return number ? std::optional(std::to_string(*number)) : std::nullopt;
  }));
  device.slots = static_cast<std::int32_t>(TRY(bounded(rule.slots, lookup, "the slots")));
  device.memory.count = TRY(bounded(rule.memory, lookup, "the memory"));
  device.cores.count = TRY(bounded(rule.cores, lookup, "the compute"));
  device.numa = static_cast<int>(TRY(bounded(rule.numa, lookup, "the NUMA node")));
  device.type = rule.type;
  device.healthy = true;
  for (const auto& [key, label] : rule.custom_from_labels)
    if (const auto found = node.labels.find(label); found != node.labels.end())
      set_custom(device.custom, key, std::string_view(found->second));
  return device;
}

Result<std::vector<RegisteredDevice>> made_devices(const Family& family, const Node& node) {
  std::vector<RegisteredDevice> devices;
  const std::int64_t n = TRY(family.discovery.count->evaluate(capacities(family, node, 0, 0)));
  if (n > kMostDevices) return fail(Errc::Invalid, "{} devices are more than the {} of a node", n, kMostDevices);
  for (std::int64_t i = 0; i < n; ++i) devices.push_back(TRY(made_device(family, node, n, i)));
  return devices;
}

Result<void> check(const Family& family, RegisteredDevice& device) {
  const std::string& word = family.discovery.type_must_contain;
  if (!word.empty() && to_lower(device.type).find(to_lower(word)) == std::string::npos)
    return fail(Errc::Invalid, "device '{}' has the type '{}', which has no '{}' in it", shown(device.uuid.text),
                shown(device.type), word);
  if (family.discovery.force_cores) device.cores = *family.discovery.force_cores;
  device.vendor = family.key;
  return {};
}

}  // namespace

Result<std::vector<RegisteredDevice>> discover(const Family& family, const Node& node) {
  const Discovery& rule = family.discovery;
  std::vector<RegisteredDevice> devices;
  if (rule.source == Discovery::Source::Capacity) {
    devices = TRY(made_devices(family, node).map_error(about("node {}: {} from its capacity", node.name, family.key)));
  } else {
    const auto found = node.annotations.find(rule.key);
    if (found == node.annotations.end()) return devices;
    devices = TRY(decode_devices(rule.codec, found->second, node.name)
                      .map_error(about("node {}: annotation {}", node.name, rule.key)));
  }
  for (RegisteredDevice& device : devices)
    TRY(check(family, device).map_error(about("node {}: {}", node.name, family.key)));
  return devices;
}

}  // namespace kiboko::vendors
