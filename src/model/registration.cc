#include "model/registration.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "model/annotation.h"

namespace kiboko {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostIndex = 65535;

// ---- JSON ----

Result<MigPlacement> placement_from(const Json& json) {
  TRY(check_object(json, "a placement"));
  MigPlacement placement;
  placement.start = static_cast<std::uint32_t>(TRY(number_at(json, "start", 0, kMostIndex)));
  placement.size = static_cast<std::uint32_t>(TRY(number_at(json, "size", 0, kMostIndex)));
  return placement;
}

Result<MigProfile> profile_from(const Json& json) {
  TRY(check_object(json, "a MIG profile"));
  MigProfile profile;
  profile.name = TRY(text_at(json, "name"));
  profile.memory.count = TRY(number_at(json, "memoryMB", 0, kMostWireNumber));
  profile.cores.count = TRY(number_at(json, "core", 0, kMostWireNumber));
  profile.slices = static_cast<std::uint32_t>(TRY(number_at(json, "sliceCount", 0, kMostIndex)));
  for (const Json& item : *TRY(list_at(json, "placements")))
    profile.placements.push_back(TRY(placement_from(item).map_error(about("profile {}", shown(profile.name)))));
  return profile;
}

Result<CustomInfo> custom_from(const Json& object) {
  CustomInfo custom;
  const auto found = object.find("custominfo");
  if (found == object.end() || found->is_null()) return custom;
  TRY(check_object(*found, "'custominfo'"));
  for (const auto& entry : found->items()) custom.emplace(entry.key(), entry.value().dump());
  return custom;
}

Result<RegisteredDevice> device_from(const Json& json) {
  TRY(check_object(json, "a device"));
  RegisteredDevice device;
  device.uuid.text = TRY(text_at(json, "id"));
  if (device.uuid.text.empty()) return fail(Errc::Invalid, "'id' is missing");
  device.index = static_cast<unsigned>(TRY(number_at(json, "index", 0, kMostIndex)));
  device.slots = static_cast<std::int32_t>(TRY(number_at(json, "count", 0, kMostWireNumber)));
  device.memory.count = TRY(number_at(json, "devmem", 0, kMostWireNumber));
  device.cores.count = TRY(number_at(json, "devcore", 0, kMostWireNumber));
  device.type = TRY(text_at(json, "type"));
  device.numa = static_cast<int>(TRY(number_at(json, "numa", -1, kMostIndex)));
  device.mode = TRY(text_at(json, "mode"));
  for (const Json& item : *TRY(list_at(json, "migProfiles"))) device.mig_profiles.push_back(TRY(profile_from(item)));
  device.healthy = TRY(truth_at(json, "health"));
  device.vendor = TRY(text_at(json, "devicevendor"));
  device.custom = TRY(custom_from(json));
  return device;
}

Result<std::vector<RegisteredDevice>> decode_json(std::string_view text) {
  const Json json = TRY(parse_annotation_json(text));
  if (json.is_null()) return std::vector<RegisteredDevice>{};
  if (!json.is_array()) return fail(Errc::Invalid, "the devices must be a JSON list");
  std::vector<RegisteredDevice> devices;
  for (const Json& item : json)
    devices.push_back(TRY(device_from(item).map_error(about("device {} of the list", devices.size()))));
  return devices;
}

// Members in the order of the original, each left out when it is zero.
class Members {
 public:
  void number(std::string_view key, std::int64_t value) {
    if (value != 0) add(key, std::to_string(value));
  }
  void text(std::string_view key, std::string_view value) {
    if (!value.empty()) add(key, json_string(value));
  }
  void add(std::string_view key, std::string_view json) {
    out_ += out_.empty() ? "{" : ",";
    out_ += fmt::format("\"{}\":{}", key, json);
  }
  std::string take() { return out_.empty() ? "{}" : out_ + "}"; }

 private:
  std::string out_;
};

template <class Range, class Function>
std::string json_list(const Range& items, Function&& text_of) {
  std::string out = "[";
  for (const auto& item : items) {
    if (out.size() > 1) out += ",";
    out += text_of(item);
  }
  return out + "]";
}

std::string text_of(const MigProfile& profile) {
  Members members;
  members.text("name", profile.name);
  members.number("memoryMB", profile.memory.count);
  members.number("core", profile.cores.count);
  members.number("sliceCount", profile.slices);
  if (!profile.placements.empty())
    members.add("placements", json_list(profile.placements, [](const MigPlacement& p) {
                  return fmt::format(R"({{"start":{},"size":{}}})", p.start, p.size);
                }));
  return members.take();
}

std::string text_of(const CustomInfo& custom) {
  Members members;
  for (const auto& [key, value] : custom) {
    const std::string name = json_string(key);
    members.add(std::string_view(name).substr(1, name.size() - 2), value);
  }
  return members.take();
}

std::string text_of(const RegisteredDevice& device) {
  Members members;
  members.text("id", device.uuid.text);
  members.number("index", device.index);
  members.number("count", device.slots);
  members.number("devmem", device.memory.count);
  members.number("devcore", device.cores.count);
  members.text("type", device.type);
  members.number("numa", device.numa);
  members.text("mode", device.mode);
  if (!device.mig_profiles.empty())
    members.add("migProfiles", json_list(device.mig_profiles, [](const MigProfile& p) { return text_of(p); }));
  if (device.healthy) members.add("health", "true");
  members.text("devicevendor", device.vendor);
  if (!device.custom.empty()) members.add("custominfo", text_of(device.custom));
  return members.take();
}

// ---- rows ----

// strconv.ParseBool of the writers.
Result<bool> truth_from(std::string_view text, std::size_t byte) {
  for (const std::string_view yes : {"1", "t", "T", "TRUE", "true", "True"})
    if (text == yes) return true;
  for (const std::string_view no : {"0", "f", "F", "FALSE", "false", "False"})
    if (text == no) return false;
  return fail(Errc::Invalid, "byte {}: health must be true or false, not '{}'", byte, shown(text));
}

// The forms have one range: what a row says can be said in JSON.
Result<std::int64_t> small_number(std::string_view text, std::string_view name, std::size_t byte) {
  const std::int64_t number = TRY(wire_number(text, name, byte));
  if (number > kMostIndex) return fail(Errc::Invalid, "byte {}: {} {} is above {}", byte, name, number, kMostIndex);
  return number;
}

Result<int> numa_from(std::string_view text, std::size_t byte) {
  if (text == "-1") return -1;
  return static_cast<int>(TRY(small_number(text, "numa", byte)));
}

Result<RegisteredDevice> device_from_row(std::string_view row, std::size_t byte) {
  const auto fields = split(row, ',');
  if (fields.size() != 7 && fields.size() != 9)
    return fail(Errc::Invalid, "byte {}: a device has 7 or 9 fields, '{}' has {}", byte, shown(row), fields.size());
  const auto at = [&](std::size_t i) { return byte + static_cast<std::size_t>(fields[i].data() - row.data()); };
  RegisteredDevice device;
  device.uuid.text = fields[0];
  if (fields[0].empty()) return fail(Errc::Invalid, "byte {}: the device has no id", byte);
  device.slots = static_cast<std::int32_t>(TRY(wire_number(fields[1], "count", at(1))));
  device.memory.count = TRY(wire_number(fields[2], "memory", at(2)));
  device.cores.count = TRY(wire_number(fields[3], "cores", at(3)));
  device.type = fields[4];
  device.numa = TRY(numa_from(fields[5], at(5)));
  device.healthy = TRY(truth_from(fields[6], at(6)));
  device.mode = "hami-core";
  if (fields.size() == 9) {
    device.index = static_cast<unsigned>(TRY(small_number(fields[7], "index", at(7))));
    device.mode = fields[8];
  }
  return device;
}

Result<std::vector<RegisteredDevice>> decode_csv(std::string_view text) {
  TRY(check_length(text));
  if (const std::size_t valid = valid_utf8(text); valid < text.size())
    return fail(Errc::Invalid, "byte {}: this is not UTF-8", valid);
  if (text.find(':') == std::string_view::npos)
    return fail(Errc::Invalid, "byte 0: '{}' has no ':' that ends a device", shown(text));
  std::vector<RegisteredDevice> devices;
  for (const std::string_view row : split(text, ':')) {
    const auto byte = static_cast<std::size_t>(row.data() - text.data());
    if (row.empty() && byte == text.size()) break;  // behind the last colon
    devices.push_back(TRY(device_from_row(row, byte)));
  }
  return devices;
}

Result<void> check_unique(const std::vector<RegisteredDevice>& devices) {
  std::set<std::string_view> seen;
  for (const RegisteredDevice& device : devices)
    if (!seen.insert(device.uuid.text).second)
      return fail(Errc::Invalid, "the device '{}' is listed twice", shown(device.uuid.text));
  return {};
}

bool has_separator(std::string_view text) { return text.find_first_of(",:") != std::string_view::npos; }

}  // namespace

Result<std::vector<RegisteredDevice>> decode_registration(std::string_view text) {
  const std::string_view trimmed = trim(text);
  const bool json = trimmed.starts_with('[') || trimmed.starts_with('{') || trimmed == "null";
  auto devices = TRY(json ? decode_json(text) : decode_csv(text));
  TRY(check_unique(devices));
  return devices;
}

std::string encode_registration_json(std::span<const RegisteredDevice> devices) {
  return json_list(devices, [](const RegisteredDevice& device) { return text_of(device); });
}

Result<std::string> encode_registration_csv(std::span<const RegisteredDevice> devices, CsvFields fields) {
  std::string out;
  for (const RegisteredDevice& device : devices) {
    if (has_separator(device.uuid.text) || has_separator(device.type) || has_separator(device.mode))
      return fail(Errc::Invalid, "device '{}' of type '{}': this form has no place for names with ',' or ':'",
                  shown(device.uuid.text), shown(device.type));
    out += fmt::format("{},{},{},{},{},{},{}", device.uuid.text, device.slots, device.memory.count, device.cores.count,
                       device.type, device.numa, device.healthy);
    if (fields == CsvFields::Nine) out += fmt::format(",{},{}", device.index, device.mode);
    out += ":";
  }
  return out;
}

// ---- custom info ----

std::optional<std::int64_t> custom_number(const CustomInfo& custom, std::string_view key) {
  const auto found = custom.find(key);
  if (found == custom.end()) return std::nullopt;
  const Json json = Json::parse(found->second, nullptr, false);
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    return std::nullopt;
  if (json.is_number_integer()) return json.get<std::int64_t>();
  return std::nullopt;
}

std::optional<std::string> custom_text(const CustomInfo& custom, std::string_view key) {
  const auto found = custom.find(key);
  if (found == custom.end()) return std::nullopt;
  const Json json = Json::parse(found->second, nullptr, false);
  if (json.is_string()) return json.get<std::string>();
  return std::nullopt;
}

void set_custom(CustomInfo& custom, std::string_view key, std::int64_t value) {
  custom.insert_or_assign(std::string(key), std::to_string(value));
}

void set_custom(CustomInfo& custom, std::string_view key, std::string_view value) {
  custom.insert_or_assign(std::string(key), json_string(value));
}

}  // namespace kiboko
