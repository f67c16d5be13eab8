#include "vendors/emit.h"

#include <algorithm>

#include "base/text.h"
#include "model/allocation.h"
#include "vendors/hooks.h"

namespace kiboko::vendors {
namespace {

std::string custom_value(const CustomInfo& custom, std::string_view key) {
  if (const auto text = custom_text(custom, key)) return *text;
  const auto found = custom.find(key);
  return found == custom.end() ? "" : found->second;
}

// The names that templates of one family may use, for one place in the pod.
struct Place {
  const EmissionInput* input = nullptr;
  const PlacedContainer* container = nullptr;
  const PlacedDevice* device = nullptr;
  std::string inner;
};

std::optional<std::string> pod_value(const Place& place, std::string_view name) {
  using namespace std::chrono;
  const auto since = place.input->now.time_since_epoch();
  if (name == "node") return place.input->node;
  if (name == "time") return std::to_string(duration_cast<seconds>(since).count());
  if (name == "time_ns") return std::to_string(duration_cast<nanoseconds>(since).count());
  if (name == "inner") return place.inner;
  return std::nullopt;
}

std::optional<std::string> value_at(const Place& place, std::string_view name) {
  if (auto value = pod_value(place, name)) return value;
  if (place.container == nullptr) return std::nullopt;
  if (name == "container") return place.container->name;
  if (name == "count") return std::to_string(place.container->devices.size());
  if (name.starts_with("trait.")) {
    const auto found = place.container->traits.find(name.substr(6));
    return found == place.container->traits.end() ? std::nullopt : std::optional(found->second);
  }
  if (place.device == nullptr) return std::nullopt;
  const PlacedDevice& device = *place.device;
  if (name == "id") return device.device.uuid.text;
  if (name == "index") return std::to_string(device.index);
  if (name == "memory") return std::to_string(device.device.memory.count);
  if (name == "cores") return std::to_string(device.device.cores.count);
  if (name == "template") return device.template_name;
  if (name == "slices") return std::to_string(device.slices);
  if (name.starts_with("custom.")) return custom_value(device.custom, name.substr(7));
  return std::nullopt;
}

TextLookup lookup_at(const Place& place) {
  return [&place](std::string_view name) { return value_at(place, name); };
}

bool wanted(const Emission::Extra& extra, const Place& place) {
  if (!extra.when) return true;
  const auto truth = extra.when->evaluate([&](std::string_view name) -> std::optional<std::int64_t> {
    const auto text = value_at(place, name);
    if (!text) return std::nullopt;
    return parse_integer<std::int64_t>(*text).value_or(1);  // any text is there
  });
  return truth && *truth != 0;
}

Result<std::string> of_containers(const Emission::Extra& extra, const EmissionInput& input) {
  // In the order of their names: that is how maps are written.
  std::vector<const PlacedContainer*> containers;
  for (const PlacedContainer& container : input.containers)
    if (extra.empty_containers || !container.devices.empty()) containers.push_back(&container);
  if (extra.open == "{") std::ranges::stable_sort(containers, {}, &PlacedContainer::name);
  std::string out = extra.open;
  for (const PlacedContainer* container : containers) {
    Place place{&input, container, nullptr, {}};
    for (const PlacedDevice& device : container->devices) {
      if (!extra.inner) break;
      const Place inside{&input, container, &device, {}};
      if (!place.inner.empty()) place.inner += ",";
      place.inner += TRY(extra.inner->fill(lookup_at(inside)));
    }
    if (container != containers.front()) out += extra.join;
    out += TRY(extra.value.fill(lookup_at(place)));
  }
  return out + extra.close;
}

Result<std::string> of_devices(const Emission::Extra& extra, const EmissionInput& input) {
  std::string out = extra.open;
  bool first = true;
  for (const PlacedContainer& container : input.containers)
    for (const PlacedDevice& device : container.devices) {
      if (!first) out += extra.join;
      first = false;
      const Place place{&input, &container, &device, {}};
      out += TRY(extra.value.fill(lookup_at(place)));
    }
  return out + extra.close;
}

// The first container that has a device, and that device.
Place first_place(const EmissionInput& input) {
  for (const PlacedContainer& container : input.containers)
    if (!container.devices.empty()) return {&input, &container, &container.devices.front(), {}};
  return {&input, nullptr, nullptr, {}};
}

Result<void> add_extra(const Emission::Extra& extra, const EmissionInput& input,
                       std::map<std::string, std::string>& annotations) {
  const Place first = first_place(input);
  if (!wanted(extra, first)) return {};
  if (!extra.hook.empty()) {
    if (auto value = hook_emission(extra.hook, input)) annotations.insert_or_assign(extra.key, std::move(*value));
    return {};
  }
  switch (extra.scope) {
    case Emission::Scope::Pod:
    case Emission::Scope::FirstContainer:
    case Emission::Scope::FirstDevice:
      annotations.insert_or_assign(extra.key, TRY(extra.value.fill(lookup_at(first))));
      break;
    case Emission::Scope::Devices:
      annotations.insert_or_assign(extra.key, TRY(of_devices(extra, input)));
      break;
    case Emission::Scope::Containers:
      annotations.insert_or_assign(extra.key, TRY(of_containers(extra, input)));
      break;
  }
  return {};
}

}  // namespace

Result<std::map<std::string, std::string>> annotations_of(const Family& family, const EmissionInput& input) {
  std::map<std::string, std::string> annotations;
  PodDevices pod;
  bool any = false;
  for (const PlacedContainer& container : input.containers) {
    ContainerDevices& devices = pod.emplace_back();
    for (const PlacedDevice& placed : container.devices) {
      devices.push_back(placed.device);
      if (!family.emission.type_is_model) devices.back().type = family.key;
      if (!family.emission.amounts) {
        devices.back().memory = {};
        devices.back().cores = {};
      }
      any = true;
    }
  }
  if (!any) return annotations;
  const std::string allocation = TRY(encode_allocation(pod));
  if (!family.emission.to_allocate.empty()) annotations.emplace(family.emission.to_allocate, allocation);
  annotations.emplace(family.emission.allocated, allocation);
  for (const Emission::Extra& extra : family.emission.extra) TRY(add_extra(extra, input, annotations));
  return annotations;
}

}  // namespace kiboko::vendors
