#include "vendors/enflame.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "model/annotation.h"

namespace kiboko::vendors {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostSize = 4096;

// A number, or a text of digits: plugins of different releases write either.
Result<std::int64_t> loose_number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return number_at(object, key, 0, kMostSize);
  const auto number = parse_integer<std::int64_t>(found->get<std::string>());
  if (number && *number >= 0 && *number <= kMostSize) return *number;
  return fail(Errc::Invalid, "'{}' must be a whole number from 0 to {}, not '{}'", key, kMostSize,
              shown(found->get<std::string>()));
}

// Digits up to `mark`; what is read is taken off `text`.
std::optional<std::int64_t> number_before(std::string_view& text, std::string_view mark) {
  const std::size_t at = text.find(mark);
  if (at == std::string_view::npos) return std::nullopt;
  const auto number = parse_integer<std::int64_t>(text.substr(0, at));
  text.remove_prefix(at + mark.size());
  return number && *number > 0 && *number <= kMostSize ? std::optional(*number) : std::nullopt;
}

Result<Slice> slice_named(const std::string& name, const Json& id) {
  const std::string lower = to_lower(name);
  std::string_view rest = lower;
  Slice slice;
  const auto size = number_before(rest, "g."), gib = number_before(rest, "gb");
  if (!size || !gib || !rest.empty() || !id.is_string())
    return fail(Errc::Invalid, "the profile '{}' is not of the form \"3g.20gb\":\"ID\"", shown(name));
  slice.name = name;
  slice.id = id.get<std::string>();
  slice.size = *size;
  slice.gib = *gib;
  return slice;
}

std::vector<Slice> sorted(std::vector<Slice> slices) {
  std::ranges::sort(slices, {}, [](const Slice& s) { return std::tuple(s.size, s.gib, s.name); });
  const std::int64_t most = slices.empty() ? 1 : slices.back().size;
  for (Slice& slice : slices) slice.cores.count = 100 * slice.size / most;
  return slices;
}

Result<std::vector<Slice>> slices_from(const Json& profiles) {
  TRY(check_object(profiles, "'profiles'"));
  std::vector<Slice> slices;
  for (const auto& entry : profiles.items()) slices.push_back(TRY(slice_named(entry.key(), entry.value())));
  return sorted(std::move(slices));
}

}  // namespace

Result<std::vector<RegisteredDevice>> decode_enflame_capacity(std::string_view text, std::string_view node) {
  const Json json = TRY(parse_annotation_json(text));
  TRY(check_object(json, "the capacity"));
  const Json profiles = json.value("profiles", Json::object());
  const std::vector<Slice> slices = TRY(slices_from(profiles));
  std::vector<RegisteredDevice> devices;
  std::int64_t most_gib = 0;
  for (const Slice& slice : slices) most_gib = std::max(most_gib, slice.gib);
  for (const Json& item : *TRY(list_at(json, "devices"))) {
    const auto where = about("device {} of the list", devices.size());
    TRY(check_object(item, "a device").map_error(where));
    RegisteredDevice device;
    device.index = static_cast<unsigned>(TRY(loose_number(item, "index").map_error(where)));
    const std::int64_t minor = TRY(loose_number(item, "minor").map_error(where));
    device.slots = static_cast<std::int32_t>(TRY(loose_number(item, "capacity").map_error(where)));
    device.uuid.text = fmt::format("{}-enflame-drs-{}", node, device.index);
    device.memory.count = most_gib * 1024;
    device.cores.count = 100;
    device.type = "Enflame";
    device.healthy = true;
    set_custom(device.custom, "index", std::to_string(device.index));
    set_custom(device.custom, "minor", std::to_string(minor));
    set_custom(device.custom, "maxSlice", slices.empty() ? 0 : slices.back().size);
    device.custom.insert_or_assign("profiles", profiles.dump());
    devices.push_back(std::move(device));
  }
  return devices;
}

std::vector<Slice> slices_of(const RegisteredDevice& device) {
  const auto found = device.custom.find("profiles");
  if (found == device.custom.end()) return {};
  const Json json = Json::parse(found->second, nullptr, false);
  if (json.is_discarded()) return {};
  return slices_from(json).value_or(std::vector<Slice>{});
}

std::optional<Slice> slice_for(const std::vector<Slice>& slices, const DeviceAsk& ask) {
  std::int64_t most_gib = 0;
  for (const Slice& slice : slices) most_gib = std::max(most_gib, slice.gib);
  std::int64_t gib = ask.memory.kind == MemoryAsk::Kind::Spec ? ask.memory.value : 0;
  if (gib > 2 * most_gib) gib = (gib + 1023) / 1024;
  for (const Slice& slice : slices) {
    if (ask.memory.kind == MemoryAsk::Kind::Slices ? slice.size == ask.memory.value
                                                   : slice.gib >= gib && slice.cores.count >= ask.cores.value)
      return slice;
  }
  return std::nullopt;
}

}  // namespace kiboko::vendors
