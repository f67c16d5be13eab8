#include "cli/explanation.h"

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

std::string share_of(const Grant& grant, const GrantedDevice& device) {
  const std::string name = device.model.empty() ? device_name(device.index, device.uuid)
                                                : fmt::format("device {} ({})", device.index.value_or(0), device.model);
  if (grant.kind == "exclusive") return fmt::format("all of {}", name);
  const bool limited = device.core_percent && *device.core_percent > 0;
  return fmt::format("{} and {} of {}", bytes_or_dash(device.limit_bytes),
                     limited ? fmt::format("{:.0f} %", *device.core_percent) : "a fair part", name);
}

}  // namespace

std::string device_name(const std::optional<int>& index, const std::string& uuid) {
  return index ? fmt::format("device {} ({})", *index, uuid) : uuid;
}

std::string granted_text(const Grant& grant) {
  std::vector<std::string> shares;
  for (const GrantedDevice& device : grant.devices) shares.push_back(share_of(grant, device));
  return join(shares, ", ");
}

std::string refusal_text(const Refusal& refusal) {
  std::string text = harmless(refusal.sentence);
  for (const DeviceAnswer& answer : refusal.devices) {
    if (answer.sentence.empty() || answer.sentence == refusal.sentence) continue;
    text += fmt::format("\n  {}: {}", device_name(answer.index, answer.uuid), harmless(answer.sentence));
  }
  if (!refusal.nearest.empty()) text += fmt::format("\n  nearest: {}", harmless(refusal.nearest));
  return text;
}

Result<bool> explain_to(Context& context, Agent& agent, const Ask& ask) {
  const Json json = TRY(agent.json("POST", "/api/v1/explain", ask_json(ask)));
  context.out.write(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  return true;
}

}  // namespace kiboko::cli
