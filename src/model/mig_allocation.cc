#include "model/mig_allocation.h"

#include <nlohmann/json.hpp>
#include <set>

#include "model/annotation.h"

namespace kiboko {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostPosition = 4096;
constexpr std::int64_t kMostInstance = 0xFFFF'FFFF;

Result<MigPlacement> placement_from(const Json& json) {
  const auto found = json.find("placement");
  MigPlacement placement;
  if (found != json.end() && !found->is_null()) {
    TRY(check_object(*found, "'placement'"));
    placement.start = static_cast<std::uint32_t>(TRY(number_at(*found, "start", 0, kMostPosition)));
    placement.size = static_cast<std::uint32_t>(TRY(number_at(*found, "size", 0, kMostPosition)));
  }
  if (placement.size == 0) return fail(Errc::Invalid, "'placement' has no size");
  return placement;
}

Result<std::optional<MigInstance>> instance_from(const Json& json) {
  MigInstance instance;
  instance.uuid.text = TRY(text_at(json, "migUUID"));
  const std::int64_t gpu = TRY(number_at(json, "gpuInstanceID", 0, kMostInstance, -1));
  const std::int64_t compute = TRY(number_at(json, "computeInstanceID", 0, kMostInstance, -1));
  const int known = (instance.uuid.text.empty() ? 0 : 1) + (gpu < 0 ? 0 : 1) + (compute < 0 ? 0 : 1);
  if (known == 0) return std::optional<MigInstance>();
  if (known != 3)
    return fail(Errc::Invalid, "'migUUID', 'gpuInstanceID' and 'computeInstanceID' belong together: give all or none");
  instance.gpu_instance = static_cast<std::uint32_t>(gpu);
  instance.compute_instance = static_cast<std::uint32_t>(compute);
  return std::optional(instance);
}

Result<MigAllocation> allocation_from(const Json& json) {
  TRY(check_object(json, "an allocation"));
  MigAllocation allocation;
  allocation.container = static_cast<unsigned>(TRY(number_at(json, "containerIndex", 0, kMostPosition)));
  allocation.device = static_cast<unsigned>(TRY(number_at(json, "deviceIndex", 0, kMostPosition)));
  allocation.gpu.text = TRY(text_at(json, "gpuUUID"));
  if (allocation.gpu.text.empty()) return fail(Errc::Invalid, "'gpuUUID' is missing");
  allocation.profile = TRY(text_at(json, "profile"));
  if (allocation.profile.empty()) return fail(Errc::Invalid, "'profile' is missing");
  allocation.placement = TRY(placement_from(json));
  allocation.instance = TRY(instance_from(json));
  return allocation;
}

}  // namespace

Result<std::vector<MigAllocation>> decode_mig_allocations(std::string_view text) {
  std::vector<MigAllocation> allocations;
  if (text.empty()) return allocations;
  const Json json = TRY(parse_annotation_json(text));
  if (json.is_null()) return allocations;
  if (!json.is_array()) return fail(Errc::Invalid, "the allocations must be a JSON list");
  std::set<std::pair<unsigned, unsigned>> seen;
  for (const Json& item : json) {
    const MigAllocation allocation =
        TRY(allocation_from(item).map_error(about("allocation {} of the list", allocations.size())));
    if (!seen.emplace(allocation.container, allocation.device).second)
      return fail(Errc::Invalid, "allocation {} of the list: device {} of container {} has one already",
                  allocations.size(), allocation.device, allocation.container);
    allocations.push_back(allocation);
  }
  return allocations;
}

std::string encode_mig_allocations(std::span<const MigAllocation> allocations) {
  std::string out = "[";
  for (const MigAllocation& a : allocations) {
    if (out.size() > 1) out += ",";
    out += fmt::format(R"({{"containerIndex":{},"deviceIndex":{},"gpuUUID":{},"profile":{})", a.container, a.device,
                       json_string(a.gpu.text), json_string(a.profile));
    out += fmt::format(R"(,"placement":{{"start":{},"size":{}}})", a.placement.start, a.placement.size);
    if (a.instance)
      out += fmt::format(R"(,"migUUID":{},"gpuInstanceID":{},"computeInstanceID":{})",
                         json_string(a.instance->uuid.text), a.instance->gpu_instance, a.instance->compute_instance);
    out += "}";
  }
  return out + "]";
}

}  // namespace kiboko
