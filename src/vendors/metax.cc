#include "vendors/metax.h"

#include <map>
#include <nlohmann/json.hpp>

#include "model/annotation.h"

namespace kiboko::vendors {
namespace {

using Json = nlohmann::json;

Result<RegisteredDevice> device_from(const Json& json, unsigned index) {
  TRY(check_object(json, "a device"));
  RegisteredDevice device;
  device.index = index;
  device.uuid.text = TRY(text_at(json, "uuid"));
  if (device.uuid.text.empty()) return fail(Errc::Invalid, "'uuid' is missing");
  device.slots = static_cast<std::int32_t>(TRY(number_at(json, "totalDevCount", 0, kMostWireNumber)));
  device.cores.count = TRY(number_at(json, "totalCompute", 0, kMostWireNumber));
  device.memory.count = TRY(number_at(json, "totalVRam", 0, kMostWireNumber));
  device.numa = static_cast<int>(TRY(number_at(json, "numa", -1, 65535)));
  device.healthy = TRY(truth_at(json, "healthy"));
  device.type = TRY(text_at(json, "model"));
  set_custom(device.custom, "Model", std::string_view(device.type));
  const std::string qos = TRY(text_at(json, "qosPolicy"));
  set_custom(device.custom, "QosPolicy", std::string_view(qos));
  set_custom(device.custom, "LinkZone", TRY(number_at(json, "linkZone", 0, kMostWireNumber)));
  return device;
}

// Ten for each pair of devices in one zone.
double links_in(std::span<const ScoredDevice> devices, bool (*counts)(const ScoredDevice&)) {
  std::map<std::int64_t, double> zones;
  for (const ScoredDevice& device : devices) {
    if (!counts(device) || device.custom == nullptr) continue;
    if (const auto zone = custom_number(*device.custom, "LinkZone"); zone && *zone > 0) ++zones[*zone];
  }
  double pairs = 0;
  for (const auto& [zone, count] : zones) pairs += count * (count - 1) / 2;
  return 10 * pairs;
}

}  // namespace

Result<std::vector<RegisteredDevice>> decode_metax_devices(std::string_view text) {
  const Json json = TRY(parse_annotation_json(text));
  if (!json.is_array()) return fail(Errc::Invalid, "the devices must be a JSON list");
  std::vector<RegisteredDevice> devices;
  for (const Json& item : json) {
    const auto index = static_cast<unsigned>(devices.size());
    devices.push_back(TRY(device_from(item, index).map_error(about("device {} of the list", index))));
  }
  return devices;
}

double metax_score(const ScoreInput& input) {
  double score = 0;
  bool exclusive = false;
  for (const ScoredDevice& device : input.devices) {
    if (!device.taken) continue;
    exclusive = exclusive || device.exclusive;
    if (!input.online) continue;
    if (device.online == 0 && device.offline > 0)
      score -= 100.0 * device.offline;
    else
      score -= 20.0 * device.online + 2.0 * device.offline;
  }
  if (input.online || !exclusive || !input.topology_aware) return score;
  const double given = links_in(input.devices, [](const ScoredDevice& d) { return d.taken; });
  const double idle = links_in(input.devices, [](const ScoredDevice& d) { return !d.used_before; });
  const double left = links_in(input.devices, [](const ScoredDevice& d) { return !d.used_before && !d.taken; });
  return 10 * given - (idle - given - left);
}

bool metax_class_fits(std::string_view app_class, unsigned online, unsigned offline, bool idle) {
  if (idle) return true;
  if ((online > 0 || offline > 0) != !app_class.empty()) return false;
  return app_class != "offline" || online == 0;
}

bool metax_qos_fits(std::string_view qos, std::string_view app_class, CoreUnits cores, std::string_view device,
                    bool idle) {
  return app_class == "online" || idle || cores.count == 100 || device.empty() || device == qos;
}

}  // namespace kiboko::vendors
