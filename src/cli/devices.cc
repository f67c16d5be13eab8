// `kiboko devices`: what this host has, and how much of it is granted and used.
#include "base/text.h"
#include "cli/command.h"
#include "cli/listing.h"

namespace kiboko::cli {
namespace {

std::string model_text(const DeviceView& device) {
  return device.model + (device.unified_memory ? " (host's memory)" : "") + (device.simulated ? " (simulated)" : "");
}

std::string health_text(const DeviceView& device) {
  const std::string health = device.health.empty() ? "-" : device.health;
  return device.reason.empty() ? health : health + ": " + device.reason;
}

Result<int> run(Context& context) {
  const auto agent = TRY(context.agent());
  if (context.as_json()) return print_json(context, *agent, "/api/v1/devices");
  const auto devices = TRY(fetch_devices(*agent));
  Table table{{{"INDEX", true},
               {"UUID", false, 12},
               {"MODEL", false, 10},
               {"HEALTH", false, 7},
               {"GRANTS", true},
               {"GRANTED", true},
               {"USED", true},
               {"COMPUTE", true}}};
  for (const DeviceView& device : devices) {
    const bool well = device.health == "healthy";
    table.add({device.index ? std::to_string(*device.index) : "-",
               device.uuid,
               model_text(device),
               {health_text(device), well ? Style::Good : Style::Bad},
               device.grants ? std::to_string(*device.grants) : "-",
               used_of(device.granted_bytes, device.total_bytes),
               bytes_or_dash(device.used_bytes),
               percent_or_dash(device.compute_percent)});
  }
  const std::string violations = violations_text(context.out, devices);
  context.out.write(table.empty() ? "no devices; `kiboko doctor` looks for the reason\n" : table.text(context.out));
  if (!violations.empty()) context.out.write("\n" + violations);
  return kDone;
}

}  // namespace

extern const Command kDevices;
constexpr Command kDevices{.name = "devices",
                           .summary = "the devices of this host, what is granted and used",
                           .listing = true,
                           .about = R"(
GRANTED is granted / total memory, USED what all processes hold now, COMPUTE how busy the device is.
A device without memory of its own has the host's: its total is that, and USED is what all programs of the host hold.)",
                           .examples = R"(
kiboko devices
kiboko devices -o json | jq -r '.devices[].uuid'      the UUIDs alone)",
                           .run = run};

}  // namespace kiboko::cli
